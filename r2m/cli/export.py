"""Exports a trained run as a SavedModel that can be served without this project.

The folder has the layout of TensorFlow Serving. Each export adds a numbered version with warm-up
requests, batching parameters, vocabulary, license and a model card.

A captioner, from the bytes of an image to its three best captions:

    r2m-export --run=workspace/runs/updown/cross_entropy --captions=3 --beam_size=5 \\
        --output=workspace/exports/updown

R2M, from concepts to captions, and from images with the detectors of its records:

    r2m-export --run=workspace/runs/shapes --output=workspace/exports/shapes

    r2m-export --run=workspace/runs/flickr8k --output=workspace/exports/flickr8k \\
        --detector=saved_model:faster_rcnn+mscoco_label_map.pbtxt \\
        --detector=classifier:EfficientNetLite2+imagenet_labels.txt

For ONNX Runtime, as two graphs with a loop in Python around them:

    r2m-export --run=workspace/runs/updown/cross_entropy --format=onnx \\
        --output=workspace/exports/updown_onnx

A visual-semantic embedding, from images and sentences to vectors:

    r2m-export --run=workspace/runs/vse --output=workspace/exports/vse
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r2m.cli import image_flags
from r2m.cli.decoding_flags import (
    decoding_overrides,
    define_decoding_flags,
    define_ensemble_flag,
    define_precision_flag,
    ensemble_weights,
)
from r2m.cli.flag_groups import DECODING, INPUT, MODEL, OUTPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_choice, define_text, define_texts
from r2m.configuration.limits import MOST_BEAMS

_RUN = define_texts(
    "run",
    None,
    "Run folder of the stage to export, for example workspace/runs/shapes/tri_rec, or of an "
    "experiment, whose last stage is used. Its best checkpoint is used. Given several times, these "
    "captioners caption together, as an ensemble.",
    required=True,
    group=MODEL,
    value="FOLDER",
)
_WEIGHTS = image_flags.define_weights()
_DETECTOR = define_texts(
    "detector",
    None,
    "For R2M: detectors that find its concepts in images, one per file of detections of the "
    "training, in their order: frozen_graph:FILE+LABEL_MAP or saved_model:FOLDER+LABEL_MAP of the "
    "TensorFlow object detection API, or classifier:NAME+LABEL_MAP of keras.applications or "
    "EfficientNetLite. Thresholds and weights are those of the training unless given. Without it "
    "the model reads concepts.",
    group=MODEL,
    value="KIND:MODEL+LABEL_MAP[,MIN_SCORE[,WEIGHT]]",
)
_CAPTIONS = define_whole(
    "captions",
    1,
    "Captions per image, best first; at most --beam_size with beam search.",
    least=1,
    most=MOST_BEAMS,
    group=DECODING,
)
_MEGAPIXELS = define_whole(
    "max_megapixels",
    80,
    "Images of more megapixels get a status instead of a caption.",
    least=1,
    most=1000,
    group=INPUT,
)
_WEIGHTS_DTYPE = define_choice(
    "weights_dtype",
    "float32",
    ("float32", "float16", "bfloat16", "int8"),
    "Number format of the stored matrices. The smaller formats take a half or a quarter of the "
    "space; matrices are converted to float32 when the model runs. Scores change slightly, with "
    "int8 also some captions.",
    group=OUTPUT,
)
_OUTPUT = define_text(
    "output",
    None,
    "Folder of the exported model; its name becomes the model's name. Each export adds a version: "
    "1, or the number after the last one.",
    required=True,
    group=OUTPUT,
    value="FOLDER",
)
_FORMAT = define_choice(
    "format",
    "saved_model",
    ("saved_model", "onnx", "litert"),
    "saved_model: TensorFlow, from image bytes to strings. onnx, litert: encoder and one step of "
    "the decoder as two graphs, and caption.py, which loops them; need the extra of that name.",
    group=OUTPUT,
)
define_decoding_flags()
define_ensemble_flag()
_PRECISION = define_precision_flag()


def main(argv: Sequence[str]) -> None:
    """Exports a run, prints the signatures and names those left out."""
    from r2m.engine.distribution.cores import configure_threads, cores

    del argv
    configure_threads(cores())
    same: dict[str, Any] = {
        "decoding": decoding_overrides(),
        "weights": _WEIGHTS.value,
        "ensemble_weights": ensemble_weights(),
    }
    if _FORMAT.value == "saved_model":
        from r2m.serving.export import export_run

        exported = export_run(
            _RUN.value,
            _OUTPUT.value,
            captions=_CAPTIONS.value,
            max_pixels=_MEGAPIXELS.value * 1_000_000,
            weights_dtype=_WEIGHTS_DTYPE.value,
            detectors=_DETECTOR.value or (),
            precision=_PRECISION.value,
            **same,
        )
    else:
        from r2m.serving.portable_export import export_two_graphs

        _refuse_for_two_graphs()
        exported = export_two_graphs(_RUN.value, _OUTPUT.value, _FORMAT.value, **same)
    for name, own in exported.signatures.items():
        print(f"{name}: {', '.join(own['inputs'])} -> {', '.join(own['outputs'])}")
    for name, why in exported.left_out.items():
        print(f"without {name}: {why}")
    print(f"exported: {exported.folder}\nmodel card: {exported.folder / 'README.md'}")


def _refuse_for_two_graphs() -> None:
    """Raises `InputError` for flags that apply only to a SavedModel."""
    from tfrecords.core.errors import InputError

    flags = {
        "captions": _CAPTIONS, "max_megapixels": _MEGAPIXELS, "weights_dtype": _WEIGHTS_DTYPE,
        "detector": _DETECTOR, "precision": _PRECISION,
    }  # fmt: skip
    given = [name for name, flag in flags.items() if flag.value != flag.default]
    if given:
        raise InputError(
            f"--{', --'.join(given)}: only supported with --format=saved_model; leave out with "
            f"--format={_FORMAT.value}"
        )


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
