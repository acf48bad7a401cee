"""Reader of document frequencies of n-grams, published by the self-critical repositories.

`*-idxs.p` and `*-words.p` are pickles of `{"document_frequency": {("12", "7", "0"): 3.0, ...},
"ref_len": 113287}`: the number of images per n-gram, and of all images. N-grams are tuples of
text: ids of a `cocotalk.json` with "0" for the end of a sentence, or words with "<eos>".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.files import open_unpacked
from tfrecords.core.safe_pickle import load_pickle
from tfrecords.core.text_files import to_nfc
from tfrecords.core.vocabulary import END, END_ID, PAD, START, UNK, Vocabulary
from tfrecords.formats.json_stream import stream_json
from tfrecords.language.document_frequencies import (
    MAX_ORDER,
    DocumentFrequencies,
    frequencies_from_counts,
)

_UNKNOWN, _END_WORD, _END_NUMBER = "UNK", "<eos>", "0"
_FORM = '{"document_frequency": {n-gram: images}, "ref_len": images}'


def frequencies_of_pickle(
    path: Path, vocabulary: Vocabulary, words_of_ids: Path | None = None
) -> DocumentFrequencies:
    """Reads a pickle and translates its n-grams to the ids of a vocabulary.

    Args:
        path: `*-idxs.p` or `*-words.p`. Read as data only: no code in it is run.
        vocabulary: vocabulary of the records that the frequencies will be used with. It must have
            the same words: otherwise other words would be `<unk>` than in the counted n-grams.
        words_of_ids: `cocotalk.json` with `ix_to_word`; required for `*-idxs.p`.

    Raises:
        InputError: a file is missing or malformed, or the words are not those of the vocabulary.
    """
    counts, images = _load(path)
    first_words = {ngram[0] for ngram in counts}
    if words_of_ids is not None:
        words = _read_words(words_of_ids)
        _check_all_words(words_of_ids, words, vocabulary)
    elif all(word.isascii() and word.isdigit() for word in first_words):
        raise InputError(
            f"{path} contains word ids: give the JSON (cocotalk.json) whose `ix_to_word` maps "
            "them to words"
        )
    else:
        words = {word: word for word in first_words - {_END_WORD}}
    ids = {name: vocabulary.id_of(word) for name, word in words.items() if word != _UNKNOWN}
    unknown = sorted(name for name, number in ids.items() if number == vocabulary.unk_id)
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} of its words are not in the vocabulary ({_some(unknown)}): "
            "count the n-grams of the records instead"
        )
    ids |= {name: vocabulary.unk_id for name, word in words.items() if word == _UNKNOWN}
    ids[_END_WORD if words_of_ids is None else _END_NUMBER] = END_ID
    translated = {}
    for ngram, count in counts.items():
        try:
            translated[tuple([ids[word] for word in ngram])] = count
        except KeyError as error:
            raise InputError(
                f"{path}: the n-gram {ngram} has {error}, which "
                f"{words_of_ids or 'its single words'} does not contain"
            ) from None
    return frequencies_from_counts(translated, images=images, vocabulary_sha256=vocabulary.sha256)


def _load(path: Path) -> tuple[dict[tuple[str, ...], int], int]:
    with open_unpacked(path) as stream:
        data = load_pickle(stream, path)
    if not isinstance(data, Mapping) or not {"document_frequency", "ref_len"} <= data.keys():
        found = (
            f"the keys {_some(map(str, data))}" if isinstance(data, Mapping) else f"{data!r:.80}"
        )
        raise InputError(f"{path}: expected {_FORM}, found {found}")
    images, table = _count(data["ref_len"]), data["document_frequency"]
    if not isinstance(table, Mapping) or not table or images is None:
        raise InputError(
            f"{path}: expected {_FORM}, found {table!r:.80} with ref_len {data['ref_len']!r:.80}"
        )
    counts = {}
    for ngram, value in table.items():
        count = _count(value)
        if (
            not isinstance(ngram, tuple)
            or not 1 <= len(ngram) <= MAX_ORDER
            or not all(isinstance(word, str) for word in ngram)
            or count is None
            or count > images
        ):
            raise InputError(
                f"{path}: expected 1 to {MAX_ORDER} words and a number of 1 to {images} images, "
                f"found {ngram!r:.80}: {value!r:.80}"
            )
        counts[tuple(map(to_nfc, ngram))] = count
    return counts, images


def _count(value: Any) -> int | None:
    """Returns the value if it is a number of images: whole, from 1 to 2**31 - 1."""
    if isinstance(value, (int, float, np.number)) and 1 <= value < 1 << 31 and value == int(value):
        return int(value)
    return None


def _read_words(path: Path) -> dict[str, str]:
    for element in stream_json(path):
        if element.key == "ix_to_word" and isinstance(element.value, dict):
            if all(isinstance(word, str) for word in element.value.values()):
                return {key: to_nfc(word) for key, word in element.value.items()}
            break
    raise InputError(f'{path}: expected {{"ix_to_word": {{id: word}}, ...}}')


def _check_all_words(path: Path, words: Mapping[str, str], vocabulary: Vocabulary) -> None:
    theirs, ours = set(words.values()) - {_UNKNOWN}, set(vocabulary.words) - {PAD, START, END, UNK}
    if len(set(words.values())) != len(words):
        raise InputError(f"{path}: `ix_to_word` assigns two ids to one word")
    if theirs != ours:
        raise InputError(
            f"the words of {path} are not those of the vocabulary: {len(theirs - ours)} only in "
            f"the file ({_some(theirs - ours)}), {len(ours - theirs)} only in the vocabulary "
            f"({_some(ours - theirs)}); count the n-grams of the records instead"
        )


def _some(words: Any) -> str:
    return ", ".join(sorted(words)[:5]) or "none"
