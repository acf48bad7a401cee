"""CIDEr (Vedantam et al. 2015) of captions against references that do not change between calls.

pycocoevalcap weighs all references anew at every call, most of its time. Here they are weighed
once, and a test holds the scores equal to those of its `cider_scorer.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import count

import numpy as np

from losses.cider_d import CiderD, Sentences
from tfrecords.document_frequencies import count_ngrams


class Cider:
    """CIDEr with the document frequencies of one set of references.

    Attributes:
        images: how many images N the references describe.
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        """Weighs the references.

        Args:
            references: N non-empty lists of tokenized captions.

        Raises:
            InputError: there is no word in them.
        """
        self.images = len(references)
        self._ids: defaultdict[str, int] = defaultdict(count().__next__)
        groups = [self._sentences(group) for group in references]
        frequencies = count_ngrams(groups, vocabulary_sha256="").lookup
        joined = Sentences(
            np.concatenate([group.words for group in groups]),
            np.concatenate([group.lengths for group in groups]),
        )
        owners = np.repeat(np.arange(self.images), [len(group) for group in references])
        self._references = CiderD(frequencies, self.images).prepare(joined, owners)

    def score(self, candidates: Sequence[str]) -> np.ndarray:
        """Scores one tokenized caption per image.

        Args:
            candidates: N tokenized captions, in the order of the references.

        Returns:
            float64[N], 0 to 10. With a single image every n-gram weighs nothing and it is 0.
        """
        if len(candidates) != self.images:
            raise ValueError(
                f"{len(candidates)} captions for the references of {self.images} images"
            )
        return self._references.scores(self._sentences(candidates), np.arange(self.images))

    def _sentences(self, texts: Sequence[str]) -> Sentences:
        """Numbers the words; new ones are given new numbers, which no reference has."""
        words = [text.split() for text in texts]
        ids = [self._ids[word] for sentence in words for word in sentence]
        return Sentences(np.array(ids, np.int64), np.array([len(s) for s in words], np.int64))
