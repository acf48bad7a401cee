"""Batches of the images of records, in the form that a trained run reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from pipelines import caption_batches
from pipelines.inputs.spec import InputSpec
from r2m.inference.captioner_inputs import REGIONS, TrainedInputs, check_same_origin
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records


def image_batches(
    records: Records,
    split: str,
    trained_on: Sequence[TrainedInputs],
    inputs: InputSpec,
    signature: Mapping[str, tf.TensorSpec],
    *,
    batch_size: int,
) -> tf.data.Dataset:
    """Returns batches of `image_id` and features or pixels, which must be those of the training.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        trained_on: inputs that each model was trained on.
        inputs: inputs of all models, and further ones.
        signature: signature of the inputs of all models.
        batch_size: images per batch.

    Raises:
        InputError: the records lack a required column, or have features computed in another way.
    """
    for own in trained_on:
        check_trained_records(records, own)
    found = caption_batches.image_batches(records, split, inputs, batch_size=batch_size)
    for name, spec in signature.items():
        shape = found.element_spec[name].shape
        if not spec.shape.is_compatible_with(shape):
            raise InputError(
                f"{records.folder}: {name} has shape {shape}, but {trained_on[0].path} was trained "
                f"on shape {spec.shape}: give records that were built in the same way"
            )
    return found


def check_trained_records(records: Records, own: TrainedInputs) -> None:
    """Raises `InputError` unless records have the columns of a model, computed in the same way."""
    available = records.feature_names
    if missing := [column for column in own.inputs.stored if column not in available]:
        features = [name for name in available if name.endswith("_feature")]
        raise InputError(
            f"{records.folder} contains {', '.join(features) or 'no features'}, but no "
            f"{missing[0]}, which the model of {own.path} was trained on: give records that were "
            "built in the same way"
        )
    backbone = records.manifest["options"].get("backbone") or {}
    reads_regions = "region_feature" in own.inputs.columns
    if own.reads_backbone or (reads_regions and REGIONS in backbone):
        check_same_origin(
            f"those of {records.folder}",
            backbone,
            f"those that {own.path} was trained on",
            own.backbone,
            regions=reads_regions,
        )
