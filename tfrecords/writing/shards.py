"""One shard: written whole, noted, and found again by a build that goes on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tfrecords.errors import InputError
from tfrecords.writing.examples import frame_record
from tfrecords.writing.files import atomic_file, sha256_file, write_atomically

# What is only counted was mostly not asked for (short sentences, duplicates); this is damage.
_BOX_FAULTS = ("box_not_finite", "box_inverted", "box_outside", "box_score", "box_class")
_FAULTS = frozenset((*_BOX_FAULTS, "differs_from_first"))


@dataclass(frozen=True)
class Skip:
    """One input that gave no record, listed in the manifest.

    Attributes:
        source: which input (a file name, `path:line`).
        reason: a short word that is counted (`unreadable`, `no_concept`, ...).
        detail: what exactly was wrong, for the list.
    """

    source: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Dropped:
    """Inputs that gave no record and are only counted, because there may be millions."""

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
    """A shard to write: where to, where to note it, and the job that yields its records.

    When it is strict, the first `Skip` ends it.
    """

    path: Path
    note: Path
    job: ShardJob
    strict: bool = False


def refuse_skips(skipped: Sequence[Skip]) -> None:
    """Raises InputError if there is any: for builds that shall be strict."""
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
    """Raises InputError if inputs were dropped for being wrong: for builds that shall be strict."""
    faults = {reason: count for reason, count in dropped.items() if reason in _FAULTS}
    if any(faults.values()):
        listed = ", ".join(f"{count} {reason}" for reason, count in sorted(faults.items()))
        raise InputError(
            f"inputs that cannot be right, and the build is strict: {listed}. Correct them, or "
            "build without --strict, which leaves them out and counts them"
        )


def shard_name(name: str, split: str, index: int, shards: int) -> str:
    """The file name of a shard, as TFDS expects it."""
    return f"{name}-{split}.tfrecord-{index:05d}-of-{shards:05d}"


def write_shard(task: ShardTask) -> ShardResult:
    """Runs the job, puts its records under `task.path` and then the result under `task.note`.

    A shard that is there already, as its note says, is kept.
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
    """Returns the note of an earlier run about a shard, if the shard is unchanged since."""
    try:
        note = json.loads(task.note.read_bytes())
        note["skipped"] = [Skip(**skip) for skip in note["skipped"]]
        result = ShardResult(**note)
        whole = task.path.stat().st_size == result.bytes
        return result if whole and sha256_file(task.path) == result.sha256 else None
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
