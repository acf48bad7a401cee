"""Choice of captions by consensus with the captions of similar training images.

Beam search finds captions that are likely word by word, which tend to be captions that fit many
images. The hypothesis that agrees most with the captions of similar training images is a better
guess of how people describe this one (Devlin et al. 2015, arXiv 1505.04467; Mao et al. 2015, arXiv
1412.6632, section 8). With an embedding of images and text, the training captions most similar to
the image itself are used, too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from losses.cider_d import CiderD
from models.decoding.search import Captions
from pipelines.inputs.global_vector import GlobalVector
from pipelines.inputs.model_input import ModelInput
from pipelines.similar_images import (
    EMBEDDING_SHARPNESS,
    SHARPNESS,
    CaptionedImages,
    read_captioned_images,
    similarity_weights,
)
from r2m.configuration.settings import TRAINING_SPLIT, setting
from r2m.evaluation.similarity_blocks import pair_similarities
from r2m.inference.captioner_inputs import check_same_origin
from r2m.inference.embedding_ensemble import EmbeddingEnsemble
from r2m.inference.loaded_captioner import LoadedCaptioner
from r2m.inference.search.exact_search import Comparison, search_exactly
from r2m.inference.search.searching import comparison
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, check_same_vocabulary
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.language.document_frequencies import kept_frequencies

# A caption with cosine similarity s to the image has the weight exp(sharpness * s).
CAPTION_SHARPNESS = 8.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConsensusOptions:
    """Options of reranking by consensus.

    Attributes:
        neighbors: number of similar training images whose captions are used.
        sharpness: an image with cosine similarity s has the weight exp(sharpness * s); None: 8, or
            16 with embeddings.
        likelihood: weight of a hypothesis' score (log p, normalized as in the search), which is
            added to its mean CIDEr-D, 0 to 10.
        embeddings: run folders of visual-semantic embeddings, whose mean similarity compares
            images; empty: compare features.
        nearest_captions: with embeddings: this many training captions, those most similar to the
            image, count as much as the captions of similar images; 0: only the latter.
        image_text: with embeddings: weight of the similarity of hypothesis and image, which is
            added to its mean CIDEr-D.
    """

    neighbors: int = 60
    sharpness: float | None = None
    likelihood: float = 0.2
    embeddings: tuple[str, ...] = ()
    nearest_captions: int = 150
    image_text: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for a value out of range."""
        if self.neighbors < 1:
            raise ValueError(f"neighbors={self.neighbors} must be at least 1")
        if self.nearest_captions < 0:
            raise ValueError(f"nearest_captions={self.nearest_captions} must not be negative")
        for name in ("sharpness", "likelihood", "image_text"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name}={value} must be a number, not negative")

    @property
    def own_sharpness(self) -> float:
        """The sharpness, or its default value."""
        if self.sharpness is not None:
            return self.sharpness
        return EMBEDDING_SHARPNESS if self.embeddings else SHARPNESS


