"""Shows the contents of a folder of records: counts, schema, lengths, skipped inputs, some records.

    r2m-inspect workspace/records/corpora/shapes
    r2m-inspect workspace/records/images/shapes --split=val --html=/tmp/look

The records may be of any kind: corpora, detections, images, features or captions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from absl import app

from r2m.cli import image_flags
from r2m.cli.flag_groups import INPUT, OUTPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_switch, define_text

_SPLIT = define_text(
    "split", None, "Show only this split. Default: all.", group=INPUT, value="SPLIT"
)
_SHOW = define_whole("show", 3, "Records per split to show in full.", least=0, group=OUTPUT)
_MOST = define_whole(
    "most",
    None,
    "Maximum number of records to count per split. Default: all.",
    least=1,
    group=INPUT,
)
_VERIFY = define_switch("verify", False, "Also verify the checksums of all files.", group=INPUT)
_HTML = define_text(
    "html",
    None,
    "Folder for a page with pictures and the boxes drawn on them.",
    group=OUTPUT,
    value="FOLDER",
)
_PICTURES = define_whole("pictures", 24, "Pictures on that page.", least=1, group=OUTPUT)
_IMAGES = define_text(
    "images",
    None,
    "Folder with the image files, for records that contain none.",
    group=INPUT,
    value="FOLDER",
)
image_flags.define_folder_flags()


def main(argv: Sequence[str]) -> int | None:
    """Prints the requested information."""
    from r2m.engine.monitoring.text_tables import aligned
    from tfrecords import inspection
    from tfrecords.core.records import open_records

    if len(argv) != 2:
        raise app.UsageError("give one folder of records: r2m-inspect PATH")
    records = open_records(argv[1], verify="sha256" if _VERIFY.value else "size")
    print(aligned(inspection.describe_records(records)))
    for split in [_SPLIT.value] if _SPLIT.value else records.splits:
        found = inspection.split_statistics(records, split, _MOST.value)
        of = "" if found.read == records.count(split) else f" of {records.count(split):,}"
        print(f"\n== split {split}: {found.read:,}{of} records")
        for what, counts in found.lengths.items():
            total = counts.total()
            mean = sum(value * count for value, count in counts.items()) / total
            print(f"\n{what}: mean {mean:.2f} of {total:,}")
            print("\n".join(inspection.histogram(counts)))
        if found.classes:
            print("\nmost frequent: " + ", ".join(f"{word} {n:,}" for word, n in found.classes))
        for example in itertools.islice(inspection.read_split(records, split), _SHOW.value):
            print("\n" + aligned(inspection.describe_example(example, records)))
    if _HTML.value:
        from r2m.evaluation.pages.records_page import write_records_page

        page = write_records_page(
            records,
            Path(_HTML.value),
            split=_SPLIT.value or records.splits[0],
            pictures=_PICTURES.value,
            images=Path(_IMAGES.value) if _IMAGES.value else None,
            recursive=image_flags.recursive(),
        )
        print(f"\npage: {page}")
    return 0


console = partial(run, main, arguments="FOLDER")

if __name__ == "__main__":
    console()
