"""Captioners that caption together, each loaded from its run folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from models.decoding.ensemble import Ensemble
from pipelines.inputs.model_input import ModelInput
from pipelines.inputs.spec import InputSpec
from r2m.inference.captioner_image_inputs import captioner_image_reader
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.feature_origin import check_same_origin
from r2m.inference.loaded_captioner import LoadedCaptioner, read_batches
from r2m.inference.loaded_model import ImageReader
from tfrecords.errors import InputError
from tfrecords.images.entries import ImageSource
from tfrecords.records import Records, check_same_vocabulary


class CaptionerEnsemble:
    """Trained captioners whose word probabilities are averaged (a `LoadedModel`)."""

    def __init__(self, members: Sequence[LoadedCaptioner]) -> None:
        """Checks that the members fit together.

        Raises:
            InputError: their vocabularies differ, or one input is made in different ways.
        """
        self._members = tuple(members)
        self.folders = tuple(folder for member in members for folder in member.folders)
        self.trained_on = tuple(own for member in members for own in member.trained_on)
        self.vocabulary = members[0].vocabulary
        self.signature = _common_signature(members)
        self.inputs = _common_inputs(self.trained_on)
        self.model = Ensemble(
            members=[member.model for member in members],
            member_inputs=[list(member.signature) for member in members],
        )

    def open_records(self, folder: str) -> Records:
        """Opens `captions` records."""
        return self._members[0].open_records(folder)

    def record_batches(
        self, records: Records, split: str, more: tuple[ModelInput, ...] = ()
    ) -> tf.data.Dataset:
        """Returns batches of `image_id` and the inputs of all members; see `LoadedModel`."""
        return read_batches(records, split, self.trained_on, self.inputs, self.signature, more)

    def examples(self, records: Records, split: str) -> Iterable[dict[str, Any]]:
        """Yields the images of a split; see `LoadedModel`."""
        return self._members[0].examples(records, split)

    def image_reader(
        self,
        images: Sequence[ImageSource],
        *,
        detections: Sequence[str],
        weights: str | None,
        more: tuple[ModelInput, ...] = (),
    ) -> ImageReader:
        """Returns what makes features and pixels of images; see `LoadedModel`."""
        del images
        inputs = self.inputs.union(InputSpec(more))
        return captioner_image_reader(self.trained_on, inputs, detections, weights)

    def concept_inputs(self, rows: Sequence[Sequence[str]]) -> dict[str, tf.Tensor]:
        """Raises `InputError`: captioners read images."""
        raise InputError(f"{self.folders[0].path} is a captioner, which reads no concepts")


def _common_signature(members: Sequence[LoadedCaptioner]) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of all members; raises `InputError` where they do not fit together."""
    first = members[0]
    signature: dict[str, tf.TensorSpec] = {}
    for member in members:
        path = member.folders[0].path
        check_same_vocabulary(
            f"run {first.folders[0].path}", first.vocabulary.sha256,
            f"run {path}", member.vocabulary.sha256,
        )  # fmt: skip
        for name, spec in member.signature.items():
            if signature.setdefault(name, spec) != spec:
                raise InputError(
                    f"{path}: its {name} are {spec}, those of another member {signature[name]}: "
                    "they cannot take the same features"
                )
    return signature


def _common_inputs(trained_on: Sequence[TrainedInputs]) -> InputSpec:
    """Returns the inputs of all members; raises `InputError` where one is made in two ways."""
    inputs = trained_on[0].inputs
    for number, own in enumerate(trained_on):
        for other in trained_on[:number]:
            try:
                _ = own.inputs.union(other.inputs)
            except ValueError as error:
                raise InputError(f"{own.path} and {other.path} {error}") from error
        inputs = inputs.union(own.inputs)
    extracted = [own for own in trained_on if own.reads_backbone]
    for own in extracted[1:]:
        check_same_origin(
            f"those of {own.path}", own.backbone,
            f"those of {extracted[0].path}", extracted[0].backbone,
        )  # fmt: skip
    return inputs
