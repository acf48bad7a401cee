"""Flags about image files."""

from __future__ import annotations

from typing import Any

from absl import flags

from r2m.cli.flag_groups import INPUT
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_switch, define_texts


def define_folder_flags() -> None:
    """Defines how folders of images are searched."""
    define_switch(
        "recursive",
        True,
        "Also read the images in folders below a folder of images; images are identified by their "
        "paths relative to it.",
        group=INPUT,
    )


def define_detections() -> flags.FlagHolder[Any]:
    """Defines the detections of embeddings of regions; returns the flag."""
    return define_texts(
        "detections",
        None,
        "FILE[,...]: what a detector found in the images, of runs that were trained on regions of "
        "detected boxes, as for r2m-caption.",
        group=INPUT,
        value="PATH[,...]",
    )


def define_image_flags() -> None:
    """Defines which image files are read."""
    define_folder_flags()
    define_whole(
        "max_megapixels",
        100,
        "Skip images that declare more: decoding them takes much memory.",
        least=1,
        most=1_000_000,
        group=INPUT,
    )


def recursive() -> bool:
    """Returns the value of `--recursive`."""
    return bool(flags.FLAGS["recursive"].value)


def max_pixels() -> int:
    """Returns the value of `--max_megapixels`, in pixels."""
    found: int = flags.FLAGS["max_megapixels"].value  # type: ignore[assignment]
    return found * 1_000_000
