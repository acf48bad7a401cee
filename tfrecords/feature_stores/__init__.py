"""Image features that exist already, found by image: one interface for all their formats.

| written as | what |
|---|---|
| `tsv:FILE[,FILE...]`, `tsv:FOLDER` | bottom-up attention TSVs (`*.tsv`, `*.tsv.0`, ...) |
| `folders:PREFIX` | some of `PREFIX_fc/<id>.npy`, `PREFIX_att/<id>.npz`, `PREFIX_box/<id>.npy` |
| `h5:FILE[,FILE...]` | HDF5 with a data set an image; a file each for vectors, regions, boxes |
| `lmdb:PATH[,PATH...]` | LMDB with .npy or .npz bytes an image, likewise |
| `npy:FILE` | an array with a row an image, which is called by its row number |
| `records:FOLDER` | `features` records |

Without the first word the name of the file tells. `folders`, `h5` and `lmdb` take `,sizes=FILE`: a
COCO JSON that gives the sizes of the images, without which boxes in pixels mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tfrecords.errors import InputError

if TYPE_CHECKING:
    from tfrecords.feature_stores.array_store import Arrays

STORE_KINDS = ("tsv", "folders", "h5", "lmdb", "npy", "records")
_TSV_NAME = re.compile(r"\.tsv(\.\d+)?$")
_COCO_NAME = re.compile(r"(?:COCO_\w+_)?0*(\d+)")


@dataclass(frozen=True, kw_only=True)
class StoredFeatures:
    """What a store knows of one image; None for what it has not.

    Attributes:
        global_feature: float [D], one vector of the whole image.
        grid_feature: float [gh, gw, D], a feature map.
        region_feature: float [N, D], a vector each of N regions.
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax of the regions, in 0..1.
        height: of the image, pixels.
        width: likewise.
    """

    global_feature: np.ndarray | None = None
    grid_feature: np.ndarray | None = None
    region_feature: np.ndarray | None = None
    boxes: np.ndarray | None = None
    height: int | None = None
    width: int | None = None


class FeatureStore(Protocol):
    """Features of many images, read one at a time.

    Stores are picklable and small: they go to every worker, which opens the files itself.
    """

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each kind of feature in it by its name in the records; None varies.

        For example `{"global_feature": (2048,), "region_feature": (None, 2048)}`.
        """

    @property
    def has_boxes(self) -> bool:
        """Whether it knows the boxes of its regions."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders it reads, for the sources in a manifest."""

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> number of entries that were passed over when it was opened."""

    def keys(self) -> list[str]:
        """The name of every image in it, in the order of the store."""

    def get(self, *keys: str) -> StoredFeatures | None:
        """The features of an image, looked up by each of `keys` in turn; None if it has none.

        An image is known by several names: its number in the data set, its file name, the file
        name without suffix.

        Raises:
            InputError: what is stored for the image is damaged; names file and image.
        """


def image_keys(name: str) -> tuple[str, ...]:
    """The names a store may know an image by, for `FeatureStore.get`.

    `val2014/COCO_val2014_000000000042.jpg` is also that without the folder, that without suffix,
    and `42`.
    """
    path = PurePosixPath(name)
    found = [name, path.name, path.stem]
    if number := _COCO_NAME.fullmatch(path.stem):
        found.append(number[1])
    return tuple(dict.fromkeys(found))


def open_feature_store(text: str) -> FeatureStore:
    """Opens what a text of the form `KIND:PATH`, or a path alone, names: see the table above.

    Raises:
        InputError: an unknown kind, no such files, or files that are not what they should be.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in STORE_KINDS:
        kind, rest = _guess(text), text
    items = [item for item in rest.split(",") if item]
    paths = [Path(item).absolute() for item in items if not item.startswith("sizes=")]
    sizes = [Path(i.removeprefix("sizes=")).absolute() for i in items if i.startswith("sizes=")]
    if not paths or len(sizes) > 1 or (sizes and kind not in ("folders", "h5", "lmdb")):
        raise InputError(f"cannot open {text!r}: expected KIND:PATH, of {', '.join(STORE_KINDS)}")
    if len(paths) > 1 and kind in ("folders", "npy", "records"):
        raise InputError(f"{text!r}: {kind} takes one path")
    return _open(kind, paths, sizes[0] if sizes else None)


def _open(kind: str, paths: list[Path], sizes: Path | None) -> FeatureStore:
    # Only what is asked for is imported.
    if kind == "tsv":
        from tfrecords.feature_stores.tsv import open_tsv

        return open_tsv(tuple(file for path in paths for file in _tsv_files(path)))
    if kind == "folders":
        from tfrecords.feature_stores.folders import open_folders

        return open_folders(paths[0], sizes)
    if kind == "records":
        from tfrecords.feature_stores.records import open_feature_records

        return open_feature_records(paths[0])
    from tfrecords.feature_stores.array_store import open_arrays
    from tfrecords.feature_stores.hdf5 import Hdf5Arrays
    from tfrecords.feature_stores.lmdb import LmdbArrays
    from tfrecords.feature_stores.npy import NpyRows

    kinds: dict[str, Callable[[Path], Arrays]] = {
        "h5": Hdf5Arrays,
        "lmdb": LmdbArrays,
        "npy": NpyRows,
    }
    return open_arrays([kinds[kind](path) for path in paths], sizes)


def _tsv_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(item for item in path.iterdir() if _TSV_NAME.search(item.name))
    if not found:
        raise InputError(f"{path} holds no .tsv file")
    return found


def _guess(text: str) -> str:
    first = text.split(",")[0]
    path = Path(first)
    if path.is_dir() and (path / "manifest.json").is_file():
        return "records"
    if (path.is_dir() and (path / "data.mdb").is_file()) or first.endswith((".lmdb", ".mdb")):
        return "lmdb"
    if _TSV_NAME.search(first):
        return "tsv"
    for suffix, kind in ((".h5", "h5"), (".hdf5", "h5"), (".npy", "npy")):
        if first.endswith(suffix):
            return kind
    if Path(first + "_fc").is_dir() or Path(first + "_att").is_dir():
        return "folders"
    if path.is_dir() and any(_TSV_NAME.search(item.name) for item in path.iterdir()):
        return "tsv"
    raise InputError(
        f"cannot tell what kind of features {text!r} is; say it: KIND:PATH, of "
        f"{', '.join(STORE_KINDS)}"
    )
