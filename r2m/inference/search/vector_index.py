"""Index of vectors of images or captions in a folder, bound to the model that made them.

| file | content |
|---|---|
| `vectors.f16` | float16[N, D], little-endian, without a header |
| `items.jsonl` | one JSON object per vector: `name` and `path` of an image, or `text` |
| `offsets.u64` | uint64[N + 1], where the lines of `items.jsonl` begin |
| `approximate.faiss` | optional, for approximate search |
| `index.json` | written last: kind, counts, sizes of the files, model |

The folder is written under another name and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np

from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, make_folder, sync_folder, write_atomically

FORMAT = 1
INDEX_FILE = "index.json"
VECTORS, ITEMS, OFFSETS = "vectors.f16", "items.jsonl", "offsets.u64"
APPROXIMATE = "approximate.faiss"
_UNFINISHED = ".unfinished-"
# Maximum deviation of the length of a unit vector from 1, after rounding.
_UNIT = 1e-2

Kind = Literal["images", "captions"]


class IndexWriter:
    """Writer of an index; a context manager. Leaving it without `finish` removes all files."""

    def __init__(
        self,
        folder: Path,
        *,
        kind: Kind,
        size: int,
        similarity: str,
        model: Mapping[str, Any],
        overwrite: bool = False,
    ) -> None:
        """Creates the unfinished folder.

        Args:
            folder: folder of the index.
            kind: `images` or `captions`.
            size: D of the vectors.
            similarity: similarity of the model, `cosine` or `order`.
            model: its identity; see `check_model`.
            overwrite: whether an existing index may be replaced.

        Raises:
            InputError: an existing index may not be replaced, the folder exists and is not an
                index, or the folder cannot be created.
        """
        check_target(folder, overwrite)
        self._folder = folder.absolute()
        self._unfinished = self._folder.with_name(f"{self._folder.name}{_UNFINISHED}{os.getpid()}")
        self._about = {
            "format": FORMAT, "kind": kind, "size": size, "similarity": similarity,
            "model": dict(model),
        }  # fmt: skip
        self._size, self._count, self._unit = size, 0, True
        self._end = 0
        _remove_abandoned(self._folder)
        make_folder(self._unfinished)
        self._streams = {name: self._open(name) for name in (VECTORS, ITEMS, OFFSETS)}
        self._streams[OFFSETS].write(np.zeros(1, "<u8").tobytes())

    def _open(self, name: str) -> IO[bytes]:
        return (self._unfinished / name).open("wb")

    def __enter__(self) -> IndexWriter:
        """Returns self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Removes the unfinished folder."""
        for stream in self._streams.values():
            stream.close()
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def add(self, vectors: np.ndarray, items: Sequence[Mapping[str, Any]]) -> None:
        """Appends vectors float[B, D] and their items.

        Raises:
            InputError: a value is not finite as float16, or the disk is full.
        """
        assert vectors.shape == (len(items), self._size), vectors.shape
        with np.errstate(over="ignore"):
            rounded = np.asarray(vectors, "<f2")
        bad = np.flatnonzero(~np.isfinite(rounded).all(axis=1))
        if bad.size:
            raise InputError(
                f"the vector of {_title(items[bad[0]])} has values that are NaN, infinite or too "
                "large for float16: did the training of the model diverge?"
            )
        lengths = np.linalg.norm(np.asarray(vectors, np.float32), axis=1)
        self._unit = self._unit and bool(np.all(np.abs(lengths - 1) < _UNIT))
        lines = [json.dumps(item, ensure_ascii=True).encode() + b"\n" for item in items]
        ends = self._end + np.cumsum([len(line) for line in lines], dtype=np.uint64)
        with clear_disk_errors(self._folder, resumes=False):
            self._streams[VECTORS].write(rounded.tobytes())
            self._streams[ITEMS].write(b"".join(lines))
            self._streams[OFFSETS].write(ends.astype("<u8").tobytes())
        self._count += len(items)
        self._end = int(ends[-1]) if len(ends) else self._end

    def finish(
        self,
        about: Mapping[str, Any],
        approximate: Callable[[np.ndarray, Path], None] | None = None,
    ) -> VectorIndex:
        """Publishes the index under its name.

        Args:
            about: further entries of index.json: sources, skipped inputs.
            approximate: writes a structure for approximate search of vectors to a file.

        Returns:
            The index, opened.

        Raises:
            InputError: there are no vectors, or the disk is full.
        """
        if not self._count:
            raise InputError(f"{self._folder}: there is nothing to index")
        with clear_disk_errors(self._folder, resumes=False):
            for stream in self._streams.values():
                stream.flush()
                os.fsync(stream.fileno())
                stream.close()
            names = [VECTORS, ITEMS, OFFSETS]
            if approximate is not None:
                file = self._unfinished / VECTORS
                approximate(
                    _map_vectors(file, self._count, self._size), self._unfinished / APPROXIMATE
                )
                names.append(APPROXIMATE)
            files = {name: (self._unfinished / name).stat().st_size for name in names}
            contents = {
                **self._about,
                "count": self._count,
                "unit_vectors": self._unit,
                "files": files,
                **about,
            }
            text = json.dumps(contents, indent=2, ensure_ascii=False)
            write_atomically(self._unfinished / INDEX_FILE, text.encode() + b"\n")
            _publish(self._unfinished, self._folder)
        return VectorIndex(self._folder)


class VectorIndex:
    """An opened index.

    Attributes:
        folder: its folder.
        about: contents of index.json.
        kind: `images` or `captions`.
        similarity: `cosine` or `order`.
        unit_vectors: whether all vectors have length 1.
        vectors: float16[N, D], memory-mapped.
    """

    def __init__(self, folder: Path) -> None:
        """Opens an index.

        Raises:
            InputError: the folder contains no index, an incomplete one or one of another format.
        """
        self.folder = Path(folder)
        self.about = _read_about(self.folder)
        self.kind: Kind = self.about["kind"]
        self.similarity: str = self.about["similarity"]
        self.unit_vectors: bool = self.about["unit_vectors"]
        count, size = self.about["count"], self.about["size"]
        expected = {VECTORS: 2 * count * size, OFFSETS: 8 * (count + 1), **self.about["files"]}
        for name, length in expected.items():
            file = self.folder / name
            found = file.stat().st_size if file.is_file() else None
            if found != length:
                state = "is missing" if found is None else f"has {found} bytes"
                raise InputError(
                    f"{file} {state}, expected {length} bytes: the index is incomplete or "
                    "damaged; build it again with --overwrite"
                )
        self.vectors = _map_vectors(self.folder / VECTORS, count, size)
        self._offsets = np.memmap(self.folder / OFFSETS, "<u8", "r", shape=(count + 1,))

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return len(self.vectors)

    def items(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Returns the items of vectors: `name` and `path` of an image, or `text`."""
        found = []
        with (self.folder / ITEMS).open("rb") as stream:
            for row in rows:
                stream.seek(int(self._offsets[row]))
                line = stream.read(int(self._offsets[row + 1]) - int(self._offsets[row]))
                found.append(json.loads(line))
        return found

    def facts(self) -> dict[str, Any]:
        """Returns the facts about the index that pages show."""
        model = self.about["model"]
        return {
            "index": self.folder.name,
            self.kind: len(self),
            "model": f"{model['run']}, step {model['step']}",
            "similarity": self.similarity,
        }

    @property
    def approximate_file(self) -> Path | None:
        """File of the structure for approximate search; None if the index has none."""
        return self.folder / APPROXIMATE if APPROXIMATE in self.about["files"] else None

    def check_model(self, model: Mapping[str, Any], path: str | Path) -> None:
        """Raises `InputError` if the index was made by another model.

        Args:
            model: identity of the model; only the checkpoint's `digest` is compared.
            path: run folder of the model, for the message.
        """
        own = self.about["model"]
        if own["digest"] != model["digest"]:
            raise InputError(
                f"{self.folder} is an index of another model: it was made with {own['run']} at "
                f"step {own['step']} (checkpoint {own['digest']}), the run {path} is at step "
                f"{model['step']} (checkpoint {model['digest']}); build the index again with "
                "--overwrite, or give the run that made it with --run"
            )


