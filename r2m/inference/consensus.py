"""Choice of captions by consensus with the captions of similar training images.

Beam search finds captions that are likely word by word, which are those that fit many images. The
hypothesis that agrees most with the captions of similar training images is a better guess of how
people describe this one (Devlin et al. 2015, arXiv 1505.04467; Mao et al. 2015, arXiv 1412.6632,
section 8).
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from losses.cider_d import CiderD
from models.layers import ops
from pipelines import captions
from pipelines.inputs.global_vector import GlobalVector
from tfrecords.document_frequencies import kept_frequencies
from tfrecords.errors import InputError
from tfrecords.records import Records

_AT_ONCE = 100
# Keeps values that hardly vary from counting as much as the others.
_LEAST_DEVIATION = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsensusOptions:
    """Options of the choice by consensus.

    Attributes:
        neighbours: similar training images whose captions are compared with.
        sharpness: an image of cosine similarity s counts exp(sharpness * s).
        likelihood: what a hypothesis' own score (log p, as normalised in the search) counts beside
            its mean CIDEr-D, 0 to 10.
    """

    neighbours: int = 60
    sharpness: float = 8.0
    likelihood: float = 0.2

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        if self.neighbours < 1:
            raise ValueError(f"neighbours={self.neighbours} must be at least 1")
        for name in ("sharpness", "likelihood"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}={getattr(self, name)} must be a number, not negative")


class Consensus(NamedTuple):
    """Training images with their captions, to choose hypotheses by.

    Attributes:
        options: how.
        directions: float32[N, D], the images' features, standardised, of norm 1.
        mean: float32[D], of the features.
        deviation: float32[D].
        sentences: of each image the word ids of its captions, end markers included.
        reward: CIDEr-D with the document frequencies of these captions.
    """

    options: ConsensusOptions
    directions: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    sentences: list[list[np.ndarray]]
    reward: CiderD

    def values(
        self, features: np.ndarray, tokens: np.ndarray, lengths: np.ndarray, scores: np.ndarray
    ) -> np.ndarray:
        """Computes the values of the hypotheses of each image.

        Args:
            features: float32[B, D] of the images, made as those of the training images.
            tokens: int32[B, R, T], what a search found (`models.decoding.search.Captions`).
            lengths: int32[B, R]; 0 for an empty place.
            scores: float32[B, R].

        Returns:
            float64[B, R]: mean CIDEr-D plus `likelihood` times the score; minus infinity for an
            empty place.
        """
        found = np.full(lengths.shape, -np.inf)
        likeness = self._directions(features) @ self.directions.T
        for image, row in enumerate(likeness):
            there = np.flatnonzero(lengths[image] > 0)
            if not len(there):
                continue
            hypotheses = [tokens[image, place, : lengths[image, place]] for place in there]
            own = self.options.likelihood * scores[image, there]
            found[image, there] = self._agreement(row, hypotheses) + own
        return found

    def _agreement(self, likeness: np.ndarray, hypotheses: list[np.ndarray]) -> np.ndarray:
        """Mean CIDEr-D of hypotheses against captions of the most similar images."""
        nearest = np.argsort(-likeness, kind="stable")[: self.options.neighbours]
        weights = np.exp(self.options.sharpness * (likeness[nearest] - likeness[nearest[0]]))
        references = [sentence for image in nearest for sentence in self.sentences[image]]
        each = np.repeat(weights, [len(self.sentences[image]) for image in nearest])
        return np.average(self.reward.similarities(hypotheses, references), axis=1, weights=each)

    def _directions(self, features: np.ndarray) -> np.ndarray:
        return ops.unit_norm((features - self.mean) / self.deviation).numpy()


def open_consensus(records: Records, split: str, options: ConsensusOptions) -> Consensus:
    """Reads the images of a split of `captions` records.

    Raises:
        InputError: the records hold no vector of each image.
    """
    if "global_feature" not in records.feature_names:
        raise InputError(
            f"{records.folder}: these records hold no vector of each image to find similar ones "
            "by; build them with --backbone"
        )
    vector = GlobalVector()
    parse = captions.parser(records, ("sentences", *vector.columns))
    vectors, sentences = [], []
    for batch in tf.data.TFRecordDataset(records.shards(split)).batch(_AT_ONCE):
        rows = parse(batch)
        vectors.append(vector.assemble(rows)["global"].numpy())
        # From start to end marker; captions of CIDEr-D have no start.
        sentences += [[np.array(s[1:]) for s in image] for image in rows["sentences"].to_list()]
    features = np.concatenate(vectors)
    mean, deviation = features.mean(0), features.std(0) + _LEAST_DEVIATION
    frequencies = kept_frequencies(records, split)
    return Consensus(
        options=options,
        directions=ops.unit_norm((features - mean) / deviation).numpy(),
        mean=mean,
        deviation=deviation,
        sentences=sentences,
        reward=CiderD(frequencies.lookup, frequencies.images),
    )
