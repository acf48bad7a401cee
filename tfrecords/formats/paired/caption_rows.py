"""Lines of captions with rows of image features: the layouts of Kiros (VSE) and of VSE++."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.core.text_files import numbered_lines
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import Caption, PairedDataset, PairedImage

_CAPTIONS_PER_IMAGE = 5
_ROWS_AT_ONCE = 1000 * _CAPTIONS_PER_IMAGE
_FLOATS = ("float16", "float32", "float64")
_FILE = re.compile(r"((?:.+_)?)(train|dev|test)_caps\.txt")


def read_caption_rows(path: Path) -> PairedDataset:
    """Reads `[NAME_]{train,dev,test}_caps.txt` and the `.._ims.npy` of the same name.

    Each line is a caption, each row of the array a feature vector. The array has as many rows as
    captions (Kiros: the row of a picture is repeated five times), or a fifth of them (VSE++ also
    accepts that). If there are as many rows as captions and rows are not repeated, every picture
    has one caption. The files contain no image names: their `image_id` is
    `<NAME_><split>_<number>`, counted from 0.

    Args:
        path: the folder.

    Returns:
        The images, with their rows as `features` (`global_feature`).

    Raises:
        InputError: the files are missing, or the numbers of rows and lines do not fit.
    """
    found = caption_files(path)
    if not found:
        raise InputError(
            f"{path} is not a folder with captions: expected [NAME_]{{train,dev,test}}_caps.txt "
            "and .._ims.npy files of the same names"
        )
    prefixes = sorted({prefix for prefix, _ in found})
    if len(prefixes) > 1:
        raise InputError(
            f"{path} contains several data sets ({', '.join(prefixes)}): separate them"
        )
    images: list[PairedImage] = []
    skipped: list[Skip] = []
    blocks: dict[str, _Rows] = {}
    files: list[Path] = []
    for (prefix, split), captions_path in found.items():
        array_path = captions_path.with_name(f"{prefix}{split}_ims.npy")
        lines = list(numbered_lines(captions_path, fields.CAPTIONS))
        blocks[f"{prefix}{split}"] = rows = _rows(array_path, captions_path, len(lines))
        files += [captions_path, array_path]
        for index in range(len(lines) // rows.captions):
            group = lines[index * rows.captions : (index + 1) * rows.captions]
            captions = _captions(group, captions_path, index * rows.captions, skipped)
            images.append(
                PairedImage(
                    image_id=f"{prefix}{split}_{index}",
                    place=f"{captions_path}:{group[0][0]}",
                    captions=tuple(captions),
                    split=split,
                )
            )
    sizes = {rows.size for rows in blocks.values()}
    if len(sizes) > 1:
        raise InputError(f"{path}: the arrays have vectors of different sizes: {sorted(sizes)}")
    return PairedDataset(
        images=images, files=tuple(files), skipped=skipped, features=RowStore(blocks)
    )


def caption_files(folder: Path) -> dict[tuple[str, str], Path]:
    """Returns (prefix, split) -> file of captions, for a folder; empty if it is not a folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    matches = [(match, file) for file in files if (match := _FILE.fullmatch(file.name))]
    order = ("train", "dev", "test")
    matches.sort(key=lambda item: (item[0][1], order.index(item[0][2])))
    return {(match[1], match[2]): file for match, file in matches}


@dataclass(frozen=True)
class _Rows:
    """The rows of one array.

    Attributes:
        path: path of the array.
        captions: captions per image.
        repeats: rows per image.
        size: length of a row.
    """

    path: Path
    captions: int
    repeats: int
    size: int


