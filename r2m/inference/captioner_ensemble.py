"""Captioners that caption together, each loaded from its run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from models.decoding.ensemble import Ensemble
from pipelines.caption_batches import FeatureKind
from r2m.inference.captioner_image_inputs import captioner_image_reader
from r2m.inference.feature_origin import check_same_origin, has_backbone_features
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
        self.model = Ensemble(
            [member.model for member in members], [list(member.signature) for member in members]
        )

    def open_records(self, folder: str) -> Records:
        """Opens `captions` records."""
        return self._members[0].open_records(folder)

    def record_batches(
        self, records: Records, split: str, more: tuple[FeatureKind, ...] = ()
    ) -> tf.data.Dataset:
        """Returns batches of `image_id` and the inputs of all members; see `LoadedModel`."""
        each = [member.record_options(records) for member in self._members]
        options = dataclasses.replace(
            next((options for options in each if options.features), each[0]),
            features=tuple(dict.fromkeys(kind for options in each for kind in options.features)),
            pixels=next((options.pixels for options in each if options.pixels), None),
        )
        return read_batches(records, split, options, more, self.folders[0], self.signature)

    def examples(self, records: Records, split: str) -> Iterable[dict[str, Any]]:
        """Yields the images of a split; see `LoadedModel`."""
        return self._members[0].examples(records, split)

    def image_reader(
        self,
        images: Sequence[ImageSource],
        *,
        detections: Sequence[str],
        weights: str | None,
        vectors: bool,
    ) -> ImageReader:
        """Returns what makes features and pixels of images; see `LoadedModel`."""
        del images
        return captioner_image_reader(self.trained_on, detections, weights, vectors=vectors)

    def concept_inputs(self, rows: Sequence[Sequence[str]]) -> dict[str, tf.Tensor]:
        """Raises `InputError`: captioners read images."""
        raise InputError(f"{self.folders[0].path} is a captioner, which reads no concepts")


def _common_signature(members: Sequence[LoadedCaptioner]) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of all members; raises `InputError` where they do not fit together."""
    first = members[0]
    trained_on = [own for member in members for own in member.trained_on]
    with_pixels = [own for own in trained_on if own.has_pixels]
    with_features = [own for own in trained_on if not own.has_pixels]
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
    for own in with_pixels[1:]:
        if own.config.image.resize != with_pixels[0].config.image.resize:
            raise InputError(
                f"{own.path} and {with_pixels[0].path} differ in image.resize: they cannot take "
                "the same pixels"
            )
    for own in with_features[1:]:
        if own.config.data.unit_norm != with_features[0].config.data.unit_norm:
            raise InputError(
                f"{own.path} and {with_features[0].path} differ in data.unit_norm: they cannot "
                "take the same features"
            )
    extracted = [own for own in with_features if has_backbone_features(own.features)]
    for own in extracted[1:]:
        ours, theirs = (each.features["records"]["backbone"] for each in (own, extracted[0]))
        check_same_origin(f"those of {own.path}", ours, f"those of {extracted[0].path}", theirs)
    return signature
