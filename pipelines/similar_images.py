"""Nearest-neighbor images in a split of `captions` records, by their stored vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from models.layers import ops
from pipelines import captions
from pipelines.inputs.global_vector import GlobalVector
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.formats.features.nearest import nearest_rows

# The weight of an image with cosine similarity s is exp(sharpness * s). The first value is for
# standardized stored vectors, the second one for vectors of an embedding model.
SHARPNESS, EMBEDDING_SHARPNESS = 8.0, 16.0
_READ_AT_ONCE = 100
# Added to standard deviations, so that nearly constant features are not scaled up to the others.
_MIN_DEVIATION = 0.05


class CaptionedImages(NamedTuple):
    """Images of a split, with their captions and with vectors for comparison.

    Attributes:
        names: names of the N images.
        directions: float32[N, D], the standardized vectors of the images, of norm 1. Their dot
            products are cosine similarities.
        mean: float32[D], mean of the vectors.
        deviation: float32[D], divisor of the centered vectors.
        sentences: word ids of the captions of each image, end markers included.
    """

    names: list[str]
    directions: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    sentences: list[list[np.ndarray]]

    def standardize(self, vectors: np.ndarray) -> np.ndarray:
        """Converts vectors float32[B, D] of images to directions float32[B, D]."""
        directions: np.ndarray = ops.unit_norm((vectors - self.mean) / self.deviation).numpy()
        return directions

    def neighbors(self, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Finds the most similar other images of all images, in batches of B images.

        Args:
            count: number of neighbors per image, below N.

        Returns:
            An iterator over their indices int[B, count], most similar first, and their cosine
            similarities float32[B, count].
        """
        return nearest_rows(self.directions, self.directions, count, range(len(self.names)))

    def nearest(self, vectors: np.ndarray, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Finds the images most similar to other images, in batches; see `neighbors`.

        Args:
            vectors: float32[M, D] of the other images, as the records store them.
            count: number of images per vector; all of them if there are fewer.
        """
        return nearest_rows(self.standardize(vectors), self.directions, count)


def similarity_weights(similarities: np.ndarray, sharpness: float = SHARPNESS) -> np.ndarray:
    """Converts cosine similarities [..., K], highest first, to weights float[..., K]."""
    weights: np.ndarray = np.exp(sharpness * (similarities - similarities[..., :1]))
    return weights


def read_captioned_images(
    records: Records, split: str, vectors: np.ndarray | None = None
) -> CaptionedImages:
    """Reads the images of a split of `captions` records.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        vectors: float32[N, D], vectors of the images, which are not standardized. None reads the
            stored vectors and standardizes them.

    Raises:
        InputError: the records do not contain a vector per image.
    """
    if vectors is None and "global_feature" not in records.feature_names:
        raise InputError(
            f"{records.folder}: these records do not contain the vector per image that finding "
            "similar images requires; build them with --backbone"
        )
    vector = GlobalVector()
    columns = ("image_id", "sentences", *(vector.columns if vectors is None else ()))
    parse = captions.parser(records, columns)
    names, stored, sentences = [], [], []
    for batch in tf.data.TFRecordDataset(records.shards(split)).batch(_READ_AT_ONCE):
        rows = parse(batch)
        names += [name.decode() for name in rows["image_id"].numpy()]
        if vectors is None:
            stored.append(vector.assemble(rows)["global"].numpy())
        # Without the start marker, as CIDEr-D expects captions.
        sentences += [[np.array(s[1:]) for s in image] for image in rows["sentences"].to_list()]
    if vectors is None:
        return standardized_images(names, np.concatenate(stored), sentences)
    mean, deviation = np.zeros_like(vectors[0]), np.ones_like(vectors[0])
    return CaptionedImages(names, ops.unit_norm(vectors).numpy(), mean, deviation, sentences)


def standardized_images(
    names: list[str], vectors: np.ndarray, sentences: list[list[np.ndarray]]
) -> CaptionedImages:
    """Returns images that are compared by their standardized vectors.

    Args:
        names: names of the N images.
        vectors: float32[N, D], their vectors as the records store them.
        sentences: see `CaptionedImages`.
    """
    mean, deviation = vectors.mean(0), vectors.std(0) + _MIN_DEVIATION
    directions = ops.unit_norm((vectors - mean) / deviation).numpy()
    return CaptionedImages(names, directions, mean, deviation, sentences)
