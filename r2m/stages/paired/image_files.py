"""What a captioner is shown of image files: features made as those of its records were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from pipelines.caption_batches import CaptionOptions, inputs
from pipelines.pixels import PixelOptions, crops
from r2m.stages.paired.data import pixel_options
from r2m.stages.paired.trained import saved_features
from r2m.stages.trained_run import Look, SeenFiles, TrainedRun
from tfrecords.errors import InputError
from tfrecords.feature_options import BackboneOptions, FeatureOptions
from tfrecords.features import FeatureExtractor, decode_all


def captioner_look(run: TrainedRun, weights: str | None) -> Look:
    """Looks at image files as a captioner was trained to: at pixels or stored features."""
    if run.config.image.source == "pixels":
        if weights is not None:
            raise InputError(f"{run.folder}: the captioner has a network of its own: no --weights")
        return partial(_pixel_look, pixel_options(run.config))
    return _feature_look(run, weights)


def _pixel_look(sizes: PixelOptions, files: Sequence[Path]) -> SeenFiles:
    encoded = [file.read_bytes() for file in files]
    faults = [item if isinstance(item, str) else None for item in decode_all(encoded, None)]
    # An unreadable one takes part, to keep places; its caption is thrown away.
    blank = tf.io.encode_png(tf.zeros([1, 1, 3], tf.uint8)).numpy()
    shown = [blank if fault else data for data, fault in zip(encoded, faults, strict=True)]
    return SeenFiles({"pixels": crops(tf.constant(shown), sizes, None)}, None, faults)


def _feature_look(run: TrainedRun, weights: str | None) -> Look:
    """Looks through the backbone of the records that a captioner was trained on.

    Args:
        run: of the captioner.
        weights: file of the backbone's weights; None where they were not read from a file.

    Raises:
        InputError: the features came from elsewhere, or the backbone cannot be built.
    """
    shown = saved_features(run.folder)
    options = CaptionOptions(features=tuple(shown["features"]), unit_norm=run.config.data.unit_norm)
    extractor = FeatureExtractor(*_options(run.folder, shown["records"], weights))
    features = extractor.features

    def look(files: Sequence[Path]) -> SeenFiles:
        found = decode_all(
            [file.read_bytes() for file in files],
            extractor.options.image_size,
            short_side=features.short_side,
            crops=features.crops,
        )
        faults = [item if isinstance(item, str) else None for item in found]
        # An unreadable one takes part, to keep places; its caption is thrown away. Grey, and not
        # black: of nothing at all, some networks make zeros, which are refused.
        side = extractor.options.image_size
        several = () if features.crops == 1 else (features.crops,)
        blank = np.full((*several, side, side, 3), 128.0, np.float32)
        pixels = np.stack([blank if isinstance(item, str) else item for item in found])
        size = extractor.options.batch_size
        parts = [extractor(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        rows = {"global_feature": np.concatenate([part.pooled for part in parts])}
        if extractor.grid_shape is not None:
            rows["grid_feature"] = np.concatenate([part.grid for part in parts])
        tensors = {kind: tf.constant(row, tf.float32) for kind, row in rows.items()}
        return SeenFiles(inputs(tensors, options), None, faults)

    return look


def _options(
    run_folder: Path, records: dict[str, Any], weights: str | None
) -> tuple[BackboneOptions, FeatureOptions]:
    backbone = records["backbone"]
    if backbone is None:
        raise InputError(
            f"the captioner of {run_folder} was trained on features that were made elsewhere: it "
            "can caption records (r2m-evaluate), not image files"
        )
    network = {field.name: backbone[field.name] for field in fields(BackboneOptions)}
    recorded = network["weights"]
    if recorded not in ("imagenet", "none"):
        if weights is None:
            raise InputError(
                f"the captioner of {run_folder} looks through {network['name']} with the weights "
                f"of a file {recorded}: give it with --weights=FILE"
            )
        if Path(weights).name != recorded:
            logging.warning("the captioner was trained with the weights of a file %s", recorded)
        network["weights"] = weights
    view = {name: backbone[name] for name in ("short_side", "crops", "unit_norm")}
    grid = records["grid_shape"]
    return BackboneOptions(**network), FeatureOptions(
        **view, grid=grid and grid[0], dtype=records["feature_dtype"]
    )
