"""Folders of finished records: their contents and completeness.

A folder of records contains `<name>-<split>.tfrecord-00000-of-00008` shards, `features.json` and
`dataset_info.json` (so that `tfds.builder_from_directory` opens it), further files depending on the
kind (`vocabulary.txt`, `concepts.json`) and `manifest.json`. The manifest is written last: a folder
without one is not finished. An empty or truncated TFRecord file reads without an error. File sizes
are therefore compared with the manifest before reading, and readers compare the number of records.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfrecords.core.errors import InputError
from tfrecords.core.examples import decode_example, read_frames
from tfrecords.core.files import sha256_file
from tfrecords.core.missing_paths import describe_missing
from tfrecords.core.vocabulary import Vocabulary

Example = Mapping[str, Any]

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.txt"
CONCEPTS = "concepts.json"
FORMAT_VERSION = 1
# TFDS stores the ragged `sentences` of a `captions` record as word ids and numbers of words.
SENTENCE_WORDS, SENTENCE_LENGTHS = "sentences/ragged_flat_values", "sentences/ragged_row_lengths_0"
# Part of the error message for such records.
MISCOUNTED_BOXES = "images whose numbers of boxes and of region features differ"
# Kind of records -> the command that builds them, for error messages.
_BUILDERS = {
    "captions": "r2m-build-captions",
    "corpora": "r2m-build-corpora",
    "detections": "r2m-detect-objects",
    "features": "r2m-extract-features",
    "images": "r2m-build-images",
}


@dataclass(frozen=True, kw_only=True)
class Records:
    """A folder of records whose files are complete.

    Attributes:
        folder: path of the folder.
        kind: `corpora`, `images`, ...; determines the features of the records.
        name: first part of the shard names.
        manifest: the parsed `manifest.json`.
    """

    folder: Path
    kind: str
    name: str
    manifest: dict[str, Any]

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order in which they were written."""
        return tuple(self.manifest["splits"])

    def shards(self, split: str) -> list[str]:
        """Returns the paths of a split's shards, sorted.

        Raises:
            InputError: there is no such split.
        """
        return sorted(str(self.folder / shard["file"]) for shard in self._split(split)["shards"])

    def count(self, split: str) -> int:
        """Returns the number of records of the split; readers must read exactly this number.

        Raises:
            InputError: there is no such split.
        """
        return int(self._split(split)["count"])

    @property
    def digest(self) -> str:
        """Digest of the contents of all shards, 16 hexadecimal digits."""
        sums = [shard["sha256"] for split in self.splits for shard in self._split(split)["shards"]]
        return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The names of the features of every record, sorted."""
        return tuple(self.manifest["features"])

    @property
    def vocabulary_sha256(self) -> str | None:
        """The sha256 of the vocabulary of the records; None if they contain no word ids."""
        value: str | None = self.manifest["vocabulary_sha256"]
        return value

    @property
    def concepts_sha256(self) -> str | None:
        """The sha256 of `concepts.json`; None without this file."""
        value: str | None = self.manifest["concepts_sha256"]
        return value

    @property
    def segmenter(self) -> str:
        """The segmenter that split the sentences into words; see `tfrecords.core.segmentation`."""
        value: str = self.manifest["options"].get("segmenter", "words")
        return value

    def vocabulary(self) -> Vocabulary:
        """Reads the vocabulary of the records.

        Raises:
            InputError: the records have no vocabulary, or the file has changed since the build.
        """
        if self.vocabulary_sha256 is None:
            raise InputError(f"{self.folder} ({self.kind} records) has no vocabulary")
        vocabulary = Vocabulary.load(self.folder / VOCABULARY, self.segmenter)
        check_same_vocabulary(
            f"the manifest of {self.folder}",
            self.vocabulary_sha256,
            str(self.folder / VOCABULARY),
            vocabulary.sha256,
        )
        return vocabulary

    def _split(self, split: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self.manifest["splits"][split]
        except KeyError:
            raise InputError(
                f"{self.folder} has no split {split!r}; it has {', '.join(self.splits)}"
            ) from None
        return found


_opened: dict[Path, None] = {}


def open_records(
    folder: str | Path,
    *,
    kind: str | None = None,
    verify: Literal["size", "sha256"] = "size",
) -> Records:
    """Opens a folder of finished records and checks that every file is complete.

    Args:
        folder: `<home>/records/<kind>/<name>`.
        kind: the expected kind; None accepts any kind.
        verify: compares only sizes (instant), or also checksums (reads every file once).

    Raises:
        InputError: the folder is missing, unfinished, or of another kind or format; or a file is
            missing, empty, too short, too long or (with `sha256`) changed.
    """
    folder = Path(folder)
    if verify not in ("size", "sha256"):
        raise InputError(f"verify={verify!r} is not known; known: size, sha256")
    manifest = _read_manifest(folder)
    if kind is not None and manifest["kind"] != kind:
        raise InputError(
            f"{folder} contains {manifest['kind']!r} records, expected {kind!r}: "
            f"give a folder written by {_BUILDERS[kind]}"
        )
    for name, expected in _files(manifest).items():
        _check_file(folder / name, expected, verify)
    _opened[folder] = None
    return Records(folder=folder, kind=manifest["kind"], name=manifest["name"], manifest=manifest)


def opened_folders() -> list[Path]:
    """Returns the folders of records that this process has opened, in order.

    TensorFlow's errors about damaged records do not name the file; messages list these folders.
    """
    return list(_opened)


def read_split(
    records: Records, split: str, names: Container[str] | None = None
) -> Iterator[Example]:
    """Yields the records of a split in the order on disk, as parsed by `decode_example`.

    Args:
        records: an open folder.
        split: name of the split.
        names: the features to parse; None parses all.

    Raises:
        InputError: a shard is damaged, or the number of records differs from the manifest.
    """
    count = 0
    for path in records.shards(split):
        with Path(path).open("rb") as stream:
            try:
                for record in read_frames(stream, path):
                    yield decode_example(record, names)
                    count += 1
            except ValueError as error:
                raise InputError(f"{error}; build the records again with --overwrite") from error
    if count != records.count(split):
        raise InputError(
            f"{records.folder}: split {split!r} has {count} records, its manifest lists "
            f"{records.count(split)}; build the records again with --overwrite"
        )


def check_same_vocabulary(a_name: str, a_sha: str | None, b_name: str, b_sha: str | None) -> None:
    """Checks that two objects use the same vocabulary.

    Raises:
        InputError: the vocabularies differ; names both.
    """
    if a_sha != b_sha:
        raise InputError(
            f"{a_name} and {b_name} use different vocabularies (sha256 {_short(a_sha)} and "
            f"{_short(b_sha)}), in which the same id stands for different words. Build one of them "
            "again with the vocabulary of the other (r2m-build-captions: --vocabulary, "
            "r2m-build-images: --corpora)"
        )


def _short(sha256: str | None) -> str:
    return "(none)" if sha256 is None else f"{sha256[:12]}..."


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        unfinished = incomplete_folder(folder)
        hint = (
            f"; {unfinished} is an unfinished build: run the same build command again to resume"
            if unfinished.is_dir()
            else f"; build the records first{describe_missing(folder)}"
        )
        raise InputError(f"there is no folder {folder}{hint}")
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{folder} has no {MANIFEST}: not a folder of finished records {_found_instead(folder)}"
        ) from None
    except NotADirectoryError:
        raise InputError(f"{folder} is a file, expected the folder of finished records") from None
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}): build the records again with --overwrite"
        ) from None
    needed = {"format_version", "kind", "name", "splits", "files", "features"}
    if not isinstance(manifest, dict) or not needed <= manifest.keys():
        raise InputError(f"{path} is not a manifest of records: expected the keys {sorted(needed)}")
    if manifest["format_version"] != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {manifest['format_version']}, this program reads "
            f"{FORMAT_VERSION}: build the records again with --overwrite"
        )
    return manifest


def _found_instead(folder: Path) -> str:
    """Describes the contents of a folder without manifest, and the remedy."""
    inside = sorted(str(path.parent) for path in folder.glob(f"*/{MANIFEST}"))
    names = sorted(item.name for item in folder.iterdir())
    # Shards without a manifest are left by an interrupted copy.
    if any(".tfrecord-" in name for name in names):
        hint = "copy it again from an intact copy, or move it away and build it again"
    elif inside:
        hint = f"did you mean {' or '.join(inside)}?"
    else:
        hint = "give a folder written by r2m-build-..., r2m-extract-features or r2m-detect-objects"
    return f"(it contains {', '.join(names[:5]) or 'nothing'}); {hint}"


def _files(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    shards = {
        shard["file"]: shard for split in manifest["splits"].values() for shard in split["shards"]
    }
    return {**shards, **manifest["files"]}


def _check_file(path: Path, expected: dict[str, Any], verify: str) -> None:
    hint = "copy the folder again from an intact copy, or build it again with --overwrite"
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise InputError(f"{path} is missing, but the manifest lists it; {hint}") from None
    wanted = expected["bytes"]
    if size != wanted:
        what = "is empty" if size == 0 else "was cut short" if size < wanted else "has grown"
        raise InputError(f"{path} {what}: {size} bytes, expected {wanted}; {hint}")
    if verify == "sha256" and (found := sha256_file(path)) != expected["sha256"]:
        raise InputError(
            f"{path} has changed: sha256 {_short(found)}, expected {_short(expected['sha256'])}; "
            f"{hint}"
        )


def incomplete_folder(folder: Path) -> Path:
    """Returns the folder of an unfinished build, `<folder>.incomplete`."""
    return folder.with_name(folder.name + ".incomplete")
