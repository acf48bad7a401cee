"""Vectors of images that stages compute themselves, instead of reading stored ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from pipelines import images
from pipelines.inputs.global_vector import GlobalVector
from r2m.inference.retrieval_run import RetrievalRun, load_embedding
from r2m.tasks.unsupervised_captioning.curriculum import StageSpec
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import BackboneOptions


class ImageVectors(NamedTuple):
    """Vectors of a batch of images, computed by networks that are not trained.

    Attributes:
        size: F of the vectors.
        of_batch: function from a batch to float[B, F].
        settings: settings that must be unchanged when a run is resumed.
    """

    size: int
    of_batch: Callable[[Mapping[str, tf.Tensor]], tf.Tensor]
    settings: dict[str, Any]


def open_image_vectors(
    config: Any, spec: StageSpec, records: Records | None
) -> ImageVectors | None:
    """Opens the network for pixels, or the embedding of stored vectors, that `config.image` names.

    Call it inside the strategy's scope.

    Args:
        config: configuration of the experiment.
        spec: the stage.
        records: `images` records, or None.

    Returns:
        None for stored vectors, and for stages that read none.

    Raises:
        InputError: the network does not exist, or the embedding reads other features.
    """
    if not spec.images or spec.rewards:
        return None
    image = config.image
    if image.source == "pixels":
        network = FeatureExtractor(
            BackboneOptions(
                name=image.backbone,
                weights=image.weights,
                image_size=image.crop,
                alpha=image.alpha or None,
            )
        )
        return ImageVectors(
            network.feature_size, lambda batch: network.pooled(batch["pixels"]), settings={}
        )
    if not image.embedding or records is None:
        return None
    return _embedded_vectors(load_embedding(image.embedding), records)


def _embedded_vectors(run: RetrievalRun, records: Records) -> ImageVectors:
    """Returns the vectors of a trained embedding, which reads the stored ones."""
    own = run.inputs.inputs
    if len(own) != 1 or not isinstance(own[0], GlobalVector):
        raise InputError(
            f"config.image.embedding: {run.path} reads {', '.join(run.inputs.columns)}; expected "
            "an embedding of one stored vector per image (model.image_input=global)"
        )
    run.check_records(records)
    size, expected = images.feature_size(records), run.feature_size
    if size != expected:
        raise InputError(
            f"config.image.embedding: {run.path} reads vectors of size {expected}, those of "
            f"{records.folder} have size {size}"
        )
    checkpoint = run.folder.checkpoint
    return ImageVectors(
        run.size,
        lambda batch: tf.stop_gradient(run.model.encode_images({"global": batch["global"]})),
        settings={"embedding": {"step": checkpoint.step, "digest": checkpoint.digest}},
    )
