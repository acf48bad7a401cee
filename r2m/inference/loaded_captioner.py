"""A supervised captioner, loaded from its run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipelines import caption_batches, captions
from pipelines.caption_batches import CaptionOptions, FeatureKind
from r2m.inference.captioner_image_inputs import TrainedInputs, captioner_image_reader
from r2m.inference.captioner_inputs import caption_options, saved_features
from r2m.inference.captioner_model import build_model, feature_sizes, open_network
from r2m.inference.captioning import CAPTIONED_AT_ONCE
from r2m.inference.feature_origin import check_same_origin, has_backbone_features
from r2m.inference.loaded_model import ImageReader
from r2m.inference.run_folder import RunFolder
from tfrecords.errors import InputError
from tfrecords.images.entries import ImageSource
from tfrecords.records import Records


class LoadedCaptioner:
    """A trained captioner (a `LoadedModel`).

    Attributes:
        trained_on: the inputs that it was trained on, in a tuple of one.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Builds the model and restores its weights.

        Raises:
            InputError: a file of the run is missing or damaged, or a setting is impossible.
            TrainingError: the run has no whole checkpoint, or one that does not fit.
        """
        self.folders: tuple[RunFolder, ...] = (folder,)
        self.vocabulary = folder.vocabulary
        features = saved_features(folder.path)
        self.trained_on: tuple[TrainedInputs, ...] = (
            TrainedInputs(folder.path, folder.config, features),
        )
        self.signature = {
            name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in features["inputs"].items()
        }
        _ = folder.checkpoint  # verified before a network is built
        self.model = build_model(
            folder.config,
            len(self.vocabulary),
            feature_sizes(self.signature),
            open_network(folder.config, load=False),
        )
        folder.restore(self.model)

    def open_records(self, folder: str) -> Records:
        """Opens `captions` records."""
        return captions.open_captions(folder)

    def record_batches(
        self, records: Records, split: str, more: tuple[FeatureKind, ...] = ()
    ) -> tf.data.Dataset:
        """Returns batches of `image_id` and features or pixels; see `LoadedModel`."""
        options = self.record_options(records)
        return read_batches(records, split, options, more, self.folders[0], self.signature)

    def record_options(self, records: Records) -> CaptionOptions:
        """Returns what to read of records: the kinds of inputs that the captioner was trained on.

        Raises:
            InputError: the records lack them, or hold features that were made in another way.
        """
        options = caption_options(self.folders[0].config, records)
        if options.pixels is not None:
            return options
        ((path, _, features),) = self.trained_on
        kinds = tuple(features["features"])
        if missing := [kind for kind in kinds if kind not in records.feature_names]:
            raise InputError(
                f"{records.folder} holds {', '.join(options.features)}, and no {missing[0]}, which "
                f"the captioner of {path} was trained on: give records that were built as those"
            )
        if has_backbone_features(features):
            check_same_origin(
                f"those of {records.folder}",
                records.manifest["options"].get("backbone"),
                f"those that {path} was trained on",
                features["records"]["backbone"],
            )
        return dataclasses.replace(options, features=kinds)

    def examples(self, records: Records, split: str) -> Iterable[dict[str, Any]]:
        """Yields the images of a split; see `LoadedModel`."""
        return captions.examples(records, split)

    def image_reader(
        self,
        images: Sequence[ImageSource],
        *,
        detections: Sequence[str],
        weights: str | None,
        vectors: bool,
    ) -> ImageReader:
        """Returns what makes features or pixels of images; see `LoadedModel`."""
        del images
        return captioner_image_reader(self.trained_on, detections, weights, vectors=vectors)

    def concept_inputs(self, rows: Sequence[Sequence[str]]) -> dict[str, tf.Tensor]:
        """Raises `InputError`: captioners read images."""
        raise InputError(f"{self.folders[0].path} is a captioner, which reads no concepts")


def read_batches(
    records: Records,
    split: str,
    options: CaptionOptions,
    more: tuple[FeatureKind, ...],
    folder: RunFolder,
    signature: Mapping[str, tf.TensorSpec],
) -> tf.data.Dataset:
    """Returns batches of images of a split, with the features of `options` and `more`.

    Raises:
        InputError: their sizes are not those of `signature`.
    """
    kinds = tuple(dict.fromkeys((*options.features, *more)))
    options = dataclasses.replace(options, features=kinds)
    found = caption_batches.image_batches(records, split, options, batch_size=CAPTIONED_AT_ONCE)
    for name, spec in signature.items():
        shape = found.element_spec[name].shape
        if not spec.shape.is_compatible_with(shape):
            raise InputError(
                f"{records.folder}: its {name} are of shape {shape}, those that {folder.path} was "
                f"trained on of {spec.shape}: give records that were built as those"
            )
    return found
