"""Records for training and validation of a stage, opened and checked together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from absl import logging

from pipelines import corpora, images
from pipelines.inputs.concept_noise import ConceptNoise, estimate_noise
from pipelines.inputs.concepts import Concepts
from pipelines.inputs.global_vector import GlobalVector
from pipelines.inputs.pixels import Pixels
from pipelines.inputs.spec import InputSpec
from pipelines.matched_sentences import (
    ImageConcepts,
    MatchedSentences,
    image_concepts,
    match_sentences,
)
from r2m.configuration.settings import TRAINING_SPLIT, VALIDATION_SPLIT, setting
from r2m.inference.r2m_model import concepts_of
from r2m.tasks.unsupervised_captioning.curriculum import StageSpec
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, check_same_vocabulary
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.pictures.feature_options import interpolation_of

Source = Literal["sentences", "images"]

# Number of sentences of the corpus' validation split for the validation loss.
_VALIDATION_SENTENCES = 5_000
# Concepts in a message.
_SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Opened records and options for reading them.

    Attributes:
        sentences: `corpora` records.
        images: `images` records of the same vocabulary; None if a stage needs no images and no
            validation captions.
        vocabulary: vocabulary of both.
        concepts: concepts that the encoder reads.
        image_inputs: concepts and vectors or pixels, for stages trained on images.
        seed: seed of the order of batches.
        noise: missed and false concepts of training sentences; None for none.
        word_dropout: probability that a word of a training sentence is hidden from the decoder.
        scheduled_sampling: probability that the decoder reads its own prediction of a word.
        match_images: how far the concepts of training sentences are as frequent as those of images.
        image_concepts: frequencies of the concepts of images; None if `match_images` is 0.
    """

    sentences: Records
    images: Records | None
    vocabulary: Vocabulary
    concepts: Concepts
    image_inputs: InputSpec
    seed: int
    noise: ConceptNoise | None = None
    word_dropout: float = 0.0
    scheduled_sampling: float = 0.0
    match_images: float = 0.0
    image_concepts: ImageConcepts | None = None

    @property
    def has_validation_images(self) -> bool:
        """True if there are images to caption during validation."""
        return self.images is not None and VALIDATION_SPLIT in self.images.splits


def open_data(config: Any, seed: int) -> Data:
    """Opens the records that `config.data` names; `seed` determines the order of batches.

    Raises:
        InputError: a path is missing or contains no finished records of its kind, or the two were
            built with different vocabularies.
    """
    if not config.data.corpora:
        raise InputError(
            "no corpora records given: pass --corpora=FOLDER, made by r2m-build-corpora"
        )
    sentences = corpora.open_corpora(config.data.corpora)
    pictures = images.open_images(config.data.images) if config.data.images else None
    if pictures is not None:
        check_same_vocabulary(
            str(sentences.folder),
            sentences.vocabulary_sha256,
            str(pictures.folder),
            pictures.vocabulary_sha256,
        )
    if pictures is not None and VALIDATION_SPLIT not in pictures.splits:
        logging.warning(
            "%s has no split %r: nothing is captioned or scored during training",
            pictures.folder,
            VALIDATION_SPLIT,
        )
    concepts = concepts_of(config)
    return Data(
        sentences=sentences,
        images=pictures,
        vocabulary=sentences.vocabulary(),
        concepts=concepts,
        image_inputs=InputSpec((concepts, _image_side(config))),
        seed=seed,
        noise=_noise(config, sentences, pictures),
        word_dropout=config.data.word_dropout,
        scheduled_sampling=config.data.scheduled_sampling,
        match_images=config.data.match_images,
        image_concepts=_image_concepts(config, pictures),
    )


def _noise(config: Any, sentences: Records, images: Records | None) -> ConceptNoise | None:
    """Returns the noise of `config.data.concept_noise`, logged."""
    factor = config.data.concept_noise
    if factor < 0:
        raise InputError(f"config.data.concept_noise must be at least 0, found {factor:g}")
    if not factor:
        return None
    if images is None:
        raise InputError(
            "config.data.concept_noise is estimated from the concepts of images: pass "
            "--images=FOLDER, made by r2m-build-images, or set it to 0"
        )
    noise = estimate_noise(sentences, images, factor)
    logging.info(
        "concepts of training sentences: %.0f %% are removed, %.2f false ones are added on average",
        100 * noise.missed,
        noise.false,
    )
    return noise


def _image_concepts(config: Any, images: Records | None) -> ImageConcepts | None:
    """Returns the frequencies of concepts that `config.data.match_images` requires."""
    if not config.data.match_images:
        return None
    if images is None:
        raise InputError(
            "config.data.match_images draws sentences by the concepts of images: pass "
            "--images=FOLDER, made by r2m-build-images, or set it to 0"
        )
    return image_concepts(images)


