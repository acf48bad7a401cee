"""Training sentences, drawn so that their concepts are as frequent as those of images.

A corpus speaks of other things than the images show: of 100 COCO captions 3 mention a dog, of 100
photographs of Flickr8k 27 show one. Each sentence therefore gets a weight (`sentence_weights`), and
an epoch contains it as often as its weight on average. This requires no pair of image and sentence.

Sentences are kept in memory, because an epoch needs them in any order and some of them several
times: about 90 bytes per sentence, 200 MB for 2.3 million, and half as much again while an epoch is
drawn.

Letters: N sentences, T words of a sentence, K concepts of a sentence, V vocabulary.
"""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.sentence_weights import ConceptSets, fit_weights
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records

_TRAIN = "train"
# No sentence is drawn more often than this, compared with equal weights. More would learn sentences
# by heart.
MAX_WEIGHT = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageConcepts:
    """Frequencies of the concepts of images.

    Attributes:
        shares: float64[V], share of the images that have each concept.
        images: number of images.
    """

    shares: np.ndarray
    images: int

    @property
    def digest(self) -> str:
        """Digest of the shares, 16 hexadecimal digits."""
        counts = np.rint(self.shares * self.images).astype(int).tolist()
        return hashlib.sha256(str((self.images, counts)).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatchedSentences:
    """Training sentences in memory, with their weights.

    Attributes:
        columns: `sentence` int32[N, (T)], `concepts` and `concept_counts` int32[N, (K)].
        weights: float64[N], mean number of draws per epoch.
        shares: float64[V], share of the sentences that have each concept.
        drawn_shares: float64[V], the same of the drawn sentences.
    """

    columns: dict[str, tf.RaggedTensor]
    weights: tf.Tensor
    shares: np.ndarray
    drawn_shares: np.ndarray

    @property
    def count(self) -> int:
        """N, the number of sentences and of draws per epoch."""
        return int(self.weights.shape[0])

    @property
    def effective_count(self) -> float:
        """Number of equally weighted sentences with the same variance of means (Kish 1965)."""
        weights = self.weights.numpy()
        return float(weights.sum() ** 2 / (weights**2).sum())

    def epoch(self, key: tf.Tensor) -> tf.data.Dataset:
        """Returns the sentences of an epoch in random order, as N numbers int64[].

        Systematic resampling (Kitagawa 1996) of the shuffled sentences: a sentence of weight w is
        drawn floor(w) or ceil(w) times.

        Args:
            key: stateless seed int64[2] of the epoch, which determines the result.
        """
        shuffle = tf.random.experimental.stateless_shuffle
        order = shuffle(tf.range(self.count, dtype=tf.int64), seed=batching.fold_in(key, -1))
        ends = tf.cumsum(tf.gather(self.weights, order))
        offset = tf.random.stateless_uniform([], batching.fold_in(key, -2), dtype=tf.float64)
        # Draws are at offset, offset + 1, ...: the number of those before each end.
        before = tf.cast(tf.math.ceil(ends - offset), tf.int64)
        # The last end is N, except for rounding.
        before = tf.concat([tf.minimum(before[:-1], self.count), [self.count]], axis=0)
        drawn = tf.repeat(order, before - tf.concat([[0], before[:-1]], axis=0))
        return tf.data.Dataset.from_tensor_slices(shuffle(drawn, seed=batching.fold_in(key, -3)))

    def rows(self, numbers: tf.Tensor) -> batching.Rows:
        """Returns the columns of the given sentences, as int64 like those parsed from records."""
        return {
            name: tf.cast(tf.gather(column, numbers), tf.int64)
            for name, column in self.columns.items()
        }


def image_concepts(images: Records) -> ImageConcepts:
    """Counts the concepts of the images of split `train`.

    Scores do not count. On Flickr8k they are close to the precision of the concepts, but false
    concepts make up for missed ones: images have 2.5 concepts, captions of people mention 2.6, and
    the sum of scores is 1.5. Counts are also closer to how often people mention each concept.

    Raises:
        InputError: there is no such split.
    """
    if _TRAIN not in images.splits:
        raise InputError(
            f"{images.folder}: sentences are drawn by the concepts of split {_TRAIN!r}, but there "
            f"are only {', '.join(images.splits)}; build the records with --split=train=FILE, or "
            "set config.data.match_images to 0"
        )
    size = len(images.vocabulary())
    total = np.zeros(size, np.int64)
    for rows in batching.parsed_rows(images, _TRAIN, {"concepts": tf.io.RaggedFeature(tf.int64)}):
        total += np.bincount(rows["concepts"].flat_values.numpy(), minlength=size)
    count = images.count(_TRAIN)
    return ImageConcepts(shares=total / count, images=count)


def match_sentences(sentences: Records, images: ImageConcepts, share: float) -> MatchedSentences:
    """Reads the training sentences and weights them.

    A concept of share t among sentences and p among images gets the share (1 - share) t + share p.
    Concepts that no image or no sentence has are free: they do not influence the weights.

    Args:
        sentences: `corpora` records.
        images: concepts of images, of the same vocabulary.
        share: 0 for equal weights, 1 for the frequencies of images.

    Raises:
        InputError: images and sentences have no concept in common, or the share is not in 0..1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"config.data.match_images must be in 0..1, found {share:g}")
    columns = _read_columns(sentences)
    sets, set_of_sentence = _distinct_sets(columns["concepts"])
    size = len(images.shares)
    shares = sets.shares(size)
    is_common = (images.shares > 0) & (shares > 0)
    if not is_common.any():
        raise InputError(
            f"no training sentence of {sentences.folder} has a concept of the images: drawing "
            "sentences by these concepts is impossible; set config.data.match_images to 0"
        )
    targets = np.where(is_common, (1 - share) * shares + share * images.shares, np.nan)
    # With this penalty the number of images that a share stands for may be missed by the number of
    # the concept, a few images: rare concepts are not fitted to the accidents of a few images.
    weights = fit_weights(sets, targets, penalty=1 / images.images, max_weight=MAX_WEIGHT)
    return MatchedSentences(
        columns=columns,
        weights=tf.constant(weights[set_of_sentence], tf.float64),
        shares=shares,
        drawn_shares=sets.shares(size, weights),
    )


@tf.autograph.experimental.do_not_convert
def _read_columns(sentences: Records) -> dict[str, tf.RaggedTensor]:
    """Returns the columns of all training sentences, int32, in the order on disk."""
    spec = {
        name: tf.io.RaggedFeature(tf.int64) for name in ("sentence", "concepts", "concept_counts")
    }
    values: dict[str, list[np.ndarray]] = {name: [] for name in spec}
    lengths: dict[str, list[np.ndarray]] = {name: [] for name in spec}
    for rows in batching.parsed_rows(sentences, _TRAIN, spec):
        for name, column in rows.items():
            values[name].append(column.flat_values.numpy().astype(np.int32))
            lengths[name].append(column.row_lengths().numpy())
    return {
        name: tf.RaggedTensor.from_row_lengths(
            np.concatenate(values[name]), np.concatenate(lengths[name])
        )
        for name in spec
    }


def _distinct_sets(concepts: tf.RaggedTensor) -> tuple[ConceptSets, np.ndarray]:
    """Returns the distinct sets of concepts, and the number of the set of each sentence: int64[N].

    Sets are compared by 64-bit hashes: of a million distinct sets, two are confused with a
    probability of 3e-8, and then have the same weight.
    """
    values, splits = concepts.flat_values.numpy(), concepts.row_splits.numpy()
    size = int(values.max(initial=0)) + 1
    hashes = np.random.default_rng(0).integers(0, 2**64 - 1, size, np.uint64, endpoint=True)
    # The sum of hashes does not depend on the order of concepts. Overflow is intended.
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes[values], dtype=np.uint64)])
    _, first, numbers, counts = np.unique(
        sums[splits[1:]] - sums[splits[:-1]],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    members = tf.gather(concepts, first)
    found = ConceptSets(
        members=members.flat_values.numpy().astype(np.int64),
        lengths=members.row_lengths().numpy(),
        counts=counts,
    )
    return found, numbers
