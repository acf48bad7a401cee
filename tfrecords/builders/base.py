"""Options and steps that all builders of records share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.runners import IN_THIS_PROCESS, Runner
from tfrecords.core.writer import RecordsContent, write_dataset

if TYPE_CHECKING:
    from typing_extensions import Unpack

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of every builder.

    Attributes:
        folder: output folder of the records.
        name: first part of the shard names.
        shards: shards per split (at most one per image or sentence). An interrupted build resumes
            at the first missing shard.
        runner: local processes or Apache Beam; the records do not depend on it.
        overwrite: replaces a finished folder that was built with other options.
        strict: raises an error for an input that would be skipped.
    """

    folder: Path
    name: str
    shards: int = 8
    runner: Runner = IN_THIS_PROCESS
    overwrite: bool = False
    strict: bool = False


def write_records(
    options: BuildOptions,
    *,
    kind: str,
    recorded: Mapping[str, Any],
    sources: Sequence[Path],
    progress: bool,
    **content: Unpack[RecordsContent],
) -> Records:
    """Writes the records of a build, see `write_dataset`; `recorded` are its options there."""
    return write_dataset(
        folder=options.folder,
        kind=kind,
        name=options.name,
        options=recorded,
        sources=sources,
        runner=options.runner,
        progress=progress,
        overwrite=options.overwrite,
        strict=options.strict,
        **content,
    )


def check_at_least_one(options: BuildOptions, *names: str) -> None:
    """Raises InputError unless the named options are at least 1, or None."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"{name}={value} must be at least 1")


def spread(items: Sequence[Item], shards: int) -> list[tuple[Item, ...]]:
    """Distributes items over the shards in turn; no shard is empty unless all are."""
    count = max(1, min(shards, len(items)))
    return [tuple(items[shard::count]) for shard in range(count)]
