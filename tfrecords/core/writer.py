"""Writer of folders of records: sharded, resumable, with TFDS metadata, published atomically.

A build is an ordered list of shard jobs. Everything is written to `<folder>.incomplete`. Each shard
is written to a temporary name, flushed to disk and renamed; then its report is written to a small
file under `.state`. An interrupted build that is started again with the same options and sources
keeps the shards with a report. The metadata, the extra files and the manifest are written last,
followed by one rename.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from absl import logging

from tfrecords.core.build_folder import STATE, Build, check_name, open_build, publish
from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, readable_bytes, sha256_file, write_atomically
from tfrecords.core.records import (
    CONCEPTS,
    FORMAT_VERSION,
    MANIFEST,
    VOCABULARY,
    Records,
    open_records,
)
from tfrecords.core.runners import IN_THIS_PROCESS, Runner, run_jobs
from tfrecords.core.shards import (
    Dropped,
    ShardItem,
    ShardJob,
    ShardResult,
    ShardTask,
    Skip,
    describe_skips,
    finished_shard,
    refuse_faults,
    refuse_skips,
    shard_name,
    write_shard,
)

if TYPE_CHECKING:
    from typing_extensions import Required, Unpack

__all__ = [
    "Dropped",
    "RecordsContent",
    "ShardItem",
    "ShardJob",
    "ShardResult",
    "Skip",
    "describe_counts",
    "write_build",
    "write_dataset",
]

_LISTED_SKIPS = 1000
# Limits of the error for an empty split: inputs per reason, and reasons.
_EXAMPLES, _REASONS = 2, 3
SKIPPED_FILE = "skipped.jsonl"


class RecordsContent(TypedDict, total=False):
    """Arguments of `write_dataset` and `write_build` that describe the records to write.

    Attributes:
        splits: split name -> one job per shard. A job is a picklable function without arguments
            that yields serialized `tf.train.Example`s, and `Skip` or `Dropped` for inputs without
            one. It must yield the same bytes every time. Jobs run in any order and in any process.
        features: `tfds.features.FeaturesDict` of the records (or a function that returns it, called
            at the very end, for builds that otherwise need no TensorFlow).
        extra_files: file name -> content, written to the folder. The manifest contains the sha256
            of `vocabulary.txt` and `concepts.json`.
        skipped: inputs skipped before the shard jobs.
        dropped: reason -> number of inputs that were dropped before the shard jobs.
        converted: kind -> number of values that were converted (boxes of another format, texts with
            HTML entities), for the manifest.
        if_empty: returns additional advice for the error about a split without a record: the names
            in other files, or a remedy.
    """

    splits: Required[Mapping[str, Sequence[ShardJob]]]
    features: Required[Any]
    extra_files: Mapping[str, bytes | str]
    skipped: Sequence[Skip]
    dropped: Mapping[str, int]
    converted: Mapping[str, int]
    if_empty: Callable[[], str]


def write_dataset(
    *,
    folder: str | Path,
    kind: str,
    name: str,
    options: Mapping[str, Any],
    sources: Sequence[str | Path],
    runner: Runner = IN_THIS_PROCESS,
    progress: bool = True,
    overwrite: bool = False,
    strict: bool = False,
    **content: Unpack[RecordsContent],
) -> Records:
    """Writes a folder of records; resumes an unfinished one, or returns a finished one.

    Args:
        folder: the finished folder; written next to it and renamed at the end.
        kind: the kind of records (`corpora`, `images`).
        name: the first part of the shard names: lower-case letters, digits and `_`.
        options: everything except the sources that determines the bytes of the records (JSON).
            Workers, progress and the output folder do not belong here.
        sources: the input files (hashed) and folders (a listing with sizes is hashed).
        runner: runs the jobs; the records do not depend on it.
        progress: whether to show a bar on a terminal and log lines elsewhere.
        overwrite: replaces a finished folder that was built from other options or sources.
        strict: raises an error for an input that would be skipped; not recorded as an option.
        **content: the records, see `RecordsContent`.

    Returns:
        The finished records.

    Raises:
        InputError: a name is invalid, a split has no record, the disk is full, the folder contains
            another finished build, another process builds the same folder, or (if strict) an input
            is skipped.
    """
    build = open_build(
        Path(folder),
        kind=kind,
        name=name,
        options=options,
        sources=sources,
        overwrite=overwrite,
        strict=strict,
    )
    if isinstance(build, Records):
        return build
    with build:
        return write_build(build, runner=runner, progress=progress, **content)


def write_build(
    build: Build,
    *,
    splits: Mapping[str, Sequence[ShardJob]],
    features: Any,
    extra_files: Mapping[str, bytes | str] | None = None,
    skipped: Sequence[Skip] = (),
    dropped: Mapping[str, int] | None = None,
    converted: Mapping[str, int] | None = None,
    if_empty: Callable[[], str] = str,
    runner: Runner = IN_THIS_PROCESS,
    progress: bool = True,
) -> Records:
    """Writes an open build; for builds that first prepare something under the lock.

    See `write_dataset` for the arguments and errors.

    Returns:
        The finished records.
    """
    _check_splits(splits)
    if build.strict:
        refuse_skips(skipped)
        refuse_faults(dropped or {})
    folder = build.folder
    tasks = {split: _shard_tasks(build, split, jobs) for split, jobs in splits.items()}
    results = _write_shards(build, tasks, runner, progress)
    every_skip = [*skipped, *(skip for r in results.values() for skip in r.skipped)]
    if build.strict:  # skips of shards that existed already
        refuse_skips(every_skip)
    by_split = {split: [results[task.path] for task in tasks[split]] for split in tasks}
    counts = _skip_counts(results.values(), skipped, dropped or {})
    if build.strict:
        refuse_faults(counts)
    for split, found in by_split.items():
        if not any(result.count for result in found):
            own = [skip for result in found for skip in result.skipped] or every_skip
            raise _no_record(f"split {split!r} of {folder}", counts, own, if_empty())
    with clear_disk_errors(folder):
        _remove_unexpected(build.incomplete, {task.path for t in tasks.values() for task in t})
        feature_names = _write_metadata(build, features, by_split)
        extra = dict(extra_files or {})
        if len(every_skip) > _LISTED_SKIPS:
            extra[SKIPPED_FILE] = "".join(json.dumps(asdict(s)) + "\n" for s in every_skip)
        for file_name, content in extra.items():
            data = content.encode() if isinstance(content, str) else content
            write_atomically(build.incomplete / file_name, data)
        files = _file_entries(build.incomplete, extra)
        manifest = {
            "format_version": FORMAT_VERSION,
            "kind": build.kind,
            "name": build.name,
            "fingerprint": build.fingerprint,
            "splits": {split: _split_entry(found) for split, found in by_split.items()},
            "features": feature_names,
            "files": files,
            "vocabulary_sha256": files.get(VOCABULARY, {}).get("sha256"),
            "concepts_sha256": files.get(CONCEPTS, {}).get("sha256"),
            "sources": build.sources,
            "options": build.options,
            "skipped": {
                "counts": dict(sorted(counts.items())),
                "list": [asdict(skip) for skip in every_skip[:_LISTED_SKIPS]],
                "file": SKIPPED_FILE if SKIPPED_FILE in extra else None,
            },
            "converted": dict(sorted((converted or {}).items())),
            "wall_seconds": round(time.monotonic() - build.started, 1),
            "versions": _versions(),
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        write_atomically(build.incomplete / MANIFEST, text.encode())
        publish(build)
    records = open_records(folder, kind=build.kind)
    logging.info(
        "wrote %s: %s%s",
        folder,
        ", ".join(f"{records.count(split)} {split}" for split in records.splits),
        (f"; left out: {describe_counts(counts)}" if counts else "")
        + (f"; converted: {describe_counts(converted)}" if converted else ""),
    )
    return records


def _no_record(
    split: str, counts: Mapping[str, int], skipped: Sequence[Skip], advice: str
) -> InputError:
    """Returns the error for a split without a record.

    It contains the numbers of omitted inputs by reason, two examples of each of the most frequent
    reasons, and the builder's advice.
    """
    by_reason: dict[str, list[Skip]] = {}
    for skip in skipped:
        by_reason.setdefault(skip.reason, []).append(skip)
    frequent = sorted(by_reason.values(), key=len, reverse=True)[:_REASONS]
    examples = [describe_skips(skips, _EXAMPLES) for skips in frequent]
    parts = [f"{split} would be empty; left out: {describe_counts(counts)}", *examples]
    return InputError(". ".join([*parts, advice] if advice else parts))


def _check_splits(splits: Mapping[str, Sequence[ShardJob]]) -> None:
    if not splits:
        raise InputError("no split to write: at least one is needed")
    for split, jobs in splits.items():
        check_name("split", split)
        if not jobs:
            raise InputError(f"split {split!r} has no shard: at least 1 is needed")


def _shard_tasks(build: Build, split: str, jobs: Sequence[ShardJob]) -> list[ShardTask]:
    files = [shard_name(build.name, split, index, len(jobs)) for index in range(len(jobs))]
    return [
        ShardTask(build.incomplete / file, build.state / f"{file}.json", job, build.strict)
        for file, job in zip(files, jobs, strict=True)
    ]


def _write_shards(
    build: Build, tasks: Mapping[str, Sequence[ShardTask]], runner: Runner, progress: bool
) -> dict[Path, ShardResult]:
    every = [task for split in tasks.values() for task in split]
    done = {task.path: result for task in every if (result := finished_shard(task)) is not None}
    missing = [task for task in every if task.path not in done]
    if done:
        logging.info(
            "resuming %s: %d of %d shards already exist",
            build.incomplete,
            len(done),
            len(every),
        )
    try:
        written = run_jobs(
            write_shard,
            missing,
            runner=runner,
            description=f"writing {build.folder.name}",
            progress=progress,
            already_done=len(done),
        )
    except OSError as error:
        with clear_disk_errors(build.folder, _needed(every)):
            raise error
        raise
    return {**done, **{task.path: result for task, result in zip(missing, written, strict=True)}}


def _needed(every: Sequence[ShardTask]) -> str:
    finished = [result for task in every if (result := finished_shard(task)) is not None]
    if not finished:
        return f"none of {len(every)} shards could be written"
    size = sum(result.bytes for result in finished)
    rest = size / len(finished) * (len(every) - len(finished))
    return (
        f"{len(finished)} of {len(every)} shards are written ({readable_bytes(size)}), "
        f"the rest takes about {readable_bytes(rest)} more"
    )


def _skip_counts(
    results: Iterable[ShardResult], skipped: Sequence[Skip], dropped: Mapping[str, int]
) -> Counter[str]:
    counts: Counter[str] = Counter(dropped)
    counts.update(skip.reason for skip in skipped)
    for result in results:
        counts.update(skip.reason for skip in result.skipped)
        counts.update(result.dropped)
    return counts


def describe_counts(counts: Mapping[str, int]) -> str:
    """Formats counts by reason, in descending order: `12 too_short, 3 duplicate`."""
    parts = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return (
        ", ".join(f"{count} {reason}" for reason, count in parts)
        or "nothing, because the sources are empty"
    )


def _remove_unexpected(incomplete: Path, expected: set[Path]) -> None:
    # Temporary files of killed workers, and metadata of a build killed near its end.
    for item in incomplete.iterdir():
        if item.name != STATE and item not in expected:
            shutil.rmtree(item) if item.is_dir() else item.unlink()


def _write_metadata(
    build: Build, features: Any, by_split: Mapping[str, Sequence[ShardResult]]
) -> list[str]:
    import tensorflow_datasets as tfds

    features = features() if callable(features) else features
    template = tfds.core.ShardedFileTemplate(
        data_dir=build.incomplete, dataset_name=build.name, filetype_suffix="tfrecord"
    )
    tfds.folder_dataset.write_metadata(
        data_dir=build.incomplete,
        features=features,
        split_infos=[
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[result.count for result in results],
                num_bytes=sum(result.bytes for result in results),
                filename_template=template.replace(split=split),
            )
            for split, results in by_split.items()
        ],
        check_data=False,
    )
    return sorted(features)


def _split_entry(results: Sequence[ShardResult]) -> dict[str, Any]:
    keys = ("file", "count", "bytes", "sha256")
    return {
        "count": sum(result.count for result in results),
        "shards": [{key: getattr(result, key) for key in keys} for result in results],
    }


def _file_entries(folder: Path, extra: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
        for name in sorted(itertools.chain(extra, ("features.json", "dataset_info.json")))
    }


def _versions() -> dict[str, str]:
    packages = ("r2m", "numpy", "nltk", "tensorflow", "tensorflow-datasets")
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
