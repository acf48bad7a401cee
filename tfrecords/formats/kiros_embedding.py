"""Reader of the visual-semantic embedding of Kiros et al. 2014, in its original files.

Three files (github.com/ryankiros/visual-semantic-embedding): `X.npz` with the weights, `X.npz.pkl`
with the options of the training, and `X.npz.dictionary.pkl`, word -> id. Pickles are read as data
only: no code in them is run.

Ids: 0 is `<eos>`, 1 is UNK, words begin at 2. The released code uses the number of words in the
dictionary, without these two, as the vocabulary size, and maps larger ids to UNK. The last two
words of the dictionary are therefore unknown to the model, and are omitted here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.safe_pickle import bounded_memory, load_pickle

OPTIONS_SUFFIX, DICTIONARY_SUFFIX = ".pkl", ".dictionary.pkl"
EOS_ROW, UNKNOWN_ROW, FIRST_WORD = 0, 1, 2
_ENCODERS = ("gru", "bow")


class KirosEmbedding(NamedTuple):
    """Weights and words of an embedding.

    Dimensions: W rows of word vectors, E their size, D size of the embedding, F of image features.

    Attributes:
        encoder: `gru` or `bow`.
        words: known words, by descending frequency; word i has row `FIRST_WORD + i`.
        weights: by their names in the file: `Wemb` float32[W, E]; `ff_image_W` [F, D], `ff_image_b`
            [D]; for a GRU `encoder_W` [E, 2 D], `encoder_U` [D, 2 D], `encoder_b` [2 D] (reset
            gate, then update gate), `encoder_Wx` [E, D], `encoder_Ux` [D, D], `encoder_bx` [D].
        margin: margin of the training; None if the options do not contain it.
    """

    encoder: Literal["gru", "bow"]
    words: list[str]
    weights: dict[str, np.ndarray]
    margin: float | None


def read_kiros_embedding(path: Path) -> KirosEmbedding:
    """Reads the three files of an embedding.

    Args:
        path: path of `X.npz`; the other files are next to it.

    Raises:
        InputError: a file is missing, damaged or tries to run code, or the files do not fit
            together.
    """
    options = _read_pickle(path, OPTIONS_SUFFIX, "options")
    dictionary = _read_pickle(path, DICTIONARY_SUFFIX, "dictionary")
    arrays = _read_arrays(path)
    encoder = options.get("encoder", "gru")
    if encoder not in _ENCODERS:
        raise InputError(
            f"{path}{OPTIONS_SUFFIX}: encoder {encoder!r} is not known; known: "
            f"{', '.join(_ENCODERS)}"
        )
    weights = _checked_weights(path, arrays, encoder)
    words = _words(path, dictionary, len(weights["Wemb"]))
    margin = options.get("margin")
    return KirosEmbedding(encoder, words, weights, None if margin is None else float(margin))


def _read_pickle(path: Path, suffix: str, what: str) -> dict[str, Any]:
    file = path.with_name(path.name + suffix)
    try:
        with file.open("rb") as stream:
            found = load_pickle(stream, file)
    except FileNotFoundError:
        raise InputError(
            f"there is no {what} file {file}: an embedding is {path.name}, "
            f"{path.name}{OPTIONS_SUFFIX} and {path.name}{DICTIONARY_SUFFIX} in one folder"
        ) from None
    if not isinstance(found, Mapping):
        raise InputError(f"{file}: expected a dict of {what}, found {type(found).__name__}")
    return dict(found)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with bounded_memory(), np.load(path, allow_pickle=False) as arrays:
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: expected an .npz file of weights, found one array")
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        raise InputError(f"there is no file of weights {path}") from None
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is not a complete .npz file of weights ({error}): copy or download it again"
        ) from error


def _checked_weights(
    path: Path, arrays: Mapping[str, np.ndarray], encoder: str
) -> dict[str, np.ndarray]:
    """Returns the weights as float32 after a check of names, shapes and values."""
    needed = ["Wemb", "ff_image_W", "ff_image_b"]
    if encoder == "gru":
        needed += [f"encoder_{name}" for name in ("W", "U", "b", "Wx", "Ux", "bx")]
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise InputError(
            f"{path}: no {', '.join(missing)}; an embedding with encoder {encoder} has "
            f"{', '.join(needed)}; found {', '.join(sorted(arrays))}"
        )
    for name in needed:
        rank = 1 if name in ("ff_image_b", "encoder_b", "encoder_bx") else 2
        if arrays[name].ndim != rank or not np.issubdtype(arrays[name].dtype, np.floating):
            found = f"{arrays[name].dtype}{list(arrays[name].shape)}"
            raise InputError(
                f"{path}: {name}: expected an array of {rank} dimensions, found {found}"
            )
        if not np.isfinite(arrays[name]).all():
            raise InputError(f"{path}: {name} has values that are NaN or infinite")
    word_size = arrays["Wemb"].shape[1]
    feature_size, size = arrays["ff_image_W"].shape
    expected: dict[str, tuple[int, ...]] = {"ff_image_b": (size,)}
    if encoder == "gru":
        expected |= {
            "encoder_W": (word_size, 2 * size), "encoder_U": (size, 2 * size),
            "encoder_b": (2 * size,), "encoder_Wx": (word_size, size),
            "encoder_Ux": (size, size), "encoder_bx": (size,),
        }  # fmt: skip
    else:
        expected["Wemb"] = (len(arrays["Wemb"]), size)
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise InputError(
                f"{path}: {name} has shape {list(arrays[name].shape)}, expected {list(shape)} with "
                f"word vectors of size {word_size} and image weights of "
                f"{[feature_size, size]}"
            )
    return {name: np.asarray(arrays[name], np.float32) for name in needed}


def _words(path: Path, dictionary: Mapping[str, Any], rows: int) -> list[str]:
    """Returns the words with rows, in the order of their ids.

    Raises:
        InputError: ids are not 2, 3, ...; or the dictionary has fewer words than rows.
    """
    file = f"{path}{DICTIONARY_SUFFIX}"
    # The unpickler decodes text of Python 2, which is bytes, as Latin-1.
    ids = {_utf8(word): number for word, number in dictionary.items()}
    if not all(isinstance(number, int | np.integer) for number in ids.values()):
        raise InputError(f"{file}: expected word -> id, found {next(iter(dictionary.items()))}")
    by_id = {int(number): word for word, number in ids.items()}
    known = rows - FIRST_WORD
    missing = [number for number in range(FIRST_WORD, rows) if number not in by_id]
    if known < 1 or missing:
        raise InputError(
            f"{file}: {len(by_id)} words for {rows} rows of Wemb, without a word of id "
            f"{missing[0] if missing else FIRST_WORD}: is it the dictionary of another model?"
        )
    return [by_id[number] for number in range(FIRST_WORD, rows)]


def _utf8(word: object) -> str:
    text = word if isinstance(word, str) else str(word)
    try:
        return text.encode("latin1").decode("utf-8")
    except UnicodeError:
        return text
