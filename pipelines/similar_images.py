"""Similar images of a split of `captions` records, by their stored vectors."""

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

# An image of cosine similarity s counts exp(sharpness * s): of stored vectors, standardized, and of
# vectors of an embedding.
SHARPNESS, EMBEDDING_SHARPNESS = 8.0, 16.0
_READ_AT_ONCE = 100
_COMPARED_AT_ONCE = 256
# Keeps values that hardly vary from counting as much as the others.
_LEAST_DEVIATION = 0.05


class CaptionedImages(NamedTuple):
    """Images of a split, with vectors to compare them by and with their captions.

    Attributes:
        names: names of the N images.
        directions: float32[N, D], the images' vectors, standardized, of norm 1: products of them
            are cosine similarities.
        mean: float32[D], of the vectors.
        deviation: float32[D].
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
        """Yields, for a few images after another, the most similar other images.

        Args:
            count: how many of them, below N.

        Yields:
            Their indices int[B, count], the most similar first, and cosine similarities
            float32[B, count].
        """
        for start in range(0, len(self.directions), _COMPARED_AT_ONCE):
            likeness = self.directions[start : start + _COMPARED_AT_ONCE] @ self.directions.T
            own = np.arange(len(likeness))
            likeness[own, start + own] = -np.inf
            nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
            yield nearest, np.take_along_axis(likeness, nearest, axis=1)


def similarity_weights(likeness: np.ndarray, sharpness: float = SHARPNESS) -> np.ndarray:
    """Returns weights float[..., K] of cosine similarities [..., K], the highest first."""
    weights: np.ndarray = np.exp(sharpness * (likeness - likeness[..., :1]))
    return weights


def read_captioned_images(
    records: Records, split: str, vectors: np.ndarray | None = None
) -> CaptionedImages:
    """Reads the images of a split of `captions` records.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        vectors: float32[N, D] of the images, to compare them by as they are. None takes the stored
            ones, standardized.

    Raises:
        InputError: the records hold no vector of each image.
    """
    if vectors is None and "global_feature" not in records.feature_names:
        raise InputError(
            f"{records.folder}: these records hold no vector of each image to find similar ones "
            "by; build them with --backbone"
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
        # From start to end marker; captions of CIDEr-D have no start.
        sentences += [[np.array(s[1:]) for s in image] for image in rows["sentences"].to_list()]
    if vectors is None:
        vectors = np.concatenate(stored)
        mean, deviation = vectors.mean(0), vectors.std(0) + _LEAST_DEVIATION
    else:
        mean, deviation = np.zeros_like(vectors[0]), np.ones_like(vectors[0])
    directions = ops.unit_norm((vectors - mean) / deviation).numpy()
    return CaptionedImages(names, directions, mean, deviation, sentences)
