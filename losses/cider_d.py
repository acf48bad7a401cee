"""CIDEr-D of word ids in NumPy (Vedantam et al. 2015): consensus and validation metric.

`losses.cider_reward` computes it in the graph, for rewards in training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

MAX_ORDER = 4
_SIGMA = 6.0
_WORD_BITS = 32


class CiderD(NamedTuple):
    """CIDEr-D (Vedantam et al. 2015) with precomputed document frequencies.

    Of an n-gram g that occurs tf(g) times in a sentence, w(g) = tf(g) (ln N - ln max(1, df(g))),
    and of a sentence h with a reference r of as many bigrams up to d

        10 / 4 sum_n exp(-d^2 / (2 * 6^2)) sum_g min(w_h(g), w_r(g)) w_r(g) / (|w_h|_n |w_r|_n),

    averaged over the references. The end marker counts as a word if a sentence has one.

    Attributes:
        frequencies: n-grams of one order, integers [G, n] -> number of images whose references
            contain each n-gram, integers [G].
        images: N.
    """

    frequencies: Callable[[np.ndarray], np.ndarray]
    images: int

    def similarities(
        self, captions: Sequence[np.ndarray], references: Sequence[np.ndarray]
    ) -> np.ndarray:
        """Computes the terms of the score before their average over the references.

        Args:
            captions: word ids of each caption, integers [T].
            references: word ids of each reference, integers [T].

        Returns:
            float32[captions, references], 0 to 10.
        """
        one_image = np.zeros(len(references), np.int64)
        prepared = self.prepare(_joined(references), one_image)
        found = np.zeros((len(captions), len(references)))
        own = np.zeros(len(captions), np.int64)
        for caption, reference, term in prepared.terms(_joined(captions), own):
            np.add.at(found, (caption, reference), term)
        return found.astype(np.float32)

    def prepare(self, references: Sentences, images: np.ndarray) -> References:
        """Computes the weights of references once, for any number of captions.

        Args:
            references: R sentences.
            images: integers [R] from 0, the image of each reference.
        """
        return References(self, references, images)

    def weigh(self, sentences: Sentences) -> list[Weights]:
        """Computes the TF-IDF weights of the n-grams of each order 1..4 in sentences."""
        log_images = math.log(max(1, self.images))
        found = []
        for keys, ngrams, sentence, number in _ngrams(sentences):
            pairs, counts = np.unique(sentence * len(keys) + number, return_counts=True)
            sentence, number = np.divmod(pairs, max(len(keys), 1))
            rarity = log_images - np.log(np.maximum(1, self.frequencies(ngrams)))
            values = counts * rarity[number]
            squares = np.bincount(sentence, np.square(values), len(sentences.lengths))
            found.append(Weights(keys, sentence, number, values, np.sqrt(squares)))
        return found


class Sentences(NamedTuple):
    """S sentences of word ids.

    Attributes:
        words: integers [P], one sentence after the other.
        lengths: integers [S], words of each sentence.
    """

    words: np.ndarray
    lengths: np.ndarray


class Weights(NamedTuple):
    """TF-IDF weights of the G n-grams of one order in S sentences.

    Attributes:
        keys: int64[G], ascending: 2**32 * number of the first n - 1 words + last word.
        sentence: int64[E], index of the sentence of each distinct pair of sentence and n-gram.
        number: int64[E], index of its n-gram, 0..G - 1.
        values: float64[E], its weight.
        norms: float64[S], norm of the weights of each sentence.
    """

    keys: np.ndarray
    sentence: np.ndarray
    number: np.ndarray
    values: np.ndarray
    norms: np.ndarray


class References:
    """References of images with their TF-IDF weights."""

    def __init__(self, cider: CiderD, references: Sentences, images: np.ndarray) -> None:
        """Computes the weights of the references; see `CiderD.prepare`."""
        self._cider, self._lengths = cider, references.lengths
        self._count = int(images.max(initial=-1)) + 1
        self._per_image = np.bincount(images, minlength=self._count)
        self._orders, self._places = [], []
        for weights in cider.weigh(references):
            # Sorted by n-gram, then image, so that the entries for a caption's n-gram form a range.
            places = weights.number * self._count + images[weights.sentence]
            order = np.argsort(places, kind="stable")
            self._places.append(places[order])
            self._orders.append(
                weights._replace(sentence=weights.sentence[order], values=weights.values[order])
            )

    def scores(self, captions: Sentences, images: np.ndarray) -> np.ndarray:
        """Scores captions.

        Args:
            captions: S sentences.
            images: integers [S], the image whose references each caption is compared with.

        Returns:
            float64[S], 0 to 10; 0 for an image without references.
        """
        total = np.zeros(len(images))
        for caption, _, term in self.terms(captions, images):
            total += np.bincount(caption, term, len(images))
        references = np.zeros(len(images))
        known = images < self._count
        references[known] = self._per_image[images[known]]
        return np.divide(total, references, out=total, where=references > 0)

    def terms(
        self, captions: Sentences, images: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields the terms of the score, order by order; for the arguments see `scores`.

        Yields:
            For every n-gram that a caption shares with a reference of its image: caption int64[M],
            reference int64[M] and its term of the double sum float64[M].
        """
        known = np.zeros(0, np.int64)
        for order, (ours, theirs) in enumerate(
            zip(self._cider.weigh(captions), self._orders, strict=True)
        ):
            known = _translated(ours.keys, theirs.keys, known if order else None)
            number, sentence = known[ours.number], ours.sentence
            shared = np.flatnonzero((number >= 0) & (images[sentence] < self._count))
            wanted = number[shared] * self._count + images[sentence[shared]]
            first = np.searchsorted(self._places[order], wanted, "left")
            counts = np.searchsorted(self._places[order], wanted, "right") - first
            entry = np.repeat(shared, counts)
            # first[0], first[0] + 1, ... up to counts[0] of them, then from first[1] on.
            ends = np.cumsum(counts)
            place = np.arange(len(entry)) + np.repeat(first - ends + counts, counts)
            caption, reference = sentence[entry], theirs.sentence[place]
            scale = ours.norms[caption] * theirs.norms[reference]
            dots = np.minimum(ours.values[entry], theirs.values[place]) * theirs.values[place]
            bigrams = _bigrams(captions.lengths)[caption] - _bigrams(self._lengths)[reference]
            penalty = np.exp(-np.square(bigrams) / (2 * _SIGMA**2))
            terms = np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
            yield caption, reference, 10.0 / MAX_ORDER * penalty * terms


