"""Validation of a stage: captions and their scores."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging

from r2m.engine.stage import Evaluation
from r2m.evaluation.caption_scores import CaptionScorer
from r2m.evaluation.caption_statistics import KnownCaptions, caption_statistics
from r2m.evaluation.tokenizers import tokenize, tokenizer_for
from r2m.inference.captioning import Captioning
from tfrecords.core.progress import CountProgress
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.pictures.decoding import decode_image

_SAMPLES = 8
_SAMPLE_SIDE = 160
# Consecutive evaluations with one caption for all images before a warning: an untrained model also
# generates only one.
_ALL_EQUAL = 3


@dataclasses.dataclass(frozen=True)
class _Sample:
    image_id: str
    image: np.ndarray | None
    concepts: str | None
    references: tuple[str, ...]


class Validator:
    """Captions the validation images and scores the captions, at every call of `evaluate`."""

    def __init__(
        self,
        captioning: Captioning,
        vocabulary: Vocabulary,
        batches: tf.data.Dataset | None,
        examples: Iterable[Mapping[str, Any]] = (),
        open_known: Callable[[], KnownCaptions] | None = None,
    ) -> None:
        """Reads the references; without any, captions are shown but not scored.

        Args:
            captioning: captions images with the model.
            vocabulary: vocabulary of the model.
            batches: batches of images for `Captioning.caption_batches`, or None.
            examples: the same images: `image_id`, `texts`, `image` and optionally `concepts` (ids).
            open_known: returns a recognizer of training captions; called at the first evaluation.
                None: novel captions are not counted.
        """
        self._batches = batches
        self._captioning, self._open_known = captioning, open_known
        self._samples: list[_Sample] = []
        self._images = 0
        references: dict[str, list[str]] = {}
        for example in examples:
            self._images += 1
            if example["texts"]:
                references[example["image_id"]] = example["texts"]
            if len(self._samples) < _SAMPLES:
                self._samples.append(_sample(example, vocabulary))
        self.has_references = bool(references)
        tokenizer = tokenizer_for(vocabulary.segmenter, "auto")
        self._tokenizer = "ptb_python" if tokenizer == "auto" else tokenizer
        self._scorer = CaptionScorer(references, self._tokenizer) if references else None
        self._scored = frozenset(references)
        self._all_equal = 0  # consecutive evaluations with one caption for all images
        if len(references) == 1:
            logging.warning(
                "only one validation image has references (%s): CIDEr is 0 for every caption, as "
                "all n-grams of the references are in all images; best/ is selected by the "
                "validation loss. Build the records with more validation images",
                next(iter(references)),
            )

    def evaluate(self) -> Evaluation:
        """Returns metrics, sample captions and their images.

        The metrics are BLEU-1 to 4, ROUGE-L, CIDEr (1.0 = 100) and `caption_statistics`. METEOR
        requires a Java process; `r2m-evaluate` computes it.
        """
        if self._batches is None:
            return Evaluation(metrics={})
        with CountProgress("captioning for validation", self._images, "images") as progress:
            captions = self._captioning.caption_batches(self._batches, progress)
        metrics: dict[str, float] = {}
        if self._scorer is not None:
            scored = {name: captions[name] for name in captions if name in self._scored}
            metrics = dict(self._scorer.score(scored))
        metrics |= self._statistics(list(captions.values()))
        self._watch_for_equal(captions)
        with_concepts = any(s.concepts is not None for s in self._samples)
        heads = ["image", *["concepts"] * with_concepts, "caption", "references"]
        rows = [_row(*heads), "|---" * len(heads) + "|"]
        for s in self._samples:
            shown = [s.concepts or ""] * with_concepts
            rows.append(_row(s.image_id, *shown, captions[s.image_id], "<br>".join(s.references)))
        pictures = [s.image for s in self._samples if s.image is not None]
        return Evaluation(
            metrics=metrics,
            texts={"captions": "\n".join(rows)},
            images={"pictures": np.stack(pictures)} if pictures else {},
        )

    def _statistics(self, captions: list[str]) -> dict[str, float]:
        known = None if self._known is None else self._known(captions)
        return caption_statistics(tokenize(captions, self._tokenizer), known)

    @cached_property
    def _known(self) -> KnownCaptions | None:
        return None if self._open_known is None else self._open_known()

    def _watch_for_equal(self, captions: Mapping[str, str]) -> None:
        """Warns once if several images repeatedly get the same caption."""
        equal = len(captions) > 1 and len(set(captions.values())) == 1
        self._all_equal = self._all_equal + 1 if equal else 0
        if self._all_equal == _ALL_EQUAL:
            logging.warning(
                "all %d validation images had the same caption at %d evaluations in a row (%r): "
                "the model does not distinguish them yet. If this persists, train longer, or check "
                "with r2m-inspect that their features or concepts differ",
                len(captions), _ALL_EQUAL, next(iter(captions.values())),
            )  # fmt: skip


def _sample(example: Mapping[str, Any], vocabulary: Vocabulary) -> _Sample:
    picture = None
    if example["image"]:
        resized = tf.image.resize(decode_image(example["image"]), [_SAMPLE_SIDE, _SAMPLE_SIDE])
        picture = tf.cast(resized, tf.uint8).numpy()
    concepts = example.get("concepts")
    return _Sample(
        image_id=example["image_id"],
        image=picture,
        concepts=None if concepts is None else ", ".join(vocabulary.words[i] for i in concepts),
        references=tuple(html.escape(" ".join(text.split())) for text in example["texts"]),
    )


def _row(*cells: str) -> str:
    """Returns a row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "&#124;") for cell in cells) + " |"
