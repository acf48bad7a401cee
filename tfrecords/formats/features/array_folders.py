"""Stores with one file per image: `PREFIX_fc/<id>.npy`, `PREFIX_att/<id>.npz`,
`PREFIX_box/<id>.npy`, or one folder of such files. An .npz may contain several arrays (`x`, `bbox`,
`image_h` of OpenVQA)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_folder
from tfrecords.formats.features.array_kinds import open_arrays
from tfrecords.formats.features.array_store import ArrayStore, Field
from tfrecords.formats.features.arrays import npz_names, read_array_file
from tfrecords.formats.features.field_names import FEATURE_ROLES, fields_by_role

_SUFFIXES = (".npy", ".npz")
_LONGEST_NAME = 255
PARTS = ("_fc", "_att", "_box")
# MMF writes the box metadata next to the features, as a pickled dictionary.
_NOT_FEATURES = "_info"


@dataclass(frozen=True)
class FolderArrays:
    """The arrays of one folder.

    Attributes:
        path: path of the folder.
        suffix: suffix of its files.
        flat: whether to flatten the arrays to vectors.
        field: name of the array in an .npz; None for files with a single array.
    """

    path: Path
    suffix: str
    flat: bool = False
    field: str | None = None

    @property
    def sources(self) -> tuple[Path, ...]:
        """See `Arrays.sources`."""
        return (self.path,)

    @property
    def has_row_numbers(self) -> bool:
        """See `Arrays.has_row_numbers`."""
        return False

    def keys(self) -> list[str]:
        """Returns the file names without suffix, prefixed with their subfolders, sorted."""
        found = []
        for place, _, files in os.walk(self.path):
            inside = Path(place).relative_to(self.path).as_posix()
            prefix = "" if inside == "." else inside + "/"
            stems = [n.removesuffix(self.suffix) for n in files if n.endswith(self.suffix)]
            found += [prefix + stem for stem in stems if not stem.endswith(_NOT_FEATURES)]
        return sorted(found)

    def has(self, key: str) -> bool:
        """See `Arrays.has`."""
        # A key is untrusted text: it must not lead out of the folder.
        name = f"{key}{self.suffix}"
        parts = key.split("/")
        if "\0" in key or any(part in ("", ".", "..") for part in parts):
            return False
        if any(
            len(part.encode(errors="surrogatepass")) > _LONGEST_NAME for part in name.split("/")
        ):
            return False
        try:
            return os.path.lexists(self.path / name)
        except UnicodeEncodeError:
            return False

    def get(self, key: str) -> np.ndarray | None:
        """See `Arrays.get`."""
        if not self.has(key):
            return None
        array = read_array_file(self.path / f"{key}{self.suffix}", self.field)
        return array.reshape(-1) if array is not None and self.flat else array

    def describe(self) -> str:
        """See `Arrays.describe`."""
        return describe_folder(self.path)


def open_folders(prefix: Path, sizes_file: Path | None = None) -> ArrayStore:
    """Opens the features under a prefix, as written by self-critical.pytorch's `prepro_feats`, or
    in a folder.

    Args:
        prefix: common prefix of the folder names, of which the `_fc` or the `_att` folder must
            exist; or a folder of .npy or .npz files.
        sizes_file: sizes of the images, for boxes in pixels; see `open_arrays`.

    Raises:
        InputError: there are no such folders, or they contain no such files.
    """
    folders = [prefix.with_name(prefix.name + part) for part in PARTS]
    folders = [folder for folder in folders if folder.is_dir()]
    if any(folder.name.endswith(PARTS[:2]) for folder in folders):
        return open_arrays([f for folder in folders for f in _fields(folder)], sizes_file)
    if prefix.is_dir():
        return open_arrays(_fields(prefix), sizes_file)
    raise InputError(
        f"there is no folder {prefix}_fc, {prefix}_att or {prefix}: give a folder of .npy or .npz "
        "files, or the prefix of the folder names"
    )


def _fields(folder: Path) -> list[Field]:
    first = _first_file(folder)
    suffix = first.suffix
    if folder.name.endswith("_fc"):
        return [Field("feature", FolderArrays(folder, suffix, flat=True))]
    by_role = fields_by_role(npz_names(first)) if suffix == ".npz" else {}
    if by_role.keys().isdisjoint(FEATURE_ROLES):
        return [Field("feature", FolderArrays(folder, suffix))]
    return [Field(role, FolderArrays(folder, suffix, field=name)) for role, name in by_role.items()]


def _first_file(folder: Path) -> Path:
    for place, _, files in os.walk(folder):
        for name in files:
            if name.endswith(_SUFFIXES) and not name[:-4].endswith(_NOT_FEATURES):
                return Path(place, name)
    hint = ""
    if any(folder.glob("*.pt*")):
        hint = (
            ". PyTorch files can execute code when they are loaded, and are not supported: save "
            "the arrays of those you trust as <id>.npz, with numpy.savez(path, feat=array)"
        )
    raise InputError(
        f"{folder} contains no .npy or .npz file; it contains {describe_folder(folder)}{hint}"
    )
