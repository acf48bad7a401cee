"""CIDEr-D (Vedantam et al. 2015) of captions against references that do not change between calls.

pycocoevalcap computes the weights of all references at every call, which takes most of its time.
Here they are computed once; a test checks that scores equal those of its `cider_scorer.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from losses.cider_d import CiderD, Sentences
from tfrecords.language.document_frequencies import count_ngrams


class Cider:
    """CIDEr with the document frequencies of one set of references.

    Attributes:
        images: N, number of images that the references describe.
    """

    def __init__(self, references: Sequence[Sequence[str]]):
        """Computes the weights of the references.

        Args:
            references: N non-empty lists of tokenized captions.

        Raises:
            InputError: the references contain no word.
        """
        self.images = len(references)
        self._ids: defaultdict[str, int] = defaultdict(count().__next__)
        groups = [self._sentences(group) for group in references]
        frequencies = count_ngrams(groups, vocabulary_sha256="").lookup
        joined = Sentences(
            np.concatenate([group.words for group in groups]),
            np.concatenate([group.lengths for group in groups]),
        )
        self._reference_sentences = joined
        self._owners = np.repeat(np.arange(self.images), [len(group) for group in references])
        self._measure = CiderD(frequencies, self.images)
        self._references = self._measure.prepare(joined, self._owners)

    def score(self, candidates: Sequence[str]) -> np.ndarray:
        """Scores one tokenized caption per image.

        Args:
            candidates: N tokenized captions, in the order of the references.

        Returns:
            float64[N], 0 to 10; 0 with a single image, because the weight of every n-gram is zero.
        """
        if len(candidates) != self.images:
            raise ValueError(
                f"{len(candidates)} captions for the references of {self.images} images"
            )
        return self._references.scores(self._sentences(candidates), np.arange(self.images))

    def score_references(self) -> np.ndarray:
        """Scores each reference against the other references of its image.

        Returns:
            float64[R], scores of the references of images with at least two.
        """
        total = np.zeros(len(self._owners))
        for caption, reference, term in self._references.terms(
            self._reference_sentences, self._owners
        ):
            others = caption != reference
            total += np.bincount(caption[others], term[others], len(total))
        counts = np.bincount(self._owners)[self._owners]
        return total[counts > 1] / (counts[counts > 1] - 1)

    def kernels(self, captions: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        """Computes the similarities of captions of the same image, by the weights of their n-grams.

        Args:
            captions: tokenized captions of each image.

        Yields:
            Per image float64[N, N]: cosines of the weights, averaged over n = 1..4. It is
            symmetric, without negative eigenvalues (unlike CIDEr-D, which clips weights and
            compares lengths).
        """
        ends = np.cumsum([len(own) for own in captions])
        found = [np.zeros((len(own), len(own))) for own in captions]
        weighed = self._measure.weigh(self._sentences([text for own in captions for text in own]))
        for weights in weighed:
            image = np.searchsorted(ends, weights.sentence, "right")
            order = np.argsort(image, kind="stable")
            starts = np.searchsorted(image[order], np.arange(len(captions) + 1))
            for number, kernel in enumerate(found):
                own = order[starts[number] : starts[number + 1]]
                sentence = weights.sentence[own]
                ngrams, column = np.unique(weights.number[own], return_inverse=True)
                vectors = np.zeros((len(kernel), len(ngrams)))
                norms = weights.norms[sentence]
                vectors[sentence - ends[number] + len(kernel), column] = np.divide(
                    weights.values[own], norms, out=np.zeros(len(own)), where=norms > 0
                )
                kernel += vectors @ vectors.T / len(weighed)
        yield from found

    def _sentences(self, texts: Sequence[str]) -> Sentences:
        """Maps words to ids; unknown words get new ids, which no reference has."""
        words = [text.split() for text in texts]
        ids = [self._ids[word] for sentence in words for word in sentence]
        return Sentences(np.array(ids, np.int64), np.array([len(s) for s in words], np.int64))
