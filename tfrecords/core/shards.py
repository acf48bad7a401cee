"""Shards: atomic writing, a report file per shard, and reuse by resumed builds."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.examples import frame_record
from tfrecords.core.files import atomic_file, sha256_file, write_atomically

# Other counted inputs are mostly unwanted (short sentences, duplicates); these are damaged.
_BOX_FAULTS = ("box_not_finite", "box_inverted", "box_outside", "box_score", "box_class")
_FAULTS = frozenset((*_BOX_FAULTS, "differs_from_first"))


@dataclass(frozen=True)
class Skip:
    """One input without a record, listed in the manifest.

    Attributes:
        source: the input (a file name, `path:line`).
        reason: a short keyword that is counted (`unreadable`, `no_concept`, ...).
        detail: the exact problem, for the list.
    """

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Dropped:
    """Inputs without a record that are only counted, because there may be millions."""

    reason: str
    count: int = 1


ShardItem = bytes | Skip | Dropped
ShardJob = Callable[[], Iterable[ShardItem]]


@dataclass(frozen=True, kw_only=True)
class ShardResult:
    """Counts of one finished shard."""

    file: str
    count: int
    bytes: int
    sha256: str
    skipped: list[Skip] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardTask:
    """A shard to write: its path, the path of its report, and the job that yields its records.

    If `strict`, the first `Skip` raises an error.
    """

    path: Path
    note: Path
    job: ShardJob
    strict: bool = False


def refuse_skips(skipped: Sequence[Skip]) -> None:
    """Raises InputError if inputs were skipped; for strict builds."""
    if skipped:
        raise InputError(
            f"{len(skipped)} inputs cannot be used, and the build is strict: "
            f"{describe_skips(skipped, 5)}. Correct or "
            "remove them, or build without --strict, which leaves them out and lists them"
        )


def describe_skips(skipped: Sequence[Skip], most: int) -> str:
    """Returns the first skipped inputs with their reasons: `a.jpg: empty (it has zero bytes)`."""
    return "; ".join(
        f"{skip.source}: {skip.reason}" + f" ({skip.detail})" * bool(skip.detail)
        for skip in skipped[:most]
    )


def refuse_faults(dropped: Mapping[str, int]) -> None:
    """Raises InputError if inputs were dropped because they are invalid; for strict builds."""
    faults = {reason: count for reason, count in dropped.items() if reason in _FAULTS}
    if any(faults.values()):
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(faults.items()))
        raise InputError(
            f"invalid inputs, and the build is strict: {listed}. Correct them, or "
            "build without --strict, which leaves them out and counts them"
        )


def shard_name(name: str, split: str, index: int, shards: int) -> str:
    """Returns the file name of a shard, in the format of TFDS."""
    return f"{name}-{split}.tfrecord-{index:05d}-of-{shards:05d}"


def write_shard(task: ShardTask) -> ShardResult:
    """Runs the job; writes its records to `task.path`, then the result to `task.note`.

    A shard that exists and matches its report is kept.
    """
    if (finished := finished_shard(task)) is not None:
        return finished
    count, size, digest = 0, 0, hashlib.sha256()
    skipped: list[Skip] = []
    dropped: Counter[str] = Counter()
    with atomic_file(task.path) as temporary, temporary.open("wb", buffering=1 << 20) as stream:
        for item in task.job():
            if isinstance(item, bytes):
                frame = frame_record(item)
                stream.write(frame)
                digest.update(frame)
                size += len(frame)
                count += 1
            elif isinstance(item, Skip):
                if task.strict:
                    refuse_skips([item])
                skipped.append(item)
            else:
                dropped[item.reason] += item.count
    result = ShardResult(
        file=task.path.name,
        count=count,
        bytes=size,
        sha256=digest.hexdigest(),
        skipped=skipped,
        dropped=dict(dropped),
    )
    write_atomically(task.note, json.dumps(asdict(result)).encode())
    return result


def finished_shard(task: ShardTask) -> ShardResult | None:
    """Returns the report of an earlier run on a shard, if the shard is unchanged since."""
    try:
        note = json.loads(task.note.read_bytes())
        note["skipped"] = [Skip(**skip) for skip in note["skipped"]]
        result = ShardResult(**note)
        whole = task.path.stat().st_size == result.bytes
        return result if whole and sha256_file(task.path) == result.sha256 else None
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
