"""Common interface of loaded runs that caption, whatever their kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from pipelines.inputs.model_input import ModelInput
from r2m.inference.run_folder import RunFolder
from tfrecords.core.records import Records
from tfrecords.core.shards import Skip
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.formats.detections.image_concepts import ImageConcept
from tfrecords.pictures.named_images import ImageSource


class ImageInputs(NamedTuple):
    """Model inputs of B images.

    Attributes:
        inputs: arguments of the model's `encode`, by name, batch first.
        concepts: per image, the most certain concept last; None for models without concepts.
        faults: per image, the reason why it cannot be read; None for readable images. The inputs of
            an unreadable image are placeholders, and its caption is discarded.
    """

    inputs: dict[str, tf.Tensor]
    concepts: list[list[ImageConcept]] | None
    faults: list[Skip | None]


# Reads a batch of images and computes the inputs of the model.
ImageReader = Callable[[Sequence[ImageSource]], ImageInputs]


class LoadedModel(Protocol):
    """A trained model with its two sources of inputs: records and images.

    Attributes:
        folders: run folders, one per member of an ensemble.
        model: captioner with its best weights, else the latest ones.
        vocabulary: vocabulary of the model.
        signature: arguments of the model's `encode`, by name.
    """

    folders: tuple[RunFolder, ...]
    model: Any
    vocabulary: Vocabulary
    signature: dict[str, tf.TensorSpec]

    def open_records(self, folder: str) -> Records:
        """Opens records of the kind that the model reads; raises `InputError` for another kind."""

    def record_batches(
        self, records: Records, split: str, more: tuple[ModelInput, ...] = ()
    ) -> tf.data.Dataset:
        """Returns batches of `image_id` string[B] and the model's inputs.

        Args:
            records: result of `open_records`.
            split: split of the records.
            more: inputs in addition to the model's.

        Raises:
            InputError: the records lack a required column, or have features computed in another
                way.
        """

    def examples(self, records: Records, split: str) -> Iterable[dict[str, Any]]:
        """Yields the images of a split, for galleries and scoring.

        Each has `image_id`, `source_id`, `image`, `texts` and, if the records have concepts,
        `concepts` (ids), `concept_scores` and `concept_counts`.
        """

    def image_reader(
        self,
        images: Sequence[ImageSource],
        *,
        detections: Sequence[str],
        weights: str | None,
        more: tuple[ModelInput, ...] = (),
    ) -> ImageReader:
        """Returns a function that computes model inputs from image files.

        Args:
            images: all images that will be read, if detections have to be matched with them.
            detections: files with the detections of the images, as `r2m-caption` takes them.
            weights: file of the backbone's weights, if the records were built with such a file.
            more: inputs in addition to the model's, computed as in the training records.

        Raises:
            InputError: a required argument is missing, or the model does not use a given one.
        """

    def concept_inputs(self, rows: Sequence[Sequence[str]]) -> dict[str, tf.Tensor]:
        """Returns model inputs for lists of concepts, each with the most important one first.

        Raises:
            InputError: the model reads images, or a concept is unknown.
        """