def _ngrams(
    sentences: Sentences,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Finds the n-grams of sentences.

    Yields:
        For each order: keys int64[G] (`Weights.keys`) and word ids int64[G, n] of the n-grams, and
        of every occurrence its sentence and the number of its n-gram, int64[P'].
    """
    words, lengths = sentences.words.astype(np.int64), sentences.lengths.astype(np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words to the end
    at, number = np.arange(len(words)), np.zeros(len(words), np.int64)
    for order in range(1, MAX_ORDER + 1):
        longer = left[at] >= order
        at = at[longer]
        key = number[longer] << _WORD_BITS | words[at + (order - 1)]
        keys, first, number = np.unique(key, return_index=True, return_inverse=True)
        yield keys, words[at[first][:, None] + np.arange(order)], owner[at], number


def _translated(keys: np.ndarray, known: np.ndarray, prefixes: np.ndarray | None) -> np.ndarray:
    """Returns the numbers of n-grams in another numbering, -1 for missing ones.

    Args:
        keys: int64[G] of the n-grams (`Weights.keys`).
        known: int64[G'], the keys of the other numbering.
        prefixes: int64, such numbers of the (n - 1)-grams; None for single words.
    """
    if not len(known):
        return np.full(len(keys), -1)
    wanted = keys
    if prefixes is not None:
        start = prefixes[keys >> _WORD_BITS]
        wanted = np.where(start < 0, -1, start << _WORD_BITS | keys & ((1 << _WORD_BITS) - 1))
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, place, -1)


def _bigrams(lengths: np.ndarray) -> np.ndarray:
    return np.maximum(lengths.astype(np.int64) - 1, 0)


def _joined(sentences: Sequence[np.ndarray]) -> Sentences:
    words = np.concatenate([np.zeros(0, np.int64), *sentences])
    return Sentences(words, np.array([len(sentence) for sentence in sentences], np.int64))