@dataclass(frozen=True)
class RowStore:
    """The feature store of this layout, by `image_id`; rows are memory-mapped.

    Attributes:
        blocks: `<NAME_><split>` -> its rows.
    """

    blocks: Mapping[str, _Rows]

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """One vector per image."""
        return {"global_feature": (next(iter(self.blocks.values())).size,)}

    @property
    def has_boxes(self) -> bool:
        """False: the images have no regions."""
        return False

    @property
    def needs_sizes(self) -> bool:
        """False: the images have no boxes."""
        return False

    @property
    def paths(self) -> tuple[Path, ...]:
        """The arrays."""
        return tuple(rows.path for rows in self.blocks.values())

    @property
    def dropped(self) -> dict[str, int]:
        """Empty: no entry is skipped."""
        return {}

    def keys(self) -> list[str]:
        """Returns the `image_id` of every image."""
        return [
            f"{block}_{number}"
            for block, rows in self.blocks.items()
            for number in range(len(_open(rows.path)) // rows.repeats)
        ]

    def get(self, *keys: str) -> StoredFeatures | None:
        """Returns the row of an image."""
        for key in keys:
            block, _, number = key.rpartition("_")
            if block in self.blocks and number.isascii() and number.isdigit():
                return _row(self.blocks[block], int(number))
        return None


def _row(rows: _Rows, index: int) -> StoredFeatures | None:
    array = _open(rows.path)
    if index * rows.repeats >= len(array):
        return None
    return StoredFeatures(global_feature=np.array(array[index * rows.repeats]))


def _open(path: Path) -> np.ndarray:
    try:
        status = path.stat()
    except OSError:
        raise InputError(f"there is no file of features {path}") from None
    return _open_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _open_once(path: Path, size: int, modified: int) -> np.ndarray:
    del size, modified  # parts of the key: a changed file is opened again
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can fail in any way
        raise InputError(f"{path} cannot be read as .npy: {error}") from error
    if array.ndim != 2 or array.dtype not in _FLOATS or not array.shape[1]:
        raise InputError(f"{path}: expected floats [rows, D], found {array.dtype} {array.shape}")
    return array


def _rows(path: Path, captions_path: Path, captions: int) -> _Rows:
    array = _open(path)
    rows, size = array.shape
    if rows and rows * _CAPTIONS_PER_IMAGE == captions:
        return _Rows(path, _CAPTIONS_PER_IMAGE, 1, size)
    if rows and rows == captions:
        repeats = _CAPTIONS_PER_IMAGE if captions % _CAPTIONS_PER_IMAGE == 0 else 1
        if repeats == 1 or _first_difference(array[:repeats]) is not None:
            return _Rows(path, 1, 1, size)
        if (image := _first_difference(array)) is not None:
            first = image * repeats
            raise InputError(
                f"{path}: rows {first} to {first + repeats - 1} differ: expected the row of each "
                "picture once for each of its captions, one after the other"
            )
        return _Rows(path, repeats, repeats, size)
    raise InputError(
        f"{path} has {rows} rows, {captions_path.name} {captions} lines: expected as many rows as "
        "lines, or a fifth of them"
    )


def _first_difference(array: np.ndarray) -> int | None:
    """Returns the first image whose rows are not all equal; None if there is none."""
    for start in range(0, len(array), _ROWS_AT_ONCE):
        rows = np.ascontiguousarray(array[start : start + _ROWS_AT_ONCE])
        # Compares bits, because NaN is not equal to itself.
        bits = rows.view(f"u{rows.itemsize}").reshape(-1, _CAPTIONS_PER_IMAGE, rows.shape[1])
        same = (bits == bits[:, :1]).all(axis=(1, 2))
        if not same.all():
            return start // _CAPTIONS_PER_IMAGE + int(same.argmin())
    return None


def _captions(
    lines: list[tuple[int, str]], path: Path, first: int, skipped: list[Skip]
) -> list[Caption]:
    captions = []
    for number, (line_number, line) in enumerate(lines, start=first):
        place = f"{path}:{line_number}"
        item = fields.caption(line, place, number=number)
        if isinstance(item, Skip):
            skipped.append(item)
        else:
            captions.append(item)
    return captions