def _remove_abandoned(folder: Path) -> None:
    """Removes unfinished folders of an index that killed processes left behind."""
    for path in folder.parent.glob(f"{folder.name}{_UNFINISHED}*"):
        process = path.name.rpartition("-")[2]
        if process.isdigit() and not _runs(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    """Returns whether a process with this id exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises `InputError` if an index cannot be written to a folder."""
    if not folder.exists():
        return
    if (folder / INDEX_FILE).is_file():
        if not overwrite:
            raise InputError(f"{folder} is already an index: give --overwrite to replace it")
    elif not folder.is_dir() or any(folder.iterdir()):
        raise InputError(
            f"{folder} exists and is not an index: give another folder, which will be created"
        )


def _read_about(folder: Path) -> dict[str, Any]:
    file = folder / INDEX_FILE
    if not file.is_file():
        half = (folder / VECTORS).exists() or _UNFINISHED in folder.name
        state = (
            f"is incomplete: it has no {INDEX_FILE}; build it again"
            if half
            else f"is not an index: it has no {INDEX_FILE}; r2m-build-index builds one"
        )
        raise InputError(f"{folder} {state}")
    about: Any = None
    with contextlib.suppress(ValueError):
        about = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(about, dict) or "format" not in about:
        raise InputError(f"{file} is damaged: build the index again with --overwrite")
    if about["format"] != FORMAT:
        raise InputError(
            f"{file}: format {about['format']!r}, this version of R2M reads {FORMAT}: build the "
            "index again with --overwrite"
        )
    return about


def _map_vectors(file: Path, count: int, size: int) -> np.ndarray:
    return np.memmap(file, "<f2", "r", shape=(count, size))


def _publish(unfinished: Path, folder: Path) -> None:
    """Renames a complete folder to its name, then removes an earlier index."""
    if folder.exists():
        earlier = folder.with_name(f"{folder.name}.earlier-{os.getpid()}")
        folder.rename(earlier)
        unfinished.rename(folder)
        sync_folder(folder.parent)
        shutil.rmtree(earlier)
        return
    unfinished.rename(folder)
    sync_folder(folder.parent)


def _title(item: Mapping[str, Any]) -> str:
    return repr(item.get("name", item.get("text")))
