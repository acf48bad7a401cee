"""Selection of concepts of images from detections, by the rules of a run's training."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from r2m.inference.r2m_model import CONCEPTS_FILE, DEFAULT_RULES, RULES_FILE
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.formats.detections.box_formats import BoxOptions
from tfrecords.formats.detections.image_concepts import ConceptOrder, ImageConcept, image_concepts
from tfrecords.formats.detections.reading import DetectionSource, read_detections
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.language.unlikely_pairs import NO_PAIRS, UNLIKELY_PAIRS, UnlikelyPairs, from_saved
from tfrecords.pictures.named_images import ImageSource


class ConceptRules(NamedTuple):
    """Rules by which detections of an image become its concepts.

    Attributes:
        dictionary: maps classes of detectors to concepts.
        allowed: concepts that are frequent enough in the training corpus.
        order: order by which the concepts of an image are chosen and sorted.
        detections: per file of the training its `file`, `min_score`, `weight` and, if they differ
            from the defaults of its kind, its formats of `boxes` and `scores`.
        unlikely: pairs of concepts, of which an image keeps only the more certain one.
    """

    dictionary: ConceptDictionary
    allowed: frozenset[str]
    order: ConceptOrder
    detections: list[dict[str, Any]]
    unlikely: UnlikelyPairs = NO_PAIRS

    @classmethod
    def read(cls, run_folder: Path) -> ConceptRules:
        """Reads the rules of a run; a run trained on text only has the defaults."""
        file = run_folder / CONCEPTS_FILE
        text = file.read_text(encoding="utf-8")
        rules = _saved_rules(run_folder)
        counts = json.loads(text)["counts"]
        frequent = frozenset(word for word, n in counts.items() if n >= rules["min_concept_count"])
        dictionary = ConceptDictionary.from_json(text, str(file))
        return cls(
            dictionary,
            frequent,
            rules["concept_order"],
            rules.get("detections", []),
            from_saved(rules.get(UNLIKELY_PAIRS, {})),
        )

    def named_concepts(self, words: Sequence[str], vocabulary: Vocabulary) -> list[ImageConcept]:
        """Returns the concepts for words.

        Args:
            words: names of concepts, most important first; repetitions give the count of a concept.
            vocabulary: vocabulary of the model.

        Returns:
            The concepts, the most important one last.

        Raises:
            InputError: a word is neither in the vocabulary nor a class of the detectors.
        """
        if isinstance(words, str) or not all(isinstance(word, str) for word in words):
            raise InputError(f"concepts {words!r}: expected a list of words")
        counts: Counter[str] = Counter()
        for word in words:
            known = (word,) if word in vocabulary else self.dictionary.concepts_of_class(word)
            if not known:
                similar = difflib.get_close_matches(word, self.dictionary.words)
                hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
                raise InputError(f"the run has no concept {word!r}{hint}")
            counts.update(known)
        return [
            ImageConcept(word, 1.0, count, (0.0, 0.0, 1.0, 1.0))
            for word, count in reversed(counts.items())
        ]

    def sources(self, texts: Sequence[str]) -> list[DetectionSource]:
        """Returns files of detections as sources; see `detection_sources`."""
        return detection_sources(self.detections, texts)


class ConceptChooser:
    """Selects the concepts of images by image name."""

    def __init__(
        self,
        rules: ConceptRules,
        images: Sequence[ImageSource],
        sources: Sequence[DetectionSource],
        max_concepts: int,
    ) -> None:
        """Reads the detections.

        Args:
            rules: rules of the run.
            images: all images whose concepts will be requested.
            sources: files with the detections of these images, by their names.
            max_concepts: maximum number of concepts per image.

        Raises:
            InputError: a file cannot be read, or no image has detections.
        """
        self._rules, self._sources, self._max_concepts = rules, sources, max_concepts
        self._detections = read_detections(
            sources, names=list(dict.fromkeys(image.name for image in images))
        )

    def __call__(self, name: str) -> list[ImageConcept]:
        """Returns the concepts of the image `name`, the most certain last."""
        if name not in self._detections:
            return []
        return image_concepts(
            self._detections[name],
            self._rules.dictionary,
            sources=self._sources,
            max_concepts=self._max_concepts,
            order=self._rules.order,
            allowed=self._rules.allowed,
            unlikely=self._rules.unlikely,
        )


def detection_sources(
    trained_on: Sequence[dict[str, Any]], texts: Sequence[str]
) -> list[DetectionSource]:
    """Returns files of detections with the thresholds, weights and box formats of the training.

    Files are matched by name, else by order if their number is the same as in training.

    Args:
        trained_on: see `ConceptRules.detections`.
        texts: `FILE[+COMPANION][,MIN_SCORE[,WEIGHT]][,boxes=FORMAT]...` each. Values given there
            take precedence over the training.

    Raises:
        InputError: a text is not of that form.
    """
    by_name = {rule["file"]: rule for rule in trained_on}
    sources = []
    for number, text in enumerate(texts):
        name = DetectionSource.parse(text).path.name
        in_order = len(trained_on) == len(texts)
        rule = by_name.get(name) or (trained_on[number] if in_order else None)
        if rule is None:
            logging.warning(
                "the run was trained with detections of %s, not of %s: its scores are used with "
                "the default threshold and weight",
                ", ".join(by_name) or "no images", name,
            )  # fmt: skip
            sources.append(DetectionSource.parse(text))
        else:
            # A file of another kind has another box format; `sizes` describes other images.
            same_kind = Path(name).suffix.lower() == Path(rule["file"]).suffix.lower()
            written = {key: rule[key] for key in ("boxes", "scores") if key in rule and same_kind}
            sources.append(
                DetectionSource.parse(
                    text, (rule["min_score"], rule["weight"]), BoxOptions(**written)
                )
            )
    return sources


def _saved_rules(run_folder: Path) -> dict[str, Any]:
    file = run_folder / RULES_FILE
    saved: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {**DEFAULT_RULES, **saved}
