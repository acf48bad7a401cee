"""What a captioner is shown of image files: features made as those of its records were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from r2m.stages.paired.trained import saved_features
from r2m.stages.trained_run import Look, SeenFiles
from tfrecords.errors import InputError
from tfrecords.feature_options import BackboneOptions, FeatureOptions
from tfrecords.features import FeatureExtractor, decode_all


def feature_look(run_folder: Path, weights: str | None) -> Look:
    """Looks at image files through the backbone of the records that a captioner was trained on.

    Args:
        run_folder: of the captioner.
        weights: file of the backbone's weights; None where they were not read from a file.

    Raises:
        InputError: the features came from elsewhere, or the backbone cannot be built.
    """
    shown = saved_features(run_folder)
    extractor = FeatureExtractor(*_options(run_folder, shown["records"], weights))
    features = extractor.features

    def look(files: Sequence[Path]) -> SeenFiles:
        found = decode_all(
            [file.read_bytes() for file in files],
            extractor.options.image_size,
            short_side=features.short_side,
            crops=features.crops,
        )
        faults = [item if isinstance(item, str) else None for item in found]
        readable = [item for item in found if not isinstance(item, str)]
        # An unreadable one takes part, to keep places; its caption is thrown away.
        blank = np.zeros_like(readable[0]) if readable else None
        if blank is None:
            raise InputError(f"none of {len(files)} images can be read; the first: {faults[0]}")
        pixels = np.stack([blank if isinstance(item, str) else item for item in found])
        size = extractor.options.batch_size
        parts = [extractor(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        inputs: dict[str, tf.Tensor] = {}
        if "global" in shown["inputs"]:
            inputs["global"] = np.concatenate([part.pooled for part in parts]).astype(np.float32)
        if "regions" in shown["inputs"]:
            grid = np.concatenate([part.grid for part in parts]).astype(np.float32)
            rows = grid.reshape(len(files), -1, grid.shape[-1])
            if shown["unit_norm"]:
                norm = np.linalg.norm(rows, axis=-1, keepdims=True)
                rows = np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)
            inputs["regions"] = rows
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        return SeenFiles(tensors, None, faults)

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
