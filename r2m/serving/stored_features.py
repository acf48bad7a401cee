"""Stored features of records as inputs of an exported model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models.layers.box_geometry import BOX_FEATURES
from pipelines.inputs.global_vector import MeanOfRows
from pipelines.inputs.row_input import RowInput
from pipelines.inputs.spec import PICTURES, InputSpec
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.serving.signatures import Tensors, first_fault
from tfrecords.pictures.batch_decoding import OK

LENGTHS = "region_lengths"
NO_REGIONS = "empty: the item has no regions"
_RAGGED = ("region_feature", "boxes")


def why_no_features(inputs: InputSpec, members: Sequence[TrainedInputs]) -> str | None:
    """Returns the reason why a model has no signature of stored features, or None."""
    if PICTURES in inputs.columns:
        return "the model reads pixels, not stored features"
    if "grid_feature" in inputs.columns and _grid_shape(members) is None:
        return "the run does not record the shape of its feature maps"
    return None


def feature_specs(
    inputs: InputSpec, members: Sequence[TrainedInputs], signature: Mapping[str, tf.TensorSpec]
) -> dict[str, tf.TensorSpec]:
    """Returns the columns of the stored features of B images, float32, by their names in records.

    Regions are padded: `region_feature` [B, N, D], `boxes` [B, N, 4], and `region_lengths` int32
    [B].

    Args:
        inputs: inputs of the model.
        members: captioners, see `captioner_image_reader`.
        signature: signature of the model.
    """
    grid, specs = _grid_shape(members), {}
    for column in inputs.columns:
        if column == "grid_feature":
            assert grid is not None, "`why_no_features` rejects maps of unknown shape"
            shape: list[int | None] = [None, *grid]
        elif column == "boxes":
            shape = [None, None, 4]
        else:
            size = _size(inputs, column, signature)
            shape = [None, None, size] if column in _RAGGED else [None, size]
        specs[column] = tf.TensorSpec(shape, tf.float32)
    if set(_RAGGED) & set(inputs.columns):
        specs[LENGTHS] = tf.TensorSpec([None], tf.int32)
    return specs


def example_features(specs: Mapping[str, tf.TensorSpec]) -> dict[str, Any]:
    """Returns features of one image: ones, and one region that is the whole image."""
    found: dict[str, Any] = {}
    for name, spec in specs.items():
        found[name] = np.ones([size or 1 for size in spec.shape[1:]])
    if "boxes" in found:
        found["boxes"] = [[0.0, 0.0, 1.0, 1.0]]
    return found


def inputs_of_features(columns: Mapping[str, tf.Tensor], inputs: InputSpec) -> tuple[Tensors, Any]:
    """Returns the model inputs of columns of `feature_specs`, and their status string [B]."""
    rows = dict(columns)
    batch = tf.shape(next(iter(rows.values())))[0]
    status = tf.fill([batch], OK)
    if (lengths := rows.pop(LENGTHS, None)) is not None:
        status = first_fault(status, tf.where(lengths > 0, OK, NO_REGIONS))
        for name in set(_RAGGED) & set(rows):
            # At least one row, so that attention has an input.
            padded = tf.pad(rows[name], [[0, 0], [0, 1], [0, 0]])
            kept = tf.clip_by_value(lengths, 1, tf.maximum(tf.shape(rows[name])[1], 1))
            rows[name] = tf.RaggedTensor.from_tensor(padded, lengths=kept)
    return inputs.assemble(rows), status


def _grid_shape(members: Sequence[TrainedInputs]) -> list[int] | None:
    shapes = [m.grid_shape for m in members if "grid_feature" in m.inputs.columns]
    return shapes[0] if shapes else None


def _size(inputs: InputSpec, column: str, signature: Mapping[str, tf.TensorSpec]) -> int | None:
    """Returns D of the vectors in a column."""
    for one in inputs.inputs:
        if column not in one.columns or not set(one.tensors) & set(signature):
            continue
        rows = one.rows if isinstance(one, MeanOfRows) else one
        tensor = "global" if "global" in one.tensors else "regions"
        if tensor in signature:
            size: int = signature[tensor].shape[-1]
            added = isinstance(rows, RowInput) and rows.use_box
            return size - BOX_FEATURES if added else size
    return None
