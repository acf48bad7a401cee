"""Flags for image files."""

from __future__ import annotations

from typing import Any

from absl import flags

from r2m.cli.flag_groups import INPUT, MODEL
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_switch, define_text, define_texts


def define_folder_flags() -> None:
    """Defines the flag for searching folders of images recursively."""
    define_switch(
        "recursive",
        True,
        "Also read the images in folders below a folder of images; images are identified by their "
        "paths relative to it.",
        group=INPUT,
    )


def define_detections() -> flags.FlagHolder[Any]:
    """Defines the flag for detections, used by embeddings of regions; returns the flag."""
    return define_texts(
        "detections",
        None,
        "FILE[,...]: detections in the images, for runs that were trained on regions of "
        "detected boxes, as for r2m-caption.",
        group=INPUT,
        value="PATH[,...]",
    )


def define_images() -> flags.FlagHolder[Any]:
    """Defines the flag for the images to caption; returns the flag."""
    return define_texts(
        "images",
        None,
        "An image, a folder of images (with all folders below it), or a text file that lists image "
        "files, one per line (relative to the folder of the list). May be given several times, and "
        "arguments without a flag are also images.",
        group=INPUT,
        value="PATH",
    )


def define_weights(default: str = "") -> flags.FlagHolder[Any]:
    """Defines the flag for the backbone's weights; returns the flag.

    Args:
        default: sentence about the weights that are used without the flag.
    """
    return define_text(
        "weights",
        None,
        "File of the backbone's weights, for runs whose records were built with such a file."
        + (default and f" {default}"),
        group=MODEL,
        value="FILE",
    )


def define_image_flags() -> None:
    """Defines the flags that select image files."""
    define_folder_flags()
    define_whole(
        "max_megapixels",
        100,
        "Skip images that declare more; decoding them requires much memory.",
        least=1,
        most=1_000_000,
        group=INPUT,
    )


def define_split_flag(
    details: str = ", e.g. train=train.txt; once per split. Default: one split `images` of all.",
) -> None:
    """Defines the flag for lists of images; `details` is the end of its text for `--help`."""
    define_texts(
        "split",
        [],
        f"SPLIT=FILE with one image name per line{details}",
        group=INPUT,
        value="SPLIT=FILE",
    )


def recursive() -> bool:
    """Returns the value of `--recursive`."""
    return bool(flags.FLAGS["recursive"].value)


def image_options() -> dict[str, Any]:
    """Returns the values of the flags of image files, by the field names of a build's options.

    Raises:
        InputError: a value of --split is malformed, or a split is given twice.
    """
    from tfrecords.pictures.image_names import parse_splits

    megapixels: Any = flags.FLAGS["max_megapixels"].value
    return {
        "splits": parse_splits(flags.FLAGS["split"].value or ()),
        "recursive": recursive(),
        "max_pixels": megapixels * 1_000_000,
    }
