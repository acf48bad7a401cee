"""A supervised captioner, loaded from its run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import tensorflow as tf

from pipelines import captions
from pipelines.inputs.model_input import ModelInput
from pipelines.inputs.spec import InputSpec
from r2m.inference.captioner_image_inputs import captioner_image_reader
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.captioner_model import build_model, open_network
from r2m.inference.captioning import CAPTIONED_AT_ONCE
from r2m.inference.loaded_model import ImageReader
from r2m.inference.record_batches import image_batches
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.pictures.named_images import ImageSource


@dataclasses.dataclass(kw_only=True)
class LoadedCaptioner:
    """A trained captioner, or an ensemble of several (a `LoadedModel`).

    Attributes:
        folders: run folders; for an ensemble those of its members.
        model: captioner.
        vocabulary: vocabulary of the model.
        trained_on: inputs that each member was trained on.
        inputs: inputs of all members.
        signature: signature of the inputs.
    """

    folders: tuple[RunFolder, ...]
    model: Any
    vocabulary: Vocabulary
    trained_on: tuple[TrainedInputs, ...]
    inputs: InputSpec
    signature: dict[str, tf.TensorSpec]

    def open_records(self, folder: str) -> Records:
        """Opens `captions` records."""
        return captions.open_captions(folder)

    def record_batches(
        self, records: Records, split: str, more: tuple[ModelInput, ...] = ()
    ) -> tf.data.Dataset:
        """Returns batches of `image_id` and features or pixels; see `LoadedModel`."""
        inputs = self.inputs.union(InputSpec(more))
        return image_batches(
            records, split, self.trained_on, inputs, self.signature, batch_size=CAPTIONED_AT_ONCE
        )

    def examples(self, records: Records, split: str) -> Iterable[dict[str, Any]]:
        """Yields the images of a split; see `LoadedModel`."""
        return captions.examples(records, split)

    def image_reader(
        self,
        images: Sequence[ImageSource],
        *,
        detections: Sequence[str],
        weights: str | None,
        more: tuple[ModelInput, ...] = (),
    ) -> ImageReader:
        """Returns a function that computes features or pixels of images; see `LoadedModel`."""
        inputs = self.inputs.union(InputSpec(more))
        return captioner_image_reader(self.trained_on, inputs, images, detections, weights)

    def concept_inputs(self, rows: Sequence[Sequence[str]]) -> dict[str, tf.Tensor]:
        """Raises `InputError`: captioners read images."""
        raise InputError(f"{self.folders[0].path} is a captioner, which does not read concepts")


def load_captioner(folder: RunFolder, precision: str = "float32") -> LoadedCaptioner:
    """Builds the captioner of a run with activations of `precision` and restores its weights.

    Raises:
        InputError: a file of the run is missing or damaged, or a setting is invalid.
        TrainingError: the run has no complete checkpoint, or one that does not fit.
    """
    trained_on = TrainedInputs.read(folder)
    _ = folder.checkpoint  # verified before a network is built
    model = build_model(
        folder.config,
        len(folder.vocabulary),
        trained_on.inputs.sizes(trained_on.signature),
        open_network(folder.config, precision, load=False),
        precision,
    )
    folder.restore(model)
    return LoadedCaptioner(
        folders=(folder,),
        model=model,
        vocabulary=folder.vocabulary,
        trained_on=(trained_on,),
        inputs=trained_on.inputs,
        signature=trained_on.signature,
    )
