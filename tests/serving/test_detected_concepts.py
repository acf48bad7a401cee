"""Concepts of detectors inside a graph are equal to those of the Python implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf

import r2m
from r2m.inference.concept_rules import ConceptRules
from r2m.serving import compact_weights
from r2m.serving.detected_concepts import DetectedConcepts, GraphSource, open_sources
from r2m.serving.export import export_run
from r2m.serving.saved_model import write_saved_model as write_served
from r2m.serving.signatures import ServedModel, example_image, make_signature
from tests.tfrecords.detectors.detector_toys import (
    bright_image,
    write_frozen_graph,
    write_saved_model,
)
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import END, PAD, START, UNK, Vocabulary
from tfrecords.detectors import classifier
from tfrecords.formats.detections.image_concepts import image_concepts
from tfrecords.formats.detections.reading import DetectionSource, ImageDetections
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.language.unlikely_pairs import NO_PAIRS, UnlikelyPairs, from_saved
from tfrecords.pictures.backbones import Network
from tfrecords.pictures.batch_decoding import map_images

WORDS = ("ball", "boat", "cat", "dog", "moon", "sea")
ALL = (PAD, START, END, *WORDS, UNK)
VOCABULARY = Vocabulary(ALL, (1,) * len(ALL))
CLASSES: dict[str, tuple[str, ...]] = {
    "hound": ("dog",), "wolf": ("dog",), "kitten": ("cat",), "sailboat": ("boat", "sea"),
    "sky": (), "ball": ("ball",), "moon": ("moon",),
}  # fmt: skip
DICTIONARY = ConceptDictionary(WORDS, {word: (word,) for word in WORDS}, frozenset(), CLASSES)
# Label maps of two sources: class id -> name.
NAMES = ({1: "hound", 3: "kitten", 4: "sailboat", 9: "sky"}, dict(enumerate(CLASSES)))


def rules(
    order: Literal["score", "class_id"] = "score", unlikely: UnlikelyPairs = NO_PAIRS
) -> ConceptRules:
    return ConceptRules(DICTIONARY, frozenset(WORDS) - {"moon"}, order, [], unlikely)


@pytest.mark.parametrize("order", ["score", "class_id"])
@pytest.mark.parametrize("saved", [{}, {"ball": "dog", "boat": "dog", "cat": "dog sea"}])
@pytest.mark.parametrize("seed", range(6))
def test_concepts_are_those_that_python_chooses(
    order: Literal["score", "class_id"], saved: dict[str, str], seed: int
) -> None:
    unlikely = from_saved(saved)
    rng = np.random.default_rng(seed)
    found, sources, parts = [], [], []
    for number, (names, is_tag) in enumerate(zip(NAMES, (False, True), strict=True)):
        count = int(rng.integers(0, 9))
        ids = rng.choice(list(names), count).astype(np.int32)
        # Some scores are equal: ties are broken by name.
        scores = rng.choice([0.2, 0.35, 0.5, 0.8], count).astype(np.float32)
        source = DetectionSource(path=Path(f"{number}.json"), weight=1.0 + number / 2)
        sources.append(source)
        kept = is_tag | (scores >= source.min_score)
        parts.append((number, is_tag, ids[kept], scores[kept]))
        # An invalid object, and a class that is not in the label map.
        given = tf.constant([*ids, 1, 77]), tf.constant([*scores, 0.0, 0.9], tf.float32)
        weight, least = source.weight, source.min_score
        found.append(GraphSource(lambda _, g=given: g, names, is_tag, least, weight, None))
    chooser = DetectedConcepts(rules(order, unlikely), VOCABULARY, found, max_concepts=3)
    places, counts, scores = (x.numpy() for x in chooser(tf.zeros([2, 2, 3], tf.uint8)))
    expected = image_concepts(
        merged(parts), DICTIONARY, sources=sources, max_concepts=3, order=order,
        allowed=rules().allowed, unlikely=unlikely,
    )  # fmt: skip
    is_there = places >= 0
    words = [word.decode() for word in chooser.words(tf.constant(places)).numpy()[is_there]]
    assert words == [concept.word for concept in expected]
    assert counts[is_there].tolist() == [concept.count for concept in expected]
    np.testing.assert_allclose(scores[is_there], [concept.score for concept in expected], rtol=1e-6)
    ids = chooser.vocabulary_ids(tf.constant(places)).numpy()[is_there].tolist()
    assert ids == [VOCABULARY.id_of(word) for word in words]


def merged(parts: list[Any]) -> ImageDetections:
    """Returns the detections of an image from all sources."""
    counts = [len(ids) for _, _, ids, _ in parts]
    ids = np.concatenate([ids for _, _, ids, _ in parts]).astype(np.int64)
    owners = np.repeat([number for number, *_ in parts], counts)
    return ImageDetections(
        boxes=np.tile(np.array([0, 0, 1, 1], np.float32), (len(ids), 1)),
        class_ids=ids,
        class_names=tuple(NAMES[own][number] for own, number in zip(owners, ids, strict=True)),
        scores=np.concatenate([scores for *_, scores in parts]),
        source_index=owners,
        is_tag=np.repeat([is_tag for _, is_tag, *_ in parts], counts),
        sizes=dict.fromkeys(range(len(parts)), (0, 0)),
    )


def test_r2m_captions_images_with_its_detectors_in_the_graph(
    old_runs: Path, tmp_path: Path
) -> None:
    run = old_runs / "runs/r2m/tri"
    (tmp_path / "labels.txt").write_text("moon\nboat\n")
    (tmp_path / "others.txt").write_text("flower\nboat\n")
    frozen = write_frozen_graph(tmp_path / "graph.pb")
    saved = write_saved_model(tmp_path / "detector", batch=None)
    exported = export_run(
        run,
        tmp_path / "export",
        captions=2,
        detectors=[
            f"frozen_graph:{frozen}+{tmp_path / 'labels.txt'}",
            f"saved_model:{saved}+{tmp_path / 'others.txt'},0.6,2.0",
        ],
    )
    assert exported.left_out.keys() == {"attention"}
    model = tf.saved_model.load(str(exported.folder))
    bright = bright_image(30, 40, (5, 6, 20, 30))
    # The detector fails on images with two rows of pixels.
    low = bright_image(2, 40, (0, 0, 1, 20))
    images = [tf.io.encode_png(image).numpy() for image in (bright, low)]
    found = model.signatures["serving_default"](images=tf.constant([images[0], b"", images[1]]))
    status = [text.decode() for text in found["status"].numpy()]
    assert status[0] == "ok" and status[1].startswith("empty") and "detector fails" in status[2]
    # Class 1 with a score of 0.75 and class 2 with 0.5, below the second detector's threshold.
    assert found["concepts"].numpy()[0].tolist() == [b"flower", b"moon", b"boat"]
    scores = found["concept_scores"].numpy()[0]
    np.testing.assert_allclose(scores, [1.5, 0.75, 0.5], rtol=1e-6)
    (own,) = r2m.load(run).caption_concepts([["flower", "moon", "boat"]])
    texts = [own.text, own.alternatives[0].text]
    assert [text.decode() for text in found["captions"].numpy()[0]] == texts
    assert found["captions"].numpy()[1:].tolist() == [[b"", b""]] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keras_hub:dfine+labels.txt", "a kind that can be in a graph: frozen_graph, saved_model"),
        ("frozen_graph:graph.pb", "the label map is missing"),
        ("frozen_graph:no.pb+labels.txt", "cannot read the frozen graph no.pb"),
    ],
)
def test_what_cannot_be_in_the_graph_is_named(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("dog\n")
    with pytest.raises(InputError, match=message):
        open_sources([text], rules())
    trained = rules()._replace(detections=[{"file": "a.json", "min_score": 0.3, "weight": 1.0}])
    with pytest.raises(InputError, match=r"2 --detector for the 1 files .*a\.json"):
        open_sources([text, text], trained)


def test_labels_of_a_classifier_are_tags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, "softmax")]
    network = keras.Sequential([keras.Input((None, None, 3)), *layers])
    layers[1].set_weights([np.zeros((3, 3)), np.array([1.0, 0.9, -9.0])])
    built = Network(network, lambda pixels: pixels, (3,))
    monkeypatch.setattr(classifier, "build_network", lambda options: built)
    (tmp_path / "labels.txt").write_text("hound\nwolf\nkitten\n")
    text = f"classifier:EfficientNetLite0+{tmp_path / 'labels.txt'},0.6,2"
    (source,) = open_sources([text], rules())
    assert source.is_tag and source.min_score == 0.6
    chooser = DetectedConcepts(rules(), VOCABULARY, [source], max_concepts=3)
    places, counts, scores = chooser(tf.zeros([4, 4, 3], tf.uint8))
    # Neither hound nor wolf reaches 0.6 alone, but both together do.
    assert chooser.words(places).numpy()[-1] == b"dog" and int(counts[-1]) == 1
    assert float(scores[-1]) == pytest.approx(2.0, abs=1e-3)
    assert places.numpy()[:-1].max(initial=-1) == -1
    # In a SavedModel, which owns the weights.
    spec = tf.TensorSpec([chooser.most], tf.float32)

    def scores_of(images: tf.Tensor) -> dict[str, tf.Tensor]:
        found, status = map_images(images, lambda image: [chooser(image)[2]], [spec], [0])
        return {"scores": found, "status": status}

    images = {"images": tf.TensorSpec([None], tf.string)}
    signature = make_signature(scores_of, images, {"images": example_image()})
    served = ServedModel("r2m", {"scores": signature}, {}, networks=(source.network,))
    monkeypatch.setattr(compact_weights, "_LEAST_SIZE", 1)
    write_served(compact_weights.compact_weights(served, "float16"), tmp_path / "saved")
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    saved = loaded.signatures["scores"](images=tf.constant([example_image(), b""]))
    np.testing.assert_allclose(saved["scores"][:, -1], [2.0, 0.0], atol=1e-3)
    assert [v.dtype.name for v in loaded.weights_in_use if v.shape.rank == 2] == ["float16"]
    (tmp_path / "labels.txt").write_text("hound\nwolf\n")
    with pytest.raises(InputError, match=r"has 2 classes, but EfficientNetLite0 outputs \(3,\)"):
        open_sources([text], rules())
