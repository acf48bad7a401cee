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
from ml_collections import ConfigDict

from pipelines.caption_batches import CaptionOptions, inputs
from pipelines.pixels import PixelOptions
from r2m.inference.captioner_inputs import pixel_options, saved_features
from r2m.inference.run import Look, SeenFiles
from r2m.inference.run_folder import saved_run
from tfrecords.errors import InputError
from tfrecords.feature_options import BackboneOptions, FeatureOptions
from tfrecords.features import FeatureExtractor
from tfrecords.features.reading import decode_files
from tfrecords.images.entries import ImageFile
from tfrecords.writing.shards import Skip


def captioner_look(
    run_folders: Sequence[Path], weights: str | None, *, vectors: bool = False
) -> Look:
    """Looks at image files as captioners were trained to: at pixels, stored features, or both.

    Args:
        run_folders: of captioners that fit together, see `trained.ensemble`; most often one.
        weights: file of the backbone's weights; None where they were not read from a file.
        vectors: shows `global` of each image too, made as that of the records.

    Raises:
        InputError: the features came from elsewhere, the backbone cannot be built, or weights are
            given and there are no stored features to make.
    """
    configs = {folder: ConfigDict(saved_run(folder)["config"]) for folder in run_folders}
    by_pixels = [config for config in configs.values() if config.image.source == "pixels"]
    by_features = [f for f, config in configs.items() if config.image.source != "pixels"]
    looks: list[Look] = []
    if by_pixels:
        looks.append(partial(_pixel_look, pixel_options(by_pixels[0])))
    made = by_features or (run_folders[:1] if vectors else ())
    if made:
        unit_norm = configs[made[0]].data.unit_norm
        looks.append(_feature_look(made, unit_norm, weights, vectors=vectors))
    elif weights is not None:
        raise InputError(f"{run_folders[0]}: the captioner has a network of its own: no --weights")

    def look(files: Sequence[ImageFile]) -> SeenFiles:
        each = [one(files) for one in looks]
        shown = {name: tensor for seen in each for name, tensor in seen.inputs.items()}
        faults = zip(*(seen.faults for seen in each), strict=True)
        return SeenFiles(shown, None, [next(filter(None, own), None) for own in faults])

    return look


def _pixel_look(sizes: PixelOptions, files: Sequence[ImageFile]) -> SeenFiles:
    squashed, faults = _decoded(files, sizes.resize)
    pixels = tf.image.resize_with_crop_or_pad(squashed, sizes.crop, sizes.crop)
    return SeenFiles({"pixels": pixels}, None, faults)


def _feature_look(
    run_folders: Sequence[Path], unit_norm: bool, weights: str | None, *, vectors: bool
) -> Look:
    """Looks through the backbone of the records that captioners were trained on."""
    each = {folder: saved_features(folder) for folder in run_folders}
    for folder, shown in each.items():
        if shown["records"]["backbone"] is None or "region_feature" in shown["features"]:
            raise InputError(
                f"the captioner of {folder} was trained on features that were made elsewhere: it "
                "can caption records (r2m-evaluate), not image files"
            )
    kinds = dict.fromkeys(kind for shown in each.values() for kind in shown["features"])
    if vectors:
        kinds["global_feature"] = None
    options = CaptionOptions(features=tuple(kinds), unit_norm=unit_norm)
    # The records of a captioner without a grid may not know what shape one has.
    folder = max(each, key=lambda folder: "grid_feature" in each[folder]["features"])
    extractor = FeatureExtractor(*_options(folder, each[folder]["records"], weights))
    features = extractor.features

    def look(files: Sequence[ImageFile]) -> SeenFiles:
        pixels, faults = _decoded(
            files,
            extractor.options.image_size,
            short_side=features.short_side,
            crops=features.crops,
        )
        size = extractor.options.batch_size
        parts = [extractor(pixels[i : i + size]) for i in range(0, len(pixels), size)]
        rows = {"global_feature": np.concatenate([part.pooled for part in parts])}
        if extractor.grid_shape is not None:
            rows["grid_feature"] = np.concatenate([part.grid for part in parts])
        tensors = {kind: tf.constant(row, tf.float32) for kind, row in rows.items()}
        return SeenFiles(inputs(tensors, options), None, faults)

    return look


def _decoded(
    files: Sequence[ImageFile], size: int, *, short_side: int | None = None, crops: int = 1
) -> tuple[np.ndarray, list[Skip | None]]:
    """Returns the pixels of B files as `decode_or_fault` makes them, and why files cannot be read.

    An unreadable file keeps its place with gray pixels; its caption is discarded.
    """
    several = () if crops == 1 else (crops,)
    # Gray, since some networks turn black into zeros, which are refused.
    pixels = np.full((len(files), *several, size, size, 3), 128.0, np.float32)
    faults: list[Skip | None] = []
    for item in decode_files(files, size, short_side=short_side, crops=crops):
        if isinstance(item, Skip):
            faults.append(item)
        else:
            pixels[len(faults)] = item.pixels
            faults.append(None)
    return pixels, faults


def _options(
    run_folder: Path, records: dict[str, Any], weights: str | None
) -> tuple[BackboneOptions, FeatureOptions]:
    backbone = records["backbone"]
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