class EmbeddedCaptions(NamedTuple):
    """Training captions for comparison with images in an embedding.

    Attributes:
        sentences: word ids of the C captions, end markers included.
        vectors: float32[C, D] of the captions.
        compare: returns the similarities of images and captions.
    """

    sentences: list[np.ndarray]
    vectors: np.ndarray
    compare: Comparison

    def nearest(
        self, images: np.ndarray, count: int
    ) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Yields the captions most similar to each image float32[B, D], and their weights."""
        found = search_exactly(self.vectors, images, count, self.compare)
        for places, likeness in zip(found.rows, found.scores, strict=True):
            weights = similarity_weights(likeness, CAPTION_SHARPNESS)
            yield [self.sentences[place] for place in places], weights


class Consensus(NamedTuple):
    """Training images with their captions, for reranking hypotheses.

    Attributes:
        options: options of reranking.
        images: training images, compared by their features or by vectors of an embedding.
        reward: CIDEr-D with the document frequencies of these captions.
        captions: all captions of these images, if they are also compared with images.
    """

    options: ConsensusOptions
    images: CaptionedImages
    reward: CiderD
    captions: EmbeddedCaptions | None = None

    def values(
        self, features: np.ndarray, tokens: np.ndarray, lengths: np.ndarray, scores: np.ndarray
    ) -> np.ndarray:
        """Computes the values of the hypotheses of each image.

        Args:
            features: float32[B, D] of the images, computed like those of the training images; or
                their vectors in the embedding.
            tokens: int32[B, R, T], result of a search (`models.decoding.search.Captions`).
            lengths: int32[B, R]; 0 for an empty place.
            scores: float32[B, R].

        Returns:
            float64[B, R]: mean CIDEr-D plus `likelihood` times the score; minus infinity for an
            empty place. With `captions`, the mean CIDEr-D is half that of the captions of similar
            images and half that of the captions most similar to the image.
        """
        found = np.full(lengths.shape, -np.inf)
        references = [self._of_similar_images(features)]
        if self.captions is not None:
            references.append(self.captions.nearest(features, self.options.nearest_captions))
        for image, sets in enumerate(zip(*references, strict=True)):
            there = np.flatnonzero(lengths[image] > 0)
            if not len(there):
                continue
            hypotheses = [tokens[image, place, : lengths[image, place]] for place in there]
            agreements = [self._agreement(hypotheses, *own) for own in sets]
            own = self.options.likelihood * scores[image, there]
            found[image, there] = np.mean(agreements, axis=0) + own
        return found

    def _of_similar_images(
        self, features: np.ndarray
    ) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
        """Yields the captions of the images most similar to each image, and their weights."""
        for nearest, likeness in self.images.nearest(features, self.options.neighbors):
            for places, weights in zip(
                nearest, similarity_weights(likeness, self.options.own_sharpness), strict=True
            ):
                own = [self.images.sentences[image] for image in places]
                each = np.repeat(weights, [len(sentences) for sentences in own])
                yield [sentence for sentences in own for sentence in sentences], each

    def _agreement(
        self, hypotheses: list[np.ndarray], references: list[np.ndarray], weights: np.ndarray
    ) -> np.ndarray:
        """Returns the mean CIDEr-D of each hypothesis against weighted references."""
        found = self.reward.similarities(hypotheses, references)
        return np.average(found, axis=1, weights=weights)


def open_consensus(
    records: Records,
    split: str,
    options: ConsensusOptions,
    embedding: EmbeddingEnsemble | None = None,
) -> Consensus:
    """Reads the images of a split of `captions` records.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        options: options of reranking.
        embedding: the embeddings that `options` names.

    Raises:
        InputError: the records lack a vector per image, or the inputs of the embedding.
    """
    vectors, embedded = None, None
    if embedding is not None:
        vectors = embedding.encode_records(records, split)
    images = read_captioned_images(records, split, vectors)
    if embedding is not None and options.nearest_captions:
        embedded = _embed_captions(images, embedding, records.vocabulary())
    frequencies = kept_frequencies(records, split)
    return Consensus(options, images, CiderD(frequencies.lookup, frequencies.images), embedded)


def _embed_captions(
    images: CaptionedImages, embedding: EmbeddingEnsemble, vocabulary: Vocabulary
) -> EmbeddedCaptions:
    sentences = [sentence for own in images.sentences for sentence in own]
    texts = [vocabulary.decode(sentence) for sentence in sentences]
    known, vectors = embedding.encode_known(texts)
    if not known:
        raise InputError(
            f"the vocabulary of the embedding {embedding.members[0].path} has no word of the "
            "training captions: give another one"
        )
    compare = comparison(embedding.similarity, "images", "captions", unit=False)
    return EmbeddedCaptions([sentences[place] for place in known], vectors, compare)


class ConsensusReranker:
    """Scores hypotheses by the captions of similar training images; see `Consensus`.

    Attributes:
        options: options of reranking.
        inputs: inputs that it reads in addition to those of the captioner.
    """

    inputs: tuple[ModelInput, ...] = (GlobalVector(),)

    def __init__(self, loaded: LoadedCaptioner, options: ConsensusOptions) -> None:
        """Opens the records that the (first) captioner was trained on.

        Raises:
            InputError: the records no longer exist, lack vectors to compare images by, contain
                vectors computed in another way than the captioner's features, or have another
                vocabulary; or the embedding reads features in another way than the captioner.
        """
        self.options, self._embedding = options, None
        if options.embeddings:
            self._embedding = EmbeddingEnsemble.load(options.embeddings)
            self.inputs = self._embedding.inputs.inputs
            with setting("config.data"):
                loaded.inputs.union(self._embedding.inputs)
        self._records = loaded.open_records(loaded.folders[0].config.data.captions)
        check_same_vocabulary(
            f"run {loaded.folders[0].path}", loaded.vocabulary.sha256,
            str(self._records.folder), self._records.vocabulary_sha256,
        )  # fmt: skip
        self._vocabulary = self._records.vocabulary()
        self._consensus = open_consensus(self._records, TRAINING_SPLIT, options, self._embedding)
        # The vectors of image files are computed like the features of these members.
        extracted = [own for own in loaded.trained_on if own.reads_backbone]
        for own in extracted or loaded.trained_on[:1]:
            self._check_origin(str(own.path), own.backbone)

    def check_records(self, records: Records) -> None:
        """Raises `InputError` unless records have vectors like those of the training images."""
        self._check_origin(str(records.folder), records.manifest["options"].get("backbone"))

    def _check_origin(self, other: str, backbone: Mapping[str, Any] | None) -> None:
        ours = self._records.manifest["options"].get("backbone")
        check_same_origin(f"those of {other}", backbone, f"those of {self._records.folder}", ours)

    def __call__(self, inputs: Mapping[str, tf.Tensor], found: Captions) -> np.ndarray:
        """Returns the value of each hypothesis, float[B, R]; inputs include `self.inputs`."""
        if self._embedding is None:
            features = inputs["global"].numpy()
        else:
            features = self._embedding.encode_inputs(inputs)
        values = self._consensus.values(features, found.tokens, found.lengths, found.scores)
        if self._embedding is not None and self.options.image_text:
            values += self.options.image_text * self._image_text(self._embedding, features, found)
        return values

    def _image_text(
        self, embedding: EmbeddingEnsemble, images: np.ndarray, found: Captions
    ) -> np.ndarray:
        """Returns the similarity of each hypothesis to its image, float32[B, R].

        It is 0 for a hypothesis without a word in the embedding's vocabulary.
        """
        tokens, lengths = np.asarray(found.tokens), np.asarray(found.lengths)
        similarities = np.zeros(lengths.shape, np.float32)
        places = np.argwhere(lengths > 0)
        known, sentences = embedding.encode_known(
            [self._vocabulary.decode(tokens[i, j, : lengths[i, j]]) for i, j in places]
        )
        rows, columns = places[known].T
        similarities[rows, columns] = pair_similarities(
            images, sentences, rows, embedding.similarity
        )
        return similarities

    def settings(self) -> dict[str, Any]:
        """Returns the options in the form of reports."""
        named = {**dataclasses.asdict(self.options), "sharpness": self.options.own_sharpness}
        del named["embeddings"]
        if self._embedding is None:
            del named["image_text"], named["nearest_captions"]
        else:
            folders = [member.folder for member in self._embedding.members]
            named["embedding"] = ", ".join(
                f"{folder.name}, checkpoint {folder.checkpoint.digest}" for folder in folders
            )
        return named