def _matched_sentences(data: Data) -> MatchedSentences | None:
    """Returns the sentences with the weights of `config.data.match_images`, logged."""
    if data.image_concepts is None:
        return None
    found = match_sentences(data.sentences, data.image_concepts, data.match_images)
    changes = np.argsort(-np.abs(found.drawn_shares - found.shares), kind="stable")[:_SHOWN]
    logging.info(
        "training sentences are drawn by the concepts of images, as varied as %s equally frequent "
        "ones of %s; the largest changes: %s",
        f"{found.effective_count:,.0f}",
        f"{found.count:,}",
        ", ".join(
            f"{data.vocabulary.words[i]} {found.shares[i]:.1%} -> {found.drawn_shares[i]:.1%}"
            for i in changes
        ),
    )
    return found


def _image_side(config: Any) -> GlobalVector | Pixels:
    """Returns the stored vectors, or pixels for a network in the model."""
    with setting("config.image"):
        source = config.image.source
        if source not in ("features", "pixels"):
            raise ValueError(f"unknown source {source!r}; known: features, pixels")
        if source == "features":
            return GlobalVector()
        # As upstream: resized without anti-aliasing.
        return Pixels(
            resize=config.image.resize,
            crop=config.image.crop,
            antialias=False,
            interpolation=interpolation_of(config.image.backbone),
        )


def require_images(data: Data, spec: StageSpec) -> Records:
    """Returns the image records; raises `InputError` if a stage on images has none."""
    if data.images is None:
        raise InputError(
            f"stage {spec.name} is trained on images: pass --images=FOLDER, made by "
            "r2m-build-images"
        )
    if TRAINING_SPLIT not in data.images.splits:
        raise InputError(
            f"{data.images.folder}: no split {TRAINING_SPLIT!r} to train on, only "
            f"{', '.join(data.images.splits)}; build the records with --split=train=FILE "
            "--split=val=FILE"
        )
    if not spec.rewards:
        try:
            data.image_inputs.check(data.images)
        except InputError as error:
            raise InputError(
                f"stage {spec.name} is trained on images: {error}. Stages xe and xe_rec are "
                "trained on sentences alone"
            ) from error
    return data.images


def training_dataset(
    data: Data,
    spec: StageSpec,
    *,
    batch_size: int,
    max_length: int,
    first_step: int,
    own_rows: Callable[[Any], Any],
    few_shapes: bool,
    more: Callable[[Any], Any] | None,
) -> tf.data.Dataset:
    """Returns infinitely many batches: `sentences` and / or `images`, from their pipelines.

    Rewards read the concepts of images, and the tensors that `more` computes from their rows.
    """
    sources: dict[str, tf.data.Dataset] = {}
    if spec.sentences:
        sources["sentences"] = corpora.training_batches(
            data.sentences,
            batch_size=batch_size,
            max_length=max_length,
            seed=data.seed,
            first_step=first_step,
            concepts=data.concepts,
            own_rows=own_rows,
            few_shapes=few_shapes,
            noise=data.noise,
            word_dropout=data.word_dropout,
            scheduled_sampling=data.scheduled_sampling,
            matched=_matched_sentences(data),
        )
    if spec.images:
        sources["images"] = images.training_batches(
            require_images(data, spec),
            InputSpec((data.concepts,)) if spec.rewards else data.image_inputs,
            batch_size=batch_size,
            seed=data.seed,
            first_step=first_step,
            own_rows=own_rows,
            more=more,
        )
    return tf.data.Dataset.zip(sources)


def validation_sources(data: Data, spec: StageSpec) -> tuple[Source, ...]:
    """Returns the validation sources of a stage's loss: `sentences`, `images`, both or none."""
    found: list[Source] = []
    if spec.sentences and VALIDATION_SPLIT in data.sentences.splits:
        found.append("sentences")
    if spec.images and not spec.rewards and data.has_validation_images:
        found.append("images")
    return tuple(found)


def validation_dataset(
    data: Data, source: Source, *, batch_size: int, max_length: int
) -> tf.data.Dataset:
    """Returns batches of one source for the validation loss: finite and always the same."""
    if source == "sentences":
        return corpora.validation_batches(
            data.sentences,
            batch_size=batch_size,
            max_length=max_length,
            concepts=data.concepts,
        ).take(max(1, _VALIDATION_SENTENCES // batch_size))
    assert data.images is not None
    return images.image_batches(
        data.images, VALIDATION_SPLIT, data.image_inputs, batch_size=batch_size
    )
