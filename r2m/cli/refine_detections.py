"""Builds `detections` records of concepts on which similar images agree.

    r2m-extract-features --images=photographs --backbone=EfficientNetLite2 \\
        --split=train=train.txt --split=val=val.txt --output=records/features/photographs

    r2m-refine-detections --features=records/features/photographs --gallery_split=train \\
        --detections=records/detections/objects,0.2 --detections=records/detections/tags,0.01 \\
        --corpora=records/corpora/text --output=records/detections/refined

The score of each concept becomes the weighted mean of the image's own score and its mean score in
the most similar images of the gallery. The records are values for --detections of r2m-build-images
(with a low minimum score: records/detections/refined,0.12) and r2m-caption; their classes are the
concepts of the corpus. No caption is read.

New images are compared with those of the training, with the detections of both:

    r2m-refine-detections --features=records/features/new --gallery=records/features/photographs \\
        --gallery_split=train \\
        --detections=new_objects.json,0.2 --detections=records/detections/objects,0.2 \\
        --detections=new_tags,0.01 --detections=records/detections/tags,0.01 \\
        --corpora=records/corpora/text --output=records/detections/new
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from r2m.cli import building
from r2m.cli.flag_groups import CONCEPTS, INPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.record_reports import print_records
from r2m.cli.value_flags import define_text, define_texts
from tfrecords.formats.detections.box_formats import BOX_HELP

_FEATURES = define_text(
    "features",
    None,
    "Folder of records with a vector per image, of the images to refine: those of "
    "r2m-extract-features, r2m-build-images or r2m-build-captions.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_DETECTIONS = define_texts(
    "detections",
    None,
    "Detections in all images, those of the gallery included. Low minimum scores are useful: the "
    f"mean over similar images decides. Repeat the flag for several files. {BOX_HELP}",
    required=True,
    group=INPUT,
    value="FILE[+FILE][,MIN_SCORE[,WEIGHT]][,OPTION]",
)
_CORPORA = define_text(
    "corpora",
    None,
    "Folder of sentence records, whose concepts the classes are mapped to.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_GALLERY = define_text(
    "gallery",
    None,
    "Folder of records with vectors of the images to compare with. Default: --features.",
    group=INPUT,
    value="FOLDER",
)
_GALLERY_SPLIT = define_text(
    "gallery_split",
    None,
    "Split of these records, for example train, so that scores do not depend on test images. "
    "Default: all splits.",
    group=INPUT,
    value="SPLIT",
)
define_whole("neighbors", 40, "Number of similar images.", least=1, group=CONCEPTS)
define_number(
    "neighbor_weight",
    0.7,
    "Weight of the mean score of the similar images; the rest is that of the image's own score.",
    most=1,
    group=CONCEPTS,
)
define_number("min_score", 0.1, "Leave out concepts with lower scores.", most=1, group=CONCEPTS)
building.define_build_flags("detections", shuffles=False)


def main(argv: Sequence[str]) -> int | None:
    """Reads the flags and builds the records."""
    from tfrecords.builders.detections.refine import RefineOptions, refine_detections
    from tfrecords.formats.detections.reading import DetectionSource

    del argv
    records = refine_detections(
        RefineOptions(
            features=Path(_FEATURES.value),
            gallery=Path(_GALLERY.value) if _GALLERY.value else None,
            gallery_split=_GALLERY_SPLIT.value,
            detections=tuple(map(DetectionSource.parse, _DETECTIONS.value)),
            corpora=Path(_CORPORA.value),
            **building.flag_values("neighbors", "neighbor_weight", "min_score"),
            **building.build_options("detections"),
        )
    )
    print_records(records)
    return 0


console = partial(run, main)

if __name__ == "__main__":
    console()
