"""Builds `images` records: pictures with the concepts that detectors found in them, or concepts.

    r2m-build-images --images=raw/flickr8k/images --corpora=records/corpora/coco \\
        --detections=raw/flickr8k/detections.json --detections=raw/flickr8k/tags.json,0.2 \\
        --split=train=train.txt --split=val=val.txt --references=captions.token.txt \\
        --output=records/images/flickr8k

    r2m-build-images --corpora=records/corpora/reports --detections=keywords.csv \\
        --split=val=val.txt --references=reports.csv --output=records/images/reports

The second command reads no image files: its records contain concepts and references only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from absl import app, flags

from r2m.cli import building, image_flags
from r2m.cli.flag_groups import CONCEPTS, FEATURES, INPUT, OUTPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.record_reports import print_records
from r2m.cli.value_flags import define_choice, define_list, define_switch, define_text, define_texts
from tfrecords.formats.detections.box_formats import BOX_HELP

_IMAGES = define_text(
    "images",
    None,
    "Folder with the image files. Default: no files are read; the images are those of --split, or "
    "else of --detections, and records have no pixels and no features.",
    group=INPUT,
    value="FOLDER",
)
_CORPORA = define_text(
    "corpora",
    None,
    "Folder of records made by r2m-build-corpora, with words and concepts.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_DETECTIONS = define_texts(
    "detections",
    None,
    "FILE[+FILE][,MIN_SCORE[,WEIGHT]], and any of ,boxes=FORMAT ,scores=percent ,sizes=FILE: "
    "detections. A folder of r2m-detect-objects, COCO results (.json; a plain list + the JSON "
    "with images and categories), Open Images boxes (.csv + label map), a table of labels or "
    "keywords of whole images (.csv, .tsv) or the R2M authors' .hdf5 + label map. Keeps scores of "
    "at least MIN_SCORE (0.3), "
    "multiplied by WEIGHT (1). Several files are merged; a classifier's whole-image labels are "
    f"recognized. {BOX_HELP}",
    required=True,
    group=INPUT,
    value="PATH[,...]",
)
image_flags.define_split_flag()
define_whole("max_concepts", 5, "Maximum number of concepts per image.", least=1, group=CONCEPTS)
define_choice(
    "concept_order",
    "score",
    ["score", "class_id"],
    "class_id selects concepts as the R2M authors' code does.",
    group=CONCEPTS,
)
define_whole(
    "min_concept_count",
    1,
    "Leave out concepts that occur in fewer sentences of the corpus.",
    least=0,
    group=CONCEPTS,
)
define_whole(
    "min_pair_sentences",
    0,
    "Of two concepts of an image that are together in fewer sentences of the corpus, although so "
    "many or more would be expected by chance, leave out the less certain one. 0: leave out none.",
    least=0,
    group=CONCEPTS,
)
_REFERENCES = define_text(
    "references",
    None,
    "Reference captions for scoring: a token file, a table with columns of images and "
    "captions, COCO or Karpathy JSON, a JSON list or JSON Lines.",
    group=INPUT,
    value="FILE",
)
_REFERENCE_SPLITS = define_list(
    "reference_splits",
    ["val", "test"],
    "Splits whose images get the captions of --references. With `train`, training is no longer "
    "unpaired.",
    group=INPUT,
    value="SPLIT,...",
)
define_switch(
    "keep_images_without_concepts",
    True,
    "Keep images without concepts in splits other than train.",
    group=CONCEPTS,
)
building.define_backbone_flags()
building.define_view_flags()
define_switch("store_grid", False, "Also store the feature map, not only its mean.", group=FEATURES)
define_switch("store_pixels", True, "Store the bytes of the image files.", group=OUTPUT)
building.define_build_flags("images")

_SAME_NAME = [
    *("max_concepts", "concept_order", "min_concept_count", "min_pair_sentences"),
    "keep_images_without_concepts",
    *("store_grid", "store_pixels"),
]
# Flags that have no effect without image files.
_OF_FILES = (
    *("backbone", "weights", "image_size", "alpha", "batch_size", "short_side", "average_mirrored"),
    *("dtype", "views", "view_area", "view_mirror", "store_grid", "recursive", "max_megapixels"),
)


def main(argv: Sequence[str]) -> int | None:
    """Reads the flags and builds the records."""
    from tfrecords.builders.images.build import ImagesOptions, build_images
    from tfrecords.formats.detections.reading import DetectionSource

    if flags.FLAGS["reference_splits"].present and not _REFERENCES.value:
        raise app.UsageError("--reference_splits requires --references=FILE")
    _check_files()
    records = build_images(
        ImagesOptions(
            images=Path(_IMAGES.value) if _IMAGES.value else None,
            corpora=Path(_CORPORA.value),
            detections=tuple(DetectionSource.parse(text) for text in _DETECTIONS.value),
            references=Path(_REFERENCES.value) if _REFERENCES.value else None,
            reference_splits=tuple(_REFERENCE_SPLITS.value),
            **building.flag_values(*_SAME_NAME),
            **building.backbone_options(),
            **building.build_options("images"),
        )
    )
    print_records(records)
    return 0


def _check_files() -> None:
    """Raises a UsageError for flags of image files without --images."""
    given = [name for name in _OF_FILES if flags.FLAGS[name].present]
    stores = flags.FLAGS["store_pixels"]
    given += ["store_pixels"] if stores.present and stores.value else []
    if given and not _IMAGES.value:
        raise app.UsageError(
            f"--{given[0]} reads the image files: give their folder, --images=FOLDER"
        )


console = partial(run, main)

if __name__ == "__main__":
    console()
