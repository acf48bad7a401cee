"""CIDEr-D of generated captions as TensorFlow operations: the reward of self-critical training.

`losses.cider_d` has the formula. It computes the same scores in NumPy, for any number of
references, for reranking by consensus and for the evaluation metric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from losses.ngram_counts import MAX_ORDER, NgramCounts, Sentences

_SIGMA = 6.0
_WORD_BITS = 32
_INDEX = -1 << _WORD_BITS


class CiderReward:
    """CIDEr-D with precomputed document frequencies.

    It runs inside `tf.function` and in replicas of a strategy; the document frequencies are hash
    tables on the host.
    """

    def __init__(
        self, keys: Sequence[np.ndarray], counts: Sequence[np.ndarray], images: int
    ) -> None:
        """Builds the tables.

        Args:
            keys: for n = 1..4 int64[G_n] of distinct n-grams: 2**32 times the index of the first
                n - 1 words among the keys of the order below (0 for n = 1), plus the last word.
            counts: for n = 1..4 integers[G_n], images whose references contain each n-gram.
            images: number of images that were counted.
        """
        self.images = images
        log_images = math.log(max(1, images))
        self._tables = []
        for own, frequencies in zip(keys, counts, strict=True):
            # A key that no n-gram has, because a table must not be empty.
            every = np.append(own, -1)
            rarities = log_images - np.log(np.append(np.maximum(frequencies, 1), 1))
            # One lookup returns both; the index, in the upper half, is the prefix of keys of the
            # next order.
            bits = rarities.astype(np.float32).view(np.uint32).astype(np.int64)
            entries = np.arange(len(every)) << _WORD_BITS | bits
            self._tables.append(
                tf.lookup.StaticHashTable(
                    tf.lookup.KeyValueTensorInitializer(
                        tf.constant(every, tf.int64), tf.constant(entries, tf.int64)
                    ),
                    int(entries[-1]),
                )
            )

    def scores(
        self, sentences: Sentences, counts: NgramCounts, weights: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Scores captions.

        Args:
            sentences: captions and references.
            counts: their n-grams, from `count_ngrams`.
            weights: float32[B, R], weights of the mean over an image's references; None for equal
                weights.

        Returns:
            float32[B, S], 0 to 10; 0 without references.
        """
        captions = sentences.captions
        squares = tf.gather(tf.square(self._rarities_of(counts, sentences)), counts.numbers)
        norms = tf.sqrt(tf.reduce_sum(counts.own * squares, axis=-1))
        own, theirs = counts.own[:, :, :captions], counts.in_references
        # Each occurrence gets its share of the term of its n-gram.
        parts = (squares[:, :, :captions] / own)[..., None]
        dots = tf.reduce_sum(parts * tf.minimum(own[..., None], theirs) * theirs, axis=3)
        scale = norms[:, :, :captions, None] * norms[:, :, None, captions:]
        cosines = tf.reduce_sum(tf.math.divide_no_nan(dots, scale), axis=0)
        bigrams = tf.cast(tf.maximum(sentences.lengths - 1, 0), tf.float32)
        apart = bigrams[:, :captions, None] - bigrams[:, None, captions:]
        present = tf.cast(sentences.lengths[:, captions:] > 0, tf.float32)
        if weights is not None:
            present *= weights
        close = tf.exp(-tf.square(apart) / (2 * _SIGMA**2))
        total = tf.reduce_sum(cosines * close * present[:, None], axis=-1)
        references = tf.reduce_sum(present, axis=1, keepdims=True)
        return 10.0 / MAX_ORDER * tf.math.divide_no_nan(total, references)

    def _rarities_of(self, counts: NgramCounts, sentences: Sentences) -> tf.Tensor:
        """Returns ln N - ln df of each distinct n-gram, float32[U]; 0 for entries without one."""
        entries = tf.zeros(tf.shape(sentences.words)[:1], tf.int64)
        found = []
        for ngrams, table in zip(counts.ngrams, self._tables, strict=True):
            prefixes = tf.bitwise.bitwise_and(tf.gather(entries, ngrams.prefixes), _INDEX)
            entries = table.lookup(tf.bitwise.bitwise_or(prefixes, ngrams.words))
            rarities = tf.bitcast(tf.cast(entries, tf.int32), tf.float32)
            found.append(tf.where(ngrams.words >= 0, rarities, 0.0))
        return tf.concat(found, axis=0)
