"""Opening of a feature store by a specification of the form `KIND:PATH`.

| specification | store |
|---|---|
| `tsv:FILE[,FILE...]`, `tsv:FOLDER` | TSVs of bottom-up attention and others, see `tsv.py` |
| `folders:PREFIX` | some of `PREFIX_fc/<id>.npy`, `PREFIX_att/<id>.npz`, `PREFIX_box/<id>.npy` |
| `folders:FOLDER` | a folder with a .npy or .npz per image |
| `h5:FILE[,FILE...]` | HDF5, see `hdf5_layouts.py`; one file per split, or per kind of array |
| `lmdb:PATH[,PATH...]` | LMDB with .npy or .npz bytes, or a pickled dictionary, per image |
| `npy:FILE` | an array with a row per image; named by row number or by `,ids=LIST` |
| `records:FOLDER` | `features`, `captions` or `images` records |

Without `KIND:` the kind follows from the file name. `tsv`, `folders`, `h5` and `lmdb` accept
`,sizes=FILE`: a COCO JSON with the sizes of the images, for boxes in pixels. `npy` and `h5` accept
`,ids=FILE`: the names of the rows.
"""

from __future__ import annotations

import re
from pathlib import Path

from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.missing_paths import describe_missing
from tfrecords.formats.features.types import FeatureStore

STORE_KINDS = ("tsv", "folders", "h5", "lmdb", "npy", "records")
_TSV_NAME = re.compile(r"\.tsv(\.\d+)?$")
_OPTIONS = {"sizes": ("tsv", "folders", "h5", "lmdb"), "ids": ("npy", "h5")}
# Pickles of other code bases: reading one could run any program.
_PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".p")


def open_feature_store(text: str) -> FeatureStore:
    """Opens the store that `KIND:PATH`, or a path alone, names; see the table above.

    Raises:
        InputError: the kind is unknown, or the files are missing or not of the expected format.
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in STORE_KINDS:
        kind, rest = "", text
    paths: list[Path] = []
    options: dict[str, Path] = {}
    for item in filter(None, rest.split(",")):
        name, equals, value = item.partition("=")
        if not (equals and name in _OPTIONS):
            paths.append(Path(item).absolute())
        elif not value or name in options:
            raise InputError(f"cannot open {text!r}: expected one {name}=FILE")
        else:
            options[name] = Path(value).absolute()
    kind = kind or _guess(text)
    if not paths or any(kind not in _OPTIONS[name] for name in options):
        raise InputError(
            f"cannot open {text!r}: expected KIND:PATH with one of the kinds "
            f"{', '.join(STORE_KINDS)}; sizes=FILE requires tsv, folders, h5 or lmdb, ids=FILE "
            "requires npy or h5"
        )
    if len(paths) > 1 and (kind in ("folders", "npy", "records") or "ids" in options):
        raise InputError(
            f"{text!r}: {kind} accepts only one path{' with ids' * ('ids' in options)}"
        )
    for path in paths:
        if path.suffix in _PICKLES:
            raise _pickled(path)
    return _open(kind, paths, options.get("sizes"), options.get("ids"))


def _open(kind: str, paths: list[Path], sizes: Path | None, ids: Path | None) -> FeatureStore:
    # Import only the modules of the requested kind.
    if kind == "tsv":
        from tfrecords.formats.features.tsv import open_tsv

        return open_tsv(tuple(file for path in paths for file in _tsv_files(path)), sizes)
    if kind == "folders":
        from tfrecords.formats.features.array_folders import open_folders

        return open_folders(paths[0], sizes)
    if kind == "records":
        from tfrecords.formats.features.record_store import open_feature_records

        return open_feature_records(paths[0])
    from tfrecords.formats.features.array_kinds import open_arrays
    from tfrecords.formats.features.array_store import Field

    if kind == "npy":
        from tfrecords.formats.features.npy_rows import NpyRows

        store = open_arrays([Field("feature", NpyRows(paths[0], ids))], sizes)
        if ids is None:
            logging.warning(
                "%s: images are named by their row numbers, from 0; to name them, add ,ids=LIST",
                paths[0],
            )
        return store
    if kind == "h5":
        from tfrecords.formats.features.hdf5_layouts import hdf5_fields

        fields = [hdf5_fields(path, ids) for path in paths]
    else:
        from tfrecords.formats.features.lmdb_pickles import lmdb_fields

        fields = [lmdb_fields(path) for path in paths]
    from tfrecords.formats.features.joined_store import join_or_combine

    return join_or_combine(fields, sizes)


def _tsv_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(item for item in path.iterdir() if _TSV_NAME.search(item.name))
    if not found:
        raise InputError(f"{path} contains no .tsv files")
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
    if path.suffix in (*_PICKLES, ".npz") and not path.exists():
        raise InputError(f"there is no file of features {path}{describe_missing(path)}")
    if path.suffix in _PICKLES:
        raise _pickled(path)
    if path.suffix == ".npz":
        raise InputError(
            f"{path}: if it is the file of one image, give its folder (folders:FOLDER); if it is a "
            "file of many images, save each array as .npy and give npy:FILE,ids=LIST"
        )
    if first and path.is_dir():
        return "folders"
    missing = "" if path.exists() else " (there is no such file or folder)"
    raise InputError(
        f"cannot detect the kind of features of {text!r}{missing}; give KIND:PATH with one "
        f"of the kinds {', '.join(STORE_KINDS)}"
    )


def _pickled(path: Path) -> InputError:
    return InputError(
        f"{path} is a PyTorch file or a pickle, which can execute code when it is loaded, and is "
        "not supported. If you trust it, convert it to a folder of <id>.npz: in Python, "
        "`array = torch.load(path, map_location='cpu')`, for a map [1, D, gh, gw] of "
        "grid-feats-vqa `array = array[0].permute(1, 2, 0)`, then "
        "`numpy.savez(f'{id}.npz', feat=array.numpy())`; give the folder as folders:FOLDER"
    )
