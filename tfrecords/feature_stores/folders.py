"""A file an image: `PREFIX_fc/<id>.npy`, `PREFIX_att/<id>.npz`, `PREFIX_box/<id>.npy`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrecords.errors import InputError
from tfrecords.feature_stores.array_store import Arrays, ArrayStore, open_arrays
from tfrecords.feature_stores.arrays import read_array_file

_SUFFIXES = (".npy", ".npz")
_LONGEST_NAME = 255
PARTS = ("_fc", "_att", "_box")


@dataclass(frozen=True)
class FolderArrays:
    """The arrays of one folder.

    Attributes:
        path: of the folder.
        suffix: of its files.
        flat: take the arrays as vectors, whatever dimensions of size 1 they have.
    """

    path: Path
    suffix: str
    flat: bool

    def keys(self) -> list[str]:
        """The file names without suffix, sorted."""
        names = (item.name for item in os.scandir(self.path))
        return sorted(n.removesuffix(self.suffix) for n in names if n.endswith(self.suffix))

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        # A key is somebody else's text: it must not lead out of the folder.
        name = f"{key}{self.suffix}"
        if not key or "/" in key or "\0" in key:
            return None
        if len(name.encode(errors="surrogatepass")) > _LONGEST_NAME:
            return None
        try:
            array = read_array_file(self.path / name)
        except UnicodeEncodeError:
            return None
        return array.reshape(-1) if array is not None and self.flat else array


def open_folders(prefix: Path, sizes_file: Path | None = None) -> ArrayStore:
    """The features under a prefix, as self-critical.pytorch's `prepro_feats` writes them.

    Args:
        prefix: what the names of the folders have in common; `_fc` or `_att` must be there.
        sizes_file: gives boxes in pixels a meaning; see `open_arrays`.

    Raises:
        InputError: there are no such folders, or they are empty.
    """
    every: list[Arrays] = []
    for part in PARTS:
        folder = prefix.with_name(prefix.name + part)
        if folder.is_dir():
            every.append(FolderArrays(folder, _suffix(folder), flat=part == "_fc"))
    if not any(arrays.path.name.endswith(PARTS[:2]) for arrays in every):
        raise InputError(
            f"there is no folder {prefix}_fc or {prefix}_att: give what their names begin with"
        )
    return open_arrays(every, sizes_file)


def _suffix(folder: Path) -> str:
    for item in os.scandir(folder):
        if item.name.endswith(_SUFFIXES):
            return item.name[-4:]
    raise InputError(f"{folder} holds no .npy or .npz file")
