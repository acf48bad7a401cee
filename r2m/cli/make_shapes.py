"""Makes the embedded data set `shapes`: drawn pictures and an unrelated text corpus.

    r2m-make-shapes --output=workspace/raw/shapes

Nothing is downloaded. The folder contains the pictures, their objects (detections.json, tags.json),
five reference captions per picture (captions.json, for evaluation only) and a text corpus about
other scenes (corpus.txt), ready for r2m-build-corpora and r2m-build-images.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import logging

from r2m.cli.flag_groups import OUTPUT
from r2m.cli.launch import run
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_text
from tfrecords.shapes.dataset import LARGEST_IMAGE, SMALLEST_IMAGE, ShapesOptions, make_shapes

_DEFAULTS = ShapesOptions()
_OUTPUT = define_text(
    "output",
    None,
    "Folder of the data set, for example workspace/raw/shapes. An existing data set made with "
    "the same flags is kept.",
    required=True,
    group=OUTPUT,
    value="FOLDER",
)
_TRAIN_IMAGES = define_whole(
    "train_images", _DEFAULTS.train_images, "Number of training pictures.", least=1, group=OUTPUT
)
_VAL_IMAGES = define_whole(
    "val_images",
    _DEFAULTS.val_images,
    "Number of validation pictures, which select the best model.",
    least=1,
    group=OUTPUT,
)
_TEST_IMAGES = define_whole(
    "test_images", _DEFAULTS.test_images, "Number of test pictures.", least=1, group=OUTPUT
)
_SENTENCES = define_whole(
    "sentences",
    _DEFAULTS.sentences,
    "Number of distinct sentences in the text corpus.",
    least=1,
    group=OUTPUT,
)
_IMAGE_SIZE = define_whole(
    "image_size",
    _DEFAULTS.image_size,
    "Width and height of the pictures in pixels.",
    least=SMALLEST_IMAGE,
    most=LARGEST_IMAGE,
    group=OUTPUT,
)
_SEED = define_whole(
    "seed", _DEFAULTS.seed, "Seed of the random pictures and sentences.", least=0, group=OUTPUT
)


def main(argv: Sequence[str]) -> None:
    """Makes the data set that the flags describe."""
    del argv
    options = ShapesOptions(
        train_images=_TRAIN_IMAGES.value,
        val_images=_VAL_IMAGES.value,
        test_images=_TEST_IMAGES.value,
        sentences=_SENTENCES.value,
        image_size=_IMAGE_SIZE.value,
        seed=_SEED.value,
    )
    make_shapes(_OUTPUT.value, options)
    logging.info(
        "%s contains %d + %d + %d pictures (train, val, test) and %d sentences.",
        _OUTPUT.value,
        _TRAIN_IMAGES.value,
        _VAL_IMAGES.value,
        _TEST_IMAGES.value,
        _SENTENCES.value,
    )


def console() -> None:
    """Runs the command as a console script."""
    run(main, uses_tensorflow=False)


if __name__ == "__main__":
    console()
