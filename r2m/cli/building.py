"""Flags shared by the commands that build records."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app, flags

from r2m.cli import image_flags
from r2m.cli.flag_groups import FEATURES, INPUT, MACHINE, OUTPUT, TEXT
from r2m.cli.launch import home
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.value_flags import define_choice, define_switch, define_text, define_texts
from r2m.configuration.limits import MOST_PIXELS

if TYPE_CHECKING:
    from tfrecords.core.runners import Runner

_SHARED = ("shards", "seed", "overwrite", "strict")


def define_build_flags(
    kind: str,
    *,
    split: str = "each split",
    runs_network: bool = False,
    shuffles: bool = True,
) -> None:
    """Defines the flags of the output folder and of the way records are written.

    Args:
        kind: kind of the records.
        split: split, or splits, whose files --shards counts.
        runs_network: whether a build is mainly the run of a network over images, in their order
            (which needs no seed). A network uses all processors by itself, and needs its memory
            once per process; a stopped run restarts its unfinished shards.
        shuffles: whether the order of the records depends on a seed.
    """
    define_text(
        "name",
        None,
        "Short name of the records (a-z, 0-9, _), for file names and reports. Default: the last "
        "part of --output. One of the two is required.",
        group=OUTPUT,
        value="NAME",
    )
    define_text(
        "output",
        None,
        f"Folder of the records. Default: records/{kind}/NAME under $R2M_HOME, or under "
        "./workspace.",
        group=OUTPUT,
        value="FOLDER",
    )
    if shuffles and not runs_network:
        define_whole("seed", 0, "Seed of the order of the records.", least=0, group=OUTPUT)
    shards, workers = (64, 1) if runs_network else (8, os.cpu_count() or 1)
    define_whole(
        "shards", shards, f"Number of files of {split}.", least=1, most=99_999, group=OUTPUT
    )
    define_whole(
        "workers",
        workers,
        "Number of processes. The records are the same with any number.",
        least=1,
        most=4_096,
        group=MACHINE,
    )
    define_text(
        "runner",
        None,
        "Apache Beam runner that builds the records instead: DirectRunner, FlinkRunner, "
        "SparkRunner, DataflowRunner. Requires the extra [beam]; all machines need access to the "
        "same folders.",
        group=MACHINE,
        value="RUNNER",
    )
    define_texts(
        "beam_options",
        [],
        "Option of the Beam pipeline, such as --direct_num_workers=4.",
        group=MACHINE,
        value="OPTION",
    )
    define_switch(
        "overwrite", False, "Replace a finished folder that was built differently.", group=OUTPUT
    )
    define_switch(
        "strict",
        False,
        "Report an unusable input as an error. Default: skip and list it.",
        group=INPUT,
    )


def flag_values(*names: str) -> dict[str, Any]:
    """Returns the values of flags, by name."""
    return {name: flags.FLAGS[name].value for name in names}


def build_options(kind: str) -> dict[str, Any]:
    """Returns the values of these flags, by the field names of the build's options.

    Raises:
        UsageError: neither a name nor a folder is given.
    """
    name, output = flags.FLAGS["name"].value, flags.FLAGS["output"].value
    if not (name or output):
        raise app.UsageError(f"give the {kind} records a --name, or an --output folder")
    folder = Path(output or home() / "records" / kind / str(name))
    # Any folder name is valid, but not every shard name.
    words = re.findall(r"[a-z0-9]+", folder.resolve().name.lower())
    fallback = "_".join(words).lstrip("0123456789_") or kind
    shared = flag_values(*(flag for flag in _SHARED if flag in flags.FLAGS))
    return {"name": name or fallback, "folder": folder, "runner": _runner(), **shared}


def define_segmenter_flag() -> Any:
    """Defines the flag that selects how text is split into words."""
    return define_choice(
        "segmenter",
        None,
        ["words", "characters", "icu"],
        "How text is split into words in scripts without spaces between words (Chinese, Japanese, "
        "Thai, Khmer, Lao, Burmese). characters: each character of these scripts is a word. icu: "
        "words by dictionary; requires the extra [segmenter]. words: split at spaces, without a "
        "check. Default: split at spaces, with an error for text without spaces.",
        group=TEXT,
    )


def define_backbone_flags() -> None:
    """Defines the flags of the backbone and of its image preprocessing."""
    define_text(
        "backbone",
        None,
        "Network whose features are stored: EfficientNetLite0, 1 or 2 (extra [efficientnet]); one "
        "of keras.applications, e.g. MobileNet; or keras_hub:PRESET_OR_FOLDER (extra [keras_hub]).",
        group=FEATURES,
        value="NETWORK",
    )
    define_text(
        "weights",
        "imagenet",
        "Weights of the network: imagenet (downloaded by Keras; for EfficientNetLite those of the "
        "extra, for a preset its own), none (random), or a file.",
        group=FEATURES,
        value="imagenet|none|FILE",
    )
    define_whole(
        "image_size",
        None,
        "Side of the square input image, in pixels. Default: 224; for EfficientNetLite1 240, for "
        "EfficientNetLite2 260.",
        least=1,
        most=MOST_PIXELS,
        group=FEATURES,
    )
    define_number(
        "alpha", None, "Width multiplier of a MobileNet.", above=0, most=10, group=FEATURES
    )
    define_whole(
        "batch_size", 32, "Images (or crops) per step of the network.", least=1, group=FEATURES
    )
    define_whole(
        "short_side",
        None,
        "Resize the shorter side to this length, e.g. 256, and crop the central square. "
        "Default: resize the whole image to the square.",
        least=1,
        most=MOST_PIXELS,
        group=FEATURES,
    )
    define_switch(
        "average_mirrored",
        False,
        "Average the features of each image and its mirror image; doubles the time.",
        group=FEATURES,
    )
    define_choice(
        "dtype",
        "float16",
        ["float16", "float32"],
        "Number format of the stored features.",
        group=FEATURES,
    )
    image_flags.define_image_flags()


def define_view_flags() -> None:
    """Defines the flags of random views of training images."""
    define_whole(
        "views",
        0,
        "Also store the features of this many random views of each image of split train: crops, "
        "half of them mirrored. Each epoch, training draws the image or one of its views. 0: none.",
        least=0,
        most=1_000,
        group=FEATURES,
    )
    define_number(
        "view_area",
        0.5,
        "Smallest fraction of an image that a view shows.",
        above=0,
        most=1,
        group=FEATURES,
    )
    define_switch(
        "view_mirror",
        True,
        "Mirror a view with probability 1/2; give --noview_mirror if captions mention left and "
        "right.",
        group=FEATURES,
    )


def _views() -> dict[str, Any]:
    """Returns the field of `FeatureOptions` that these flags set.

    Raises:
        UsageError: settings of views are given without --views.
    """
    from tfrecords.pictures.feature_options import ViewOptions

    if "views" not in flags.FLAGS:
        return {}
    if not flags.FLAGS["views"].value:
        for name in ("view_area", "view_mirror"):
            if flags.FLAGS[name].present:
                raise app.UsageError(f"--{name} requires --views")
        return {}
    fields = {"count": "views", "least_area": "view_area", "mirror": "view_mirror", "seed": "seed"}
    given: dict[str, Any] = {field: flags.FLAGS[flag].value for field, flag in fields.items()}
    return {"views": ViewOptions(**given)}


def backbone_options(layer: str | None = None, **view: Any) -> dict[str, Any]:
    """Returns the values of these flags, by the field names of the build's options.

    Args:
        layer: layer of the network; None uses its last feature map.
        view: further fields of `FeatureOptions`.
    """
    from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions

    network = flag_values("weights", "image_size", "alpha", "batch_size")
    name = flags.FLAGS["backbone"].value
    return {
        "backbone": BackboneOptions(name=name, layer=layer, **network) if name else None,
        "features": FeatureOptions(
            **flag_values("short_side", "average_mirrored", "dtype"), **_views(), **view
        ),
        **image_flags.image_options(),
    }


def _runner() -> Runner:
    from tfrecords.core.beam import Beam
    from tfrecords.core.runners import Local

    given = flag_values("runner", "beam_options", "workers")
    if given["runner"]:
        return Beam(given["runner"], tuple(given["beam_options"]))
    if given["beam_options"]:
        raise app.UsageError("--beam_options requires a Beam --runner")
    return Local(given["workers"])
