"""Concepts of images from detectors and classifiers, inside a graph.

`tfrecords.formats.detections.image_concepts.image_concepts` chooses them in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from r2m.inference.concept_rules import ConceptRules
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import Vocabulary
from tfrecords.detectors.classifier import open_classifier
from tfrecords.detectors.graphs import OUTPUTS, GraphDetector
from tfrecords.detectors.opening import open_detector
from tfrecords.detectors.options import DetectorOptions
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.language.unlikely_pairs import UnlikelyPairs
from tfrecords.pictures.boxes import HIGHEST_SCORE
from tfrecords.pictures.decoding import resize_image

CLASSIFIER = "classifier"
KINDS = ("frozen_graph", "saved_model", CLASSIFIER)
FORM = "KIND:MODEL+LABEL_MAP[,MIN_SCORE[,WEIGHT]]"


class GraphSource(NamedTuple):
    """A detector or classifier inside a graph.

    Attributes:
        detect: uint8 [H, W, 3] -> class ids int32 [N] and scores float32 [N], 0 for invalid
            objects.
        classes: id -> name.
        is_tag: whether it is a classifier, whose labels are tags.
        min_score: detections with a lower score are left out.
        weight: factor on the scores.
        resources: owner of the variables of a detector; None where it has none.
        network: Keras model of a classifier.
    """

    detect: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
    classes: Mapping[int, str]
    is_tag: bool
    min_score: float
    weight: float
    resources: Any = None
    network: Any = None


def open_sources(texts: Sequence[str], rules: ConceptRules) -> list[GraphSource]:
    """Opens detectors and classifiers for a graph.

    Args:
        texts: `KIND:MODEL+LABEL_MAP[,MIN_SCORE[,WEIGHT]]` each, in the order of the detections of
            the training, whose thresholds and weights are the defaults.
        rules: rules of the run.

    Raises:
        InputError: a text has another form, a kind cannot be in a graph, or a model cannot be
            opened.
    """
    trained = [(rule["min_score"], rule["weight"]) for rule in rules.detections]
    if trained and len(texts) != len(trained):
        files = ", ".join(rule["file"] for rule in rules.detections)
        raise InputError(
            f"{len(texts)} --detector for the {len(trained)} files of detections that the run was "
            f"trained with ({files}): give one --detector per file, in this order"
        )
    defaults = trained or [(0.3, 1.0)] * len(texts)
    return [_open(text, own) for text, own in zip(texts, defaults, strict=True)]


def _open(text: str, defaults: tuple[float, float]) -> GraphSource:
    kind, colon, rest = text.partition(":")
    if not colon or kind not in KINDS:
        raise InputError(
            f"--detector={text}: expected {FORM} with a kind that can be in a graph: "
            f"{', '.join(KINDS)}; detections of all others are given as concepts (from_concepts)"
        )
    source = DetectionSource.parse(rest, defaults)
    if source.companion is None:
        raise InputError(f"--detector={text}: the label map is missing; expected {FORM}")
    options = DetectorOptions(kind=kind, model=str(source.path), label_map=source.companion)
    if kind == CLASSIFIER:
        return _open_classifier(options, source)
    detector = open_detector(options)
    assert isinstance(detector, GraphDetector)

    def detect(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = detector.run(pixels)
        return _checked({name: tf.cast(outputs[name][0], tf.float32) for name in OUTPUTS})

    return GraphSource(
        detect, detector.classes, False, source.min_score, source.weight, detector.resources
    )


def _open_classifier(options: DetectorOptions, source: DetectionSource) -> GraphSource:
    classifier = open_classifier(options)
    network, backbone, ids = classifier.network, classifier.backbone, sorted(classifier.classes)

    def detect(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        square = resize_image(pixels, backbone.image_size, backbone.interpolation)
        found = network.model(network.preprocess(square[tf.newaxis]), training=False)[0]
        return tf.constant(ids, tf.int32), tf.cast(found, tf.float32)

    return GraphSource(
        detect, classifier.classes, True, source.min_score, source.weight, network=network.model
    )


def _checked(outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns classes int32 [N] and scores [N]; 0 if `checked_detections` drops an object."""
    count, boxes, scores, classes = (outputs[name] for name in OUTPUTS)
    clipped = tf.clip_by_value(boxes, 0.0, 1.0)
    has_area = [tf.reduce_all(each[:, 2:] > each[:, :2], axis=1) for each in (boxes, clipped)]
    is_right = (
        has_area[0]
        & has_area[1]
        & tf.reduce_all(tf.math.is_finite(boxes), axis=1)
        & (scores >= 0)
        & (scores <= HIGHEST_SCORE)
        & (tf.range(tf.shape(scores)[0]) < tf.cast(count, tf.int32))
    )
    # Behind the best hundred, as `DetectorOptions.max_detections` keeps them.
    most = DetectorOptions.max_detections
    scores = tf.where(is_right, tf.minimum(scores, 1.0), 0)
    order = tf.argsort(scores, direction="DESCENDING", stable=True)[:most]
    return tf.cast(tf.gather(classes, order), tf.int32), tf.gather(scores, order)


