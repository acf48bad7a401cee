"""Builds `detections` records: runs an object detector over images, or converts published results.

    r2m-detect-objects --images=raw/coco/train2017 --label_map=mscoco_label_map.pbtxt \\
        --detector=keras_hub:dfine_small_coco --min_score=0.1 --output=records/detections/coco

    r2m-detect-objects --detector=open_images:train-annotations-bbox.csv \\
        --label_map=class-descriptions-boxable.csv --output=records/detections/open_images

    r2m-detect-objects --images=photographs --label_map=imagenet_labels.txt \\
        --detector=classifier:EfficientNetLite2 --output=records/detections/tags

    r2m-detect-objects --images=photographs --label_map=words.txt --min_score=0.05 \\
        --detector=zero_shot:clip_vit_base_patch32 --output=records/detections/words

    r2m-detect-objects --images=photographs --detector=colors:records/detections/coco,0.4 \\
        --output=records/detections/colors

The records are values for --detections of r2m-build-images and r2m-caption, and for --regions of
r2m-build-captions and r2m-extract-features. Images that cannot be read are skipped and listed in
manifest.json. After an interruption the same command resumes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from r2m.cli import building, image_flags
from r2m.cli.flag_groups import INPUT, MODEL
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.record_reports import print_records
from r2m.cli.value_flags import define_text, define_texts
from tfrecords.formats.detections.box_formats import BOX_HELP

_DETECTOR = define_text(
    "detector",
    None,
    "KIND:MODEL. To run: frozen_graph:FILE (TF1, image_tensor:0), saved_model:FOLDER (TensorFlow "
    "object detection API), keras_hub:PRESET (a name, which is downloaded, or a folder; needs the "
    "extra [keras_hub]), classifier:NAME (EfficientNetLite2, or one of keras.applications) or "
    "zero_shot:PRESET (CLIP or SigLIP of KerasHub), which label whole images; "
    "colors:FILE[,MIN_SCORE], which names the colors of the largest objects in a file of "
    "detections, and grass and snow around them; each score is a share of pixels. To convert "
    "results: coco:FILE[+JSON] (the JSON with images and categories of a plain list), "
    "open_images:CSV, hdf5:FILE (of the R2M authors' script), labels:TABLE (CSV or TSV with "
    "columns of images and labels), each with "
    f"[,boxes=FORMAT][,scores=percent][,sizes=FILE]. {BOX_HELP}",
    required=True,
    group=MODEL,
    value="KIND:MODEL",
)
_IMAGES = define_text("images", None, "Folder with the image files.", group=INPUT, value="FOLDER")
image_flags.define_split_flag()
_LABEL_MAP = define_text(
    "label_map",
    None,
    "Names of the classes the detector was trained with: .pbtxt, .json with COCO categories, .csv "
    "or one name per line. Required for all kinds except coco, labels and colors.",
    group=MODEL,
    value="FILE",
)
define_number("min_score", 0.0, "Leave out objects with lower scores.", most=1, group=MODEL)
define_whole(
    "max_detections",
    100,
    "Maximum number of objects per image, the most certain ones.",
    least=1,
    group=MODEL,
)
define_whole(
    "batch_size", 8, "Images per step, if the detector supports batches.", least=1, group=MODEL
)
define_whole(
    "crops",
    1,
    "Pictures per image that a classifier or zero_shot scores: 1 is the image, 5 adds its corners. "
    "The highest score of each label counts.",
    least=1,
    most=5,
    group=MODEL,
)
_PROMPTS = define_texts(
    "prompt",
    [],
    "Sentence with {} in place of a class name, for zero_shot; of several, the mean vector counts. "
    "Default: a photo of {}.",
    group=MODEL,
    value="SENTENCE",
)
image_flags.define_image_flags()
building.define_build_flags("detections", runs_network=True)


def main(argv: Sequence[str]) -> int | None:
    """Reads the flags and builds the records."""
    from tfrecords.builders.detections.build import DetectionsOptions, build_detections

    records = build_detections(
        DetectionsOptions(
            detector=_DETECTOR.value,
            images=Path(_IMAGES.value) if _IMAGES.value else None,
            label_map=Path(_LABEL_MAP.value) if _LABEL_MAP.value else None,
            prompts=tuple(_PROMPTS.value),
            **building.flag_values("min_score", "max_detections", "batch_size", "crops"),
            **image_flags.image_options(),
            **building.build_options("detections"),
        )
    )
    print_records(records)
    return 0


console = partial(run, main)

if __name__ == "__main__":
    console()
