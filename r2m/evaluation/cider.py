"""CIDEr (Vedantam et al., 2015) against references that do not change between calls.

pycocoevalcap weighs all references anew at every call, most of its time. Here that is done once;
the arithmetic is that of its `cider_scorer.py` and a test holds the two equal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_ORDERS = 4
_SIGMA = 6.0
Ngram = tuple[str, ...]


class _Vector(NamedTuple):
    weights: tuple[dict[Ngram, float], ...]  # one table an n-gram order: tf-idf weight
    norms: tuple[float, ...]
    length: int  # in bigrams, as pycocoevalcap counts it


class Cider:
    """CIDEr with the document frequencies of one set of references.

    Attributes:
        images: how many images N the references describe.
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        """Weighs the references.

        Args:
            references: N non-empty lists of tokenised captions.
        """
        counted = [[_ngrams(text) for text in group] for group in references]
        self.images = len(counted)
        frequency: Counter[Ngram] = Counter()
        for group in counted:
            frequency.update({ngram for counts in group for ngram in counts})
        self._log_images = math.log(max(1, self.images))
        self._log_frequency = {ngram: math.log(count) for ngram, count in frequency.items()}
        self._references = [[self._weigh(counts) for counts in group] for group in counted]

    def score(self, candidates: Sequence[str]) -> np.ndarray:
        """Scores one tokenised caption an image.

        Args:
            candidates: N tokenised captions, in the order of the references.

        Returns:
            float64[N], 0 to 10. With a single image every n-gram weighs nothing and it is 0.
        """
        scores = []
        for text, group in zip(candidates, self._references, strict=True):
            vector = self._weigh(_ngrams(text))
            total = sum(_similarity(vector, reference) for reference in group)
            scores.append(10.0 * total / _ORDERS / len(group))
        return np.asarray(scores, np.float64)

    def _weigh(self, counts: Counter[Ngram]) -> _Vector:
        weights: tuple[dict[Ngram, float], ...] = tuple({} for _ in range(_ORDERS))
        squares = [0.0] * _ORDERS
        length = 0
        for ngram, count in counts.items():
            order = len(ngram) - 1
            weight = count * (self._log_images - self._log_frequency.get(ngram, 0.0))
            weights[order][ngram] = weight
            squares[order] += weight * weight
            if order == 1:
                length += count
        return _Vector(weights, tuple(math.sqrt(square) for square in squares), length)


def _ngrams(text: str) -> Counter[Ngram]:
    words = text.split()
    return Counter(
        tuple(words[start : start + order])
        for order in range(1, _ORDERS + 1)
        for start in range(len(words) - order + 1)
    )


def _similarity(candidate: _Vector, reference: _Vector) -> float:
    """The sum over orders of the clipped cosine, under the Gaussian length penalty."""
    total = 0.0
    for order in range(_ORDERS):
        norm = candidate.norms[order] * reference.norms[order]
        if norm == 0.0:
            continue
        theirs = reference.weights[order]
        dot = 0.0
        for ngram, weight in candidate.weights[order].items():
            other = theirs.get(ngram)
            if other is not None:
                dot += min(weight, other) * other
        total += dot / norm
    delta = candidate.length - reference.length
    return total * math.exp(-(delta * delta) / (2 * _SIGMA * _SIGMA))
