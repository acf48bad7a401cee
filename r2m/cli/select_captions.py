"""Selects generated captions of images, to train a captioner on them or to score them.

R2M captions images, with several captions per image:

    r2m-caption --run=workspace/runs/r2m/tri_rec --images=photographs --captions=5 --beam_size=5 \\
        --detections=detections.json --output=workspace/generated/photographs

For each training image this command keeps the caption that agrees most with the captions of similar
training images and with the detected concepts:

    r2m-select-captions --captions=workspace/generated/photographs --split=train \\
        --records=workspace/records/images/photographs --output=workspace/generated/train.json

A captioner that reads image features then learns from these pseudo-pairs: r2m-build-captions
--captions=train=workspace/generated/train.json, and r2m-train-captioner.

Captions of the images of another split are selected by agreement with those of the training images:

    r2m-select-captions --captions=workspace/generated/photographs --split=val \\
        --neighbor_split=train --records=workspace/records/images/photographs \\
        --output=workspace/generated/val.json
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from r2m.cli.flag_groups import INPUT, OUTPUT, SELECTION
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.value_flags import define_text

_CAPTIONS = define_text(
    "captions",
    None,
    "Output folder of r2m-caption, with one or several captions per image (--captions).",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_RECORDS = define_text(
    "records",
    None,
    "Folder of images records of these images, built with --backbone: their vectors find similar "
    "images, and their concepts are looked for in captions.",
    required=True,
    group=INPUT,
    value="FOLDER",
)
_SPLIT = define_text(
    "split",
    None,
    "Split of the records whose images are selected. Default: all images with captions.",
    group=INPUT,
    value="SPLIT",
)
_NEIGHBOR_SPLIT = define_text(
    "neighbor_split",
    None,
    "Split of the records whose images captions are compared with. Default: the selected images.",
    group=INPUT,
    value="SPLIT",
)
_NEIGHBORS = define_whole(
    "neighbors", 60, "Number of similar images to compare captions with.", least=1, group=SELECTION
)
_SHARPNESS = define_number(
    "sharpness",
    8.0,
    "An image with cosine similarity s has the weight exp(sharpness * s).",
    most=80,
    group=SELECTION,
)
_AGREEMENT = define_number(
    "agreement",
    1.0,
    "Weight of the agreement with the detected concepts (0 to 1), added to the mean CIDEr-D with "
    "the captions of similar images (0 to 10).",
    group=SELECTION,
)
_LIKELIHOOD = define_number(
    "likelihood",
    0.2,
    "Weight of the score of the search (normalized log p), which is added, too.",
    group=SELECTION,
)
_PER_IMAGE = define_whole(
    "captions_per_image",
    1,
    "Captions to keep per image, those with the highest values.",
    least=1,
    group=SELECTION,
)
_FRACTION = define_number(
    "fraction",
    1.0,
    "Fraction of the images to keep, those with the highest values.",
    above=0,
    most=1,
    group=SELECTION,
)
_OUTPUT = define_text(
    "output",
    None,
    "JSON file to write, for r2m-build-captions and r2m-score.",
    required=True,
    group=OUTPUT,
    value="FILE",
)


def main(argv: Sequence[str]) -> None:
    """Selects captions and prints a summary."""
    from r2m.inference.caption_selection import SelectionOptions, select_captions

    del argv
    found = select_captions(
        Path(_CAPTIONS.value),
        Path(_RECORDS.value),
        Path(_OUTPUT.value),
        SelectionOptions(
            neighbors=_NEIGHBORS.value,
            sharpness=_SHARPNESS.value,
            agreement=_AGREEMENT.value,
            likelihood=_LIKELIHOOD.value,
            captions=_PER_IMAGE.value,
            fraction=_FRACTION.value,
        ),
        split=_SPLIT.value,
        neighbor_split=_NEIGHBOR_SPLIT.value,
    )
    print(
        f"{_OUTPUT.value}: captions of {found.kept:,} of {found.images:,} images, "
        f"{found.distinct:,} distinct; in {found.changed:,} images the best one is not the most "
        "likely one"
    )


console = partial(run, main)

if __name__ == "__main__":
    console()
