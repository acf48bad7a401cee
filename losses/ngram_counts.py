"""Counts of the n-grams of generated captions in the references of their images, in the graph.

Letters: B images, S captions and R references of each, C = S + R sentences of an image, T words,
U distinct n-grams of all orders n = 1..4.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

MAX_ORDER = 4
_WORD_BITS = 32


class Sentences(NamedTuple):
    """Captions of images together with the references of the same images.

    Attributes:
        words: int64[B, C, T], the S captions of an image before its references.
        lengths: int32[B, C], words that count.
        captions: S, int32[].
    """

    words: tf.Tensor
    lengths: tf.Tensor
    captions: tf.Tensor


class Ngrams(NamedTuple):
    """Distinct n-grams of one order; n-grams of different images are always distinct.

    Attributes:
        prefixes: int64[U_n], number among the n-grams of the order below of the first n - 1 words;
            of single words the number of the image.
        words: int64[U_n], last word; -1 for the entry of positions without an n-gram.
    """

    prefixes: tf.Tensor
    words: tf.Tensor


class NgramCounts(NamedTuple):
    """N-grams of `Sentences`; the n-gram at position t starts with word t.

    Attributes:
        ngrams: distinct n-grams of the orders 1 to 4, numbered one order after the other.
        numbers: int32[4, B, C, T], number of the n-gram at each position.
        own: float32[4, B, C, T], occurrences in the same sentence of the n-gram at each position.
        in_references: float32[4, B, S, T, R], occurrences of a caption's n-gram in each reference.
    """

    ngrams: tuple[Ngrams, ...]
    numbers: tf.Tensor
    own: tf.Tensor
    in_references: tf.Tensor


def join_sentences(
    tokens: tf.Tensor, lengths: tf.Tensor, references: tf.Tensor, reference_lengths: tf.Tensor
) -> Sentences:
    """Joins captions and references.

    Args:
        tokens: int32[N, T] of captions, N / B consecutive ones per image.
        lengths: int32[N], words that count.
        references: int32[B, R, T'] of B images.
        reference_lengths: int32[B, R]; 0 if an image has fewer references.
    """
    images = tf.shape(references)[0]
    captions = tf.shape(tokens)[0] // tf.maximum(images, 1)
    width, own_width = tf.shape(references)[2], tf.shape(tokens)[1]
    size = tf.maximum(width, own_width)
    tokens = tf.reshape(
        tf.pad(tokens, [[0, 0], [0, size - own_width]]), tf.stack([images, captions, size])
    )
    references = tf.pad(references, [[0, 0], [0, 0], [0, size - width]])
    lengths = tf.reshape(lengths, tf.stack([images, captions]))
    return Sentences(
        tf.cast(tf.concat([tokens, references], axis=1), tf.int64),
        tf.concat([lengths, reference_lengths], axis=1),
        captions,
    )


def count_ngrams(sentences: Sentences) -> NgramCounts:
    """Counts the n-grams of the orders 1 to 4.

    An n-gram is identified by the number of its first n - 1 words and its last word, which is exact
    for any vocabulary.
    """
    words, lengths, captions = sentences
    images, columns, size = tf.unstack(tf.shape(words))
    left = lengths[:, :, None] - tf.range(size)  # words from here to the end
    numbers: tf.Tensor = tf.range(images)[:, None, None]
    last = words + 1
    ngrams, places, total = [], [], tf.constant(0)
    for order in range(1, MAX_ORDER + 1):
        if order > 1:
            last = tf.pad(last[:, :, 1:], [[0, 0], [0, 0], [0, 1]])[:, :, :size]
        keys = tf.bitwise.left_shift(tf.cast(numbers, tf.int64), _WORD_BITS) + last
        keys = tf.where(left >= order, keys, 0)
        distinct, flat = tf.unique(tf.reshape(keys, [-1]))
        numbers = tf.reshape(flat, tf.shape(keys))
        ngrams.append(
            Ngrams(
                tf.bitwise.right_shift(distinct, _WORD_BITS),
                tf.bitwise.bitwise_and(distinct, (1 << _WORD_BITS) - 1) - 1,
            )
        )
        places.append(numbers + total)
        total += tf.size(distinct)
    every = tf.stack(places)
    cells = every * columns + tf.range(columns)[:, None]
    flat = tf.reshape(cells, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(flat, tf.float32), flat, total * columns)
    by_ngram = tf.reshape(counts, tf.stack([total, columns]))[:, captions:]
    return NgramCounts(
        tuple(ngrams),
        every,
        own=tf.gather(counts, cells),
        in_references=tf.gather(by_ngram, every[:, :, :captions]),
    )
