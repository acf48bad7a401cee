"""Validation of a stage: its captions and how they score."""

from __future__ import annotations

import dataclasses
import html
from typing import Any

import numpy as np
import tensorflow as tf

from models import decoding
from models.r2m import R2M
from pipelines import images
from r2m.engine.stage import Evaluation
from r2m.evaluation.captions import CaptionScorer
from r2m.stages.data import VALIDATION_SPLIT, Data, setting
from tfrecords.vocabulary import Vocabulary

_SAMPLES = 8
_SAMPLE_SIDE = 160


def search_options(config: Any, vocabulary: Vocabulary) -> decoding.DecodingOptions:
    """The caption search that `config.decoding` describes."""
    suppressed = [0, 1] if config.decoding.allow_unknown else [0, 1, vocabulary.unk_id]
    with setting("config.decoding"):
        return decoding.DecodingOptions(
            beam_size=config.decoding.beam_size,
            max_length=config.decoding.max_length,
            length_normalization=config.decoding.length_normalization,
            suppressed=tuple(suppressed),
        )


class Captioning:
    """Captions images with a model: concepts in, sentences out, a batch at a time."""

    def __init__(
        self, model: R2M, vocabulary: Vocabulary, search: decoding.DecodingOptions
    ) -> None:
        """Args: the model, its vocabulary and how to search."""
        self._model = model
        self._vocabulary = vocabulary
        self._search = search
        # One program for all batches.
        self._decode = tf.function(
            self._best,
            autograph=False,
            input_signature=[
                tf.TensorSpec([None, None], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ],
        )

    def _best(self, concepts: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs = {"concepts": concepts, "concept_lengths": lengths}
        found = decoding.decode(self._model, self._model.encode(inputs), self._search)
        return found.tokens[:, 0], found.scores[:, 0]

    def captions(self, concepts: tf.Tensor, lengths: tf.Tensor) -> list[str]:
        """Concepts int32[B, K] and their lengths int32[B] -> B captions."""
        tokens, _ = self._decode(concepts, lengths)
        return [self._vocabulary.decode(row) for row in tokens.numpy().tolist()]

    def caption_batches(self, batches: tf.data.Dataset) -> dict[str, str]:
        """Captions what `pipelines.images.concept_batches` gives: image id -> caption."""
        found: dict[str, str] = {}
        for batch in batches:
            captions = self.captions(batch["concepts"], batch["concept_lengths"])
            names = [name.decode() for name in batch["image_id"].numpy()]
            found.update(zip(names, captions, strict=True))
        return found


@dataclasses.dataclass(frozen=True)
class _Sample:
    image_id: str
    image: np.ndarray | None
    concepts: str
    references: tuple[str, ...]


class Validator:
    """Captions the validation images and scores them, as often as it is asked to."""

    def __init__(self, data: Data, captioning: Captioning) -> None:
        """Reads the references once; without any, captions are shown but not scored."""
        self._batches: tf.data.Dataset | None = None
        self._captioning = captioning
        self._samples: list[_Sample] = []
        references: dict[str, list[str]] = {}
        if data.has_validation_images:
            assert data.images is not None
            self._batches = images.concept_batches(
                data.images, VALIDATION_SPLIT, concept_options=data.concept_options
            )
            for example in images.examples(data.images, VALIDATION_SPLIT):
                if example["texts"]:
                    references[example["image_id"]] = example["texts"]
                if len(self._samples) < _SAMPLES:
                    self._samples.append(_sample(example, data.vocabulary))
        self.has_references = bool(references)
        self._scorer = CaptionScorer(references) if references else None
        self._scored = frozenset(references)

    def evaluate(self) -> Evaluation:
        """Metrics (BLEU-4, ROUGE-L and CIDEr, 1.0 = 100), sample captions and their images."""
        if self._batches is None:
            return Evaluation(metrics={})
        captions = self._captioning.caption_batches(self._batches)
        metrics: dict[str, float] = {}
        if self._scorer is not None:
            scored = {name: captions[name] for name in captions if name in self._scored}
            metrics = dict(self._scorer.score(scored))
        rows = ["| image | concepts | caption | references |", "|---|---|---|---|"]
        rows += [
            _row(s.image_id, s.concepts, captions[s.image_id], "<br>".join(s.references))
            for s in self._samples
        ]
        pictures = [s.image for s in self._samples if s.image is not None]
        return Evaluation(
            metrics=metrics,
            texts={"captions": "\n".join(rows)},
            images={"pictures": np.stack(pictures)} if pictures else {},
        )


def _sample(example: dict[str, Any], vocabulary: Vocabulary) -> _Sample:
    picture = None
    if example["image"]:
        decoded = tf.io.decode_image(example["image"], channels=3, expand_animations=False)
        resized = tf.image.resize(decoded, [_SAMPLE_SIDE, _SAMPLE_SIDE])
        picture = tf.cast(resized, tf.uint8).numpy()
    return _Sample(
        image_id=example["image_id"],
        image=picture,
        concepts=", ".join(vocabulary.words[i] for i in example["concepts"]),
        references=tuple(html.escape(" ".join(text.split())) for text in example["texts"]),
    )


def _row(*cells: str) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |"
