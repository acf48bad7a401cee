"""Flags for features of detected regions."""

from __future__ import annotations

from typing import Any

from absl import app, flags

from r2m.cli.flag_groups import FEATURES
from r2m.cli.number_flags import define_whole
from r2m.cli.value_flags import define_texts

_MOST = 1_000


def define_region_flags() -> None:
    """Defines the flags for detections whose boxes become regions."""
    define_texts(
        "regions",
        [],
        "FILE[+FILE][,MIN_SCORE[,WEIGHT]][,boxes=FORMAT][,scores=percent]: detections as for "
        "r2m-build-images, e.g. records of r2m-detect-objects. The feature map of --backbone is "
        "averaged over each detected box and over the whole image: region_feature and boxes. "
        "MIN_SCORE is 0.3 unless given. A larger --image_size makes a finer map. May be repeated.",
        group=FEATURES,
        value="PATH[,...]",
    )
    define_whole(
        "max_regions",
        36,
        "Maximum number of detected boxes per image, the most certain ones, in addition to the "
        "whole image.",
        least=1,
        most=_MOST,
        group=FEATURES,
    )


def region_options() -> dict[str, Any]:
    """Returns the values of these flags as the field `regions` of a build's options.

    Raises:
        UsageError: --max_regions is given without --regions.
    """
    from tfrecords.formats.detections.reading import DetectionSource
    from tfrecords.formats.detections.regions import RegionOptions

    texts: list[str] = flags.FLAGS["regions"].value or []
    most: Any = flags.FLAGS["max_regions"].value
    if not texts:
        if flags.FLAGS["max_regions"].present:
            raise app.UsageError("--max_regions requires --regions")
        return {"regions": None}
    sources = tuple(DetectionSource.parse(text) for text in texts)
    return {"regions": RegionOptions(detections=sources, most=most)}
