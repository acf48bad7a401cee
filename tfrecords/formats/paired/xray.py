"""Reader of reports of X-ray studies: R2Gen's `annotation.json` for IU X-ray and MIMIC-CXR."""

from __future__ import annotations

from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.paired import fields
from tfrecords.formats.paired.types import PairedDataset, PairedImage

SPLITS = ("train", "val", "validate", "test")


def read_xray(path: Path) -> PairedDataset:
    """Reads `{"train": [{"id", "report", "image_path": [...]}], "val": [...], "test": [...]}`.

    Every picture of a study becomes a separate image with the study's report as its only caption,
    because captioners process one picture. Its `image_id` is the path in the file, because the
    files in the folder of each study are named `0.png` and `1.png`; its `source_id` is the study's
    id.

    Raises:
        InputError: the file is not JSON, or a study is malformed; names `path:line`.
    """
    images: list[PairedImage] = []
    skipped: list[Skip] = []
    for place, element in fields.json_elements(path):
        if element.key not in SPLITS:
            continue
        row = fields.object_of(element.value, place, "an object for a study")
        if "report" not in row:
            raise InputError(f"{place}: expected a study with `report`, found {fields.found(row)}")
        study = fields.identifier(row.get("id"), place, "the study's `id`")
        report = fields.caption(row["report"], place)
        if isinstance(report, Skip):
            skipped.append(report)
        captions = () if isinstance(report, Skip) else (report,)
        paths = row.get("image_path", [])
        for name in (
            [paths]
            if isinstance(paths, str)
            else fields.list_of(paths, place, "a list of files as `image_path`") or [None]
        ):
            file = None if name is None else fields.relative_file(name, place, "an `image_path`")
            images.append(
                PairedImage(
                    image_id=file or study,
                    place=place,
                    captions=captions,
                    source_id=study,
                    file=file,
                    split=element.key,
                )
            )
    return PairedDataset(images=images, files=(path,), skipped=skipped)
