"""CIDEr-D of word ids, the reward of self-critical training, against references in the batch.

NumPy on the host: it has no gradient, and takes a few milliseconds a step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

MAX_ORDER = 4
_SIGMA = 6.0


class CiderD(NamedTuple):
    """CIDEr-D (Vedantam et al. 2015), its document frequencies counted beforehand.

    Of an n-gram g that occurs tf(g) times in a sentence, w(g) = tf(g) (ln N - ln max(1, df(g))),
    and of a sentence h with a reference r of as many bigrams up to d

        10 / 4 sum_n exp(-d^2 / (2 * 6^2)) sum_g min(w_h(g), w_r(g)) w_r(g) / (|w_h|_n |w_r|_n),

    averaged over the references. The end marker counts as a word wherever a sentence has one:
    without it fragments are rewarded.

    Attributes:
        frequencies: n-grams of one order, integers [G, n] -> in how many images' references each
            occurs, integers [G].
        images: N.
    """

    frequencies: Callable[[np.ndarray], np.ndarray]
    images: int

    def scores(
        self,
        tokens: np.ndarray,
        lengths: np.ndarray,
        references: np.ndarray,
        reference_lengths: np.ndarray,
    ) -> np.ndarray:
        """Scores captions, as many of each image and side by side.

        Args:
            tokens: int32[S, T] of all captions.
            lengths: int32[S], words that count.
            references: int32[B, R, T'] of B images.
            reference_lengths: int32[B, R]; 0 where an image has fewer references.

        Returns:
            float32[S], 0 to 10; 0 without references.
        """
        images = len(references)
        each = len(tokens) // max(images, 1)
        found = np.zeros(len(tokens), np.float32)
        for image in range(images):
            own = slice(image * each, (image + 1) * each)
            there = reference_lengths[image] > 0
            if not there.any():
                continue
            captions = zip(tokens[own], lengths[own], strict=True)
            known = zip(references[image][there], reference_lengths[image][there], strict=True)
            found[own] = self.likeness(
                [row[:n] for row, n in captions], [row[:n] for row, n in known]
            ).mean(1)
        return found

    def likeness(
        self, captions: Sequence[np.ndarray], references: Sequence[np.ndarray]
    ) -> np.ndarray:
        """The terms of the score before their average over the references.

        Args:
            captions: word ids of each, integers [T].
            references: likewise.

        Returns:
            float32[captions, references], 0 to 10.
        """
        sentences, count = [*captions, *references], len(captions)
        lengths = np.array([len(sentence) for sentence in sentences])
        bigrams = np.maximum(lengths - 1, 0)
        apart = bigrams[:count, None] - bigrams[None, count:]
        likeness = np.zeros(apart.shape)
        words = np.concatenate(sentences).astype(np.int64)
        owner = np.repeat(np.arange(len(sentences)), lengths)
        left = np.concatenate([np.arange(n, 0, -1) for n in lengths])  # words to the end
        for order in range(1, MAX_ORDER + 1):
            first = np.flatnonzero(left >= order)
            ngrams, number = np.unique(
                words[first[:, None] + np.arange(order)], axis=0, return_inverse=True
            )
            counts = np.zeros((len(sentences), len(ngrams)))
            np.add.at(counts, (owner[first], number.reshape(-1)), 1.0)
            rarity = math.log(self.images) - np.log(np.maximum(1, self.frequencies(ngrams)))
            weights = counts * rarity
            norms = np.sqrt(np.square(weights).sum(1))
            shared = counts[:count].any(0)
            ours, theirs = weights[:count, None, shared], weights[None, count:, shared]
            dots = (np.minimum(ours, theirs) * theirs).sum(-1)
            scale = norms[:count, None] * norms[None, count:]
            likeness += np.divide(dots, scale, out=np.zeros_like(dots), where=scale > 0)
        likeness *= np.exp(-np.square(apart) / (2 * _SIGMA**2))
        return np.asarray(10.0 / MAX_ORDER * likeness, np.float32)