class DetectedConcepts:
    """Selects the concepts of an image by the rules of a run's training."""

    def __init__(
        self,
        rules: ConceptRules,
        vocabulary: Vocabulary,
        sources: Sequence[GraphSource],
        max_concepts: int,
    ) -> None:
        """Makes the tables of classes and concepts.

        Args:
            rules: rules of the run.
            vocabulary: vocabulary of the model.
            sources: sources in the order of the training.
            max_concepts: maximum number of concepts per image.

        Raises:
            InputError: no class of a detector is a concept.
        """
        named = [
            {
                number: [w for w in rules.dictionary.concepts_of_class(name) if w in rules.allowed]
                for number, name in source.classes.items()
            }
            for source in sources
        ]
        # Sorted, because the last of equally certain concepts by name is kept first.
        words = sorted({word for own in named for found in own.values() for word in found})
        if not words:
            raise InputError("no class of the detectors is a concept of the run")
        self._words, self._order = tf.constant(words), rules.order
        self._ids = tf.constant([vocabulary.id_of(word) for word in words], tf.int64)
        self._sources = [
            (source, *_tables(own, words)) for source, own in zip(sources, named, strict=True)
        ]
        self.most = min(max_concepts, len(words))
        self._unlikely = _unlikely_table(rules.unlikely, words)

    def words(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the words of concept indices, empty for -1."""
        return tf.where(ids >= 0, tf.gather(self._words, tf.maximum(ids, 0)), "")

    def vocabulary_ids(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns the vocabulary ids, int64, of concept indices."""
        return tf.gather(self._ids, tf.maximum(ids, 0))

    def __call__(self, pixels: tf.Tensor) -> list[tf.Tensor]:
        """Returns the concepts of an image, the most certain one last.

        Args:
            pixels: uint8 [H, W, 3].

        Returns:
            Concept indices int32 [K], padded with -1 at the start; counts int64 [K]; and scores
            float32 [K].
        """
        size = len(self._words)
        best = tf.fill([size], tf.constant(-1.0, tf.float64))
        counts = tf.zeros([size], tf.int64)
        keys = tf.fill([size], tf.int64.max)
        for number, (source, rows, table) in enumerate(self._sources):
            classes, scores = source.detect(pixels)
            # Classes missing in the label map are in the last row, without a concept.
            known = tf.clip_by_value(classes, -1, len(rows) - 2) + 1
            row = tf.gather(rows, tf.where(classes < len(rows) - 1, known, 0))
            names = tf.gather(table, row) & (scores > 0)[:, tf.newaxis]
            if not source.is_tag:
                names &= (scores >= source.min_score)[:, tf.newaxis]
            own, count = _scored(source, names, scores)
            weighted = tf.cast(own, tf.float64) * source.weight
            is_there = count > 0
            key = tf.where(names, tf.cast(classes, tf.int64)[:, tf.newaxis], tf.int32.max)
            key = tf.reduce_min(key, axis=0) + number * (1 << 32)
            keys = tf.where(is_there, tf.minimum(keys, key), keys)
            best = tf.where(is_there & (weighted > best), weighted, best)
            counts = tf.maximum(counts, count)
        is_found = counts > 0
        if self._unlikely is not None:
            is_found = _likely(is_found, best, self._unlikely)
        sorted_by = best if self._order == "score" else tf.cast(keys, tf.float64)
        order = tf.argsort(tf.where(is_found, sorted_by, -1.0), stable=True)[-self.most :]
        chosen = tf.where(tf.gather(is_found, order), order, -1)
        return [chosen, tf.gather(counts, order), tf.cast(tf.gather(best, order), tf.float32)]


def _tables(named: Mapping[int, Sequence[str]], words: Sequence[str]) -> tuple[Any, Any]:
    """Returns the row of each class id (shifted by one), and the concepts of each row.

    The row of ids that are not classes is 0.
    """
    ids = [number for number in sorted(named) if number >= 0]
    rows = np.zeros(max(ids, default=0) + 2, np.int32)
    table = np.zeros((len(ids) + 1, len(words)), bool)
    for row, number in enumerate(ids, 1):
        rows[number + 1] = row
        for word in named[number]:
            table[row, words.index(word)] = True
    return tf.constant(rows), tf.constant(table)


def _unlikely_table(unlikely: UnlikelyPairs, words: Sequence[str]) -> tf.Tensor | None:
    """Returns which concepts make an unlikely pair, bool [C, C]; None if none do."""
    table = np.array([[b in unlikely.get(a, ()) for b in words] for a in words])
    return tf.constant(table) if table.any() else None


def _likely(is_found: tf.Tensor, scores: tf.Tensor, unlikely: tf.Tensor) -> tf.Tensor:
    """Returns which found concepts make no unlikely pair with a more certain one.

    `tfrecords.language.unlikely_pairs.keep_likely` does the same in Python.

    Args:
        is_found: bool [C].
        scores: float64 [C], at least 0 where a concept is found.
        unlikely: bool [C, C].
    """
    # Ascending, so that the last of equal scores is the most certain.
    order = tf.argsort(tf.where(is_found, scores, -1.0), stable=True)[::-1]

    def add(number: tf.Tensor, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        word = order[number]
        excluded = tf.reduce_any(kept & unlikely[word])
        own = tf.range(tf.size(order)) == word
        return number + 1, kept | (own & ~excluded)

    count = tf.math.count_nonzero(is_found, dtype=tf.int32)
    state = (tf.constant(0), tf.zeros_like(is_found))
    _, kept = tf.while_loop(lambda number, _: number < count, add, state)
    return kept


def _scored(
    source: GraphSource, names: tf.Tensor, scores: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns scores float32 [C] and counts int64 [C] of the concepts of a source.

    Args:
        source: detector or classifier.
        names: bool [N, C], whether an object names a concept.
        scores: scores of the objects, float32 [N].
    """
    values = tf.where(names, scores[:, tf.newaxis], 0)
    if source.is_tag:
        # Labels of a classifier are mutually exclusive, so their scores are added.
        total = tf.minimum(tf.reduce_sum(values, axis=0), 1.0)
        is_there = tf.reduce_any(names, axis=0) & (total >= source.min_score)
        return total, tf.cast(is_there, tf.int64)
    return tf.reduce_max(values, axis=0), tf.reduce_sum(tf.cast(names, tf.int64), axis=0)
