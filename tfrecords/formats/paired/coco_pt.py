"""Reader of the course's `coco.pt` (pixels, one caption per image as word ids), and of `.npz`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.text_files import to_nfc
from tfrecords.core.torch_file import load_torch
from tfrecords.core.vocabulary import UNK
from tfrecords.formats.paired.fields import is_clean
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

SPLITS = ("train", "val", "test")
_NULL, _START, _END, _UNK = "<NULL>", "<START>", "<END>", "<UNK>"


def read_coco_pt(path: Path) -> PairedDataset:
    """Reads `train_images`, `train_captions`, `val_images`, ... and `vocab`.

    Images are uint8 [N, 3, H, W], captions whole numbers [N, T]: `<START>`, words, `<END>`,
    `<NULL>`s. `vocab` is a dict with the list `idx_to_token`; an `.npz` has the array
    `idx_to_token` instead. `image_id` is `<split>_<row>`.

    Returns:
        The images, each with its picture (`read`, as PNG) and one caption.

    Raises:
        InputError: the file is missing, damaged or malformed.
    """
    arrays = _open(path)
    words = _words(arrays.get("vocab"), path)
    images = [
        image
        for split in SPLITS
        if f"{split}_captions" in arrays or f"{split}_images" in arrays
        for image in _images(path, arrays, split, words)
    ]
    if not images:
        raise InputError(
            f"{path}: expected train_images, train_captions, val_images and val_captions, found "
            f"{', '.join(map(str, list(arrays)[:8])) or 'nothing'}"
        )
    markers = (_NULL, _START, _END, _UNK)
    return PairedDataset(
        images=images,
        files=(path,),
        words=tuple(word for word in words if word not in markers),
    )


@dataclass(frozen=True)
class PixelRow:
    """One picture of such a file; a call returns it as PNG.

    Attributes:
        path: the file.
        name: name of the array in the file.
        row: row of the picture.
    """

    path: Path
    name: str
    row: int

    def __call__(self) -> bytes:
        """Encodes the picture as PNG."""
        from PIL import Image

        pixels = np.asarray(_open(self.path)[self.name][self.row])
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(stream, "PNG")
        return stream.getvalue()


def _open(path: Path) -> Mapping[str, Any]:
    try:
        status = path.stat()
    except OSError:
        raise InputError(f"there is no file of captions {path}") from None
    return _open_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)
def _open_once(path: Path, size: int, modified: int) -> Mapping[str, Any]:
    del size, modified  # parts of the key: a changed file is opened again
    return _load_npz(path) if path.suffix == ".npz" else load_torch(path)


def _load_npz(path: Path) -> dict[str, Any]:
    wanted = [f"{split}_{what}" for split in SPLITS for what in ("images", "captions")]
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Any] = {name: archive[name] for name in wanted if name in archive}
            if "idx_to_token" in archive:
                arrays["vocab"] = {"idx_to_token": archive["idx_to_token"].tolist()}
    except Exception as error:  # a damaged header can fail in any way
        raise InputError(f"{path} cannot be read as .npz: {error}") from error
    return arrays


def _words(vocab: Any, path: Path) -> list[str]:
    words = vocab.get("idx_to_token") if isinstance(vocab, dict) else None
    good = isinstance(words, list) and all(
        isinstance(word, str) and len(word.split()) == 1 and is_clean(word) for word in words
    )
    if not good or not words or words[:3] != [_NULL, _START, _END]:
        raise InputError(
            f"{path}: expected `idx_to_token`, a list of words that begins with {_NULL}, {_START}, "
            f"{_END}"
        )
    words = [to_nfc(word.strip()) for word in words]
    if len(set(words)) < len(words):
        raise InputError(f"{path}: a word is repeated in `idx_to_token`")
    return words


def _images(
    path: Path, arrays: Mapping[str, Any], split: str, words: list[str]
) -> list[PairedImage]:
    name, captions = f"{split}_images", arrays.get(f"{split}_captions")
    pixels = arrays.get(name)
    good = (
        isinstance(pixels, np.ndarray)
        and isinstance(captions, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.ndim == 4
        and pixels.shape[1] == 3
        and captions.dtype.kind in "iu"
        and captions.ndim == 2
        and len(captions) == len(pixels)
        and 0 not in pixels.shape
    )
    if not good or not isinstance(pixels, np.ndarray) or not isinstance(captions, np.ndarray):
        raise InputError(
            f"{path}: expected {name} uint8 [N, 3, H, W] and {split}_captions of whole numbers "
            f"[N, T], found {_kind(pixels)} and {_kind(captions)}"
        )
    if len(captions) and not 0 <= captions.min() <= captions.max() < len(words):
        raise InputError(
            f"{path}: {split}_captions has ids from {captions.min()} to {captions.max()}, "
            f"`idx_to_token` {len(words)} words"
        )
    found = []
    for row, numbers in enumerate(captions.tolist()):
        tokens = _tokens(numbers, words)
        found.append(
            PairedImage(
                image_id=f"{split}_{row}",
                place=f"{path}: {split}_captions[{row}]",
                captions=(Caption(" ".join(tokens), tokens, None),) if tokens else (),
                split=split,
                height=pixels.shape[2],
                width=pixels.shape[3],
                read=PixelRow(path, name, row),
            )
        )
    return found


def _tokens(numbers: list[int], words: list[str]) -> tuple[str, ...]:
    tokens = []
    for number in numbers:
        if words[number] == _END:
            break
        if words[number] not in (_NULL, _START):
            tokens.append(UNK if words[number] == _UNK else words[number])
    return tuple(tokens)


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return "nothing" if value is None else type(value).__name__
