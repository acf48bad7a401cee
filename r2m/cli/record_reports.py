"""Reports of the inputs that a command used and skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfrecords.core.records import Records

_LISTED = 3


def describe_use(verb: str, used: int, left_out: Mapping[str, int]) -> str:
    """Returns how many entries were used and left out, by reason.

    Args:
        verb: past participle for the entries that were used: "captioned".
        used: their number.
        left_out: reason -> number of the others.
    """
    total = used + sum(left_out.values())
    return f"{verb} {used} of {total} entries" + _left_out(left_out)


def _left_out(counts: Mapping[str, int]) -> str:
    """Returns the counts as the end of a sentence; empty without counts."""
    # Imported here, because --help does not need records.
    from tfrecords.core.writer import describe_counts

    return f"; left out: {describe_counts(counts)}" if counts else ""


def print_records(records: Records, more: str = "") -> None:
    """Prints what a build wrote and what it skipped, with some examples.

    Args:
        records: records that were built.
        more: further text of the first line.
    """
    counts = {split: records.count(split) for split in records.splits}
    listed = ", ".join(f"{count} {split}" for split, count in counts.items())
    skipped = records.manifest["skipped"]
    print(f"{records.folder}: {listed}{more}{_left_out(skipped['counts'])}")
    for skip in skipped["list"][:_LISTED]:
        print(f"  {skip['source']}: {skip['reason']}: {skip['detail']}")
    if len(skipped["list"]) > _LISTED:
        print(f"  ... and more, in {records.folder}/{skipped['file'] or 'manifest.json'}")
