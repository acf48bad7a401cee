"""Noise in the concepts of training sentences, as much as a detector makes in those of images.

The decoder learns from sentences whose concepts are exact. In use it reads what a detector found:
some objects are missed, others are not there. With noise, training reads such concepts too.

Letters: S sentences, C distinct concepts, K concepts of a sentence.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from pipelines import batching
from tfrecords.core.records import Records

# The mean of a sentence's false concepts; more would leave little of what it speaks of.
_MOST_FALSE = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConceptNoise:
    """Rates of missed and of false concepts.

    Attributes:
        missed: probability that a concept of a sentence is removed.
        false: mean number of false concepts that are added to a sentence (Poisson).
        ids: int64[C], vocabulary ids of the false concepts.
        probabilities: float64[C], their probabilities.
    """

    missed: float
    false: float
    ids: np.ndarray
    probabilities: np.ndarray

    def add(
        self, ids: tf.RaggedTensor, counts: tf.RaggedTensor, key: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Removes and adds concepts.

        Args:
            ids: int64[S, (K)], vocabulary ids.
            counts: int64[S, (K)], number of objects per concept.
            key: stateless seed int64[2].

        Returns:
            ids and counts, false concepts first and once each. A false concept may repeat one of
            the sentence.
        """
        removal, number, choice = tf.unstack(tf.random.split(key, 3))
        kept = tf.random.stateless_uniform(tf.shape(ids.flat_values), removal) >= self.missed
        kept = ids.with_flat_values(kept)
        ids, counts = tf.ragged.boolean_mask(ids, kept), tf.ragged.boolean_mask(counts, kept)
        numbers = tf.random.stateless_poisson(
            [ids.nrows()], number, tf.constant(self.false, tf.float32), tf.int64
        )
        draws = tf.random.stateless_uniform([tf.reduce_sum(numbers)], choice, dtype=tf.float64)
        chosen = tf.searchsorted(np.cumsum(self.probabilities)[:-1], draws, side="right")
        false = tf.RaggedTensor.from_row_lengths(tf.gather(self.ids, chosen), numbers)
        false = false.with_row_splits_dtype(ids.row_splits.dtype)
        return (
            tf.concat([false, ids], axis=1),
            tf.concat([tf.ones_like(false), counts], axis=1),
        )


def estimate_noise(sentences: Records, images: Records, factor: float) -> ConceptNoise:
    """Estimates the noise of a detector from its scores, without references.

    A concept with score p is taken to be false with probability 1 - p: an image has the sum of
    1 - p false concepts. Missed are the concepts that images lack to have as many true ones as
    sentences have on average.

    Args:
        sentences: `corpora` records.
        images: `images` records, with split `train`.
        factor: factor of both rates.

    Returns:
        The noise; false concepts are as frequent as the detector's.
    """
    spec = {
        "concepts": tf.io.RaggedFeature(tf.int64),
        "concept_scores": tf.io.RaggedFeature(tf.float32),
    }
    mentions = spoken = 0
    for rows in batching.parsed_rows(sentences, "train", {"concepts": spec["concepts"]}):
        mentions += int(tf.size(rows["concepts"].flat_values))
        spoken += int(rows["concepts"].nrows())
    ids, scores, seen = [], [], 0
    for rows in batching.parsed_rows(images, "train", spec):
        ids.append(rows["concepts"].flat_values.numpy())
        scores.append(rows["concept_scores"].flat_values.numpy().clip(0, 1).astype(np.float64))
        seen += int(rows["concepts"].nrows())
    distinct, places = np.unique(np.concatenate(ids), return_inverse=True)
    scored = np.concatenate(scores)
    false = np.bincount(places, 1 - scored, minlength=len(distinct))
    true_concepts = scored.sum() / seen
    return ConceptNoise(
        missed=min(1.0, factor * max(0.0, 1 - true_concepts / (mentions / spoken))),
        false=min(_MOST_FALSE, factor * false.sum() / seen),
        ids=distinct,
        probabilities=false / false.sum(),
    )
