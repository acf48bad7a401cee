"""Every captioner gives the same captions after saving and loading."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.decoding.options import DecodingOptions
from r2m.evaluation.confidence import Calibration
from r2m.inference.captioning import Captioning
from r2m.serving.caption_graph import CaptionGraph, SentenceWriter, unspaced_ids
from r2m.serving.portable_runtime import join_words
from r2m.serving.saved_model import write_saved_model
from r2m.serving.signatures import ServedModel, Tensors, finite_or_fault, make_signature
from tests.models.small_captioners import SMALL, V, sample
from tfrecords.core.vocabulary import END, PAD, START, UNK, Vocabulary

CAPTIONS, IMAGES = 2, 3
SUFFIX = "_input"
WORDS = (PAD, START, END, *(f"word{number}" for number in range(V - 4)), UNK)
VOCABULARY = Vocabulary(WORDS, (1,) * V)
SEARCH = DecodingOptions(beam_size=2, max_length=4, returned=1)
NAMES = (*SMALL, "r2m", "pixels", "ensemble")


def run_of(name: str) -> Any:
    """Returns the attributes of a run that `CaptionGraph` reads, for a small captioner."""
    keras.utils.set_random_seed(1)
    own = sample(name)
    model, inputs = own.build(), own.inputs(IMAGES)
    signature = {
        key: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype)
        for key, tensor in inputs.items()
    }
    captioning = Captioning(model, VOCABULARY, SEARCH, signature)
    return SimpleNamespace(
        model=model,
        captioning=captioning,
        loaded=SimpleNamespace(signature=signature),
        calibration=None,
        vocabulary=VOCABULARY,
    )


def suffixed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Renames inputs to valid argument names, because `global` is a keyword of Python."""
    return {f"{name}{SUFFIX}": value for name, value in inputs.items()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Any]:
    """Runs by name, and the signatures of all runs in one SavedModel."""
    runs = {name: run_of(name) for name in NAMES}
    signatures = {}
    for name, run in runs.items():
        graph = CaptionGraph(run, CAPTIONS)

        def caption(graph: CaptionGraph = graph, **inputs: tf.Tensor) -> Tensors:
            own = {key.removesuffix(SUFFIX): tensor for key, tensor in inputs.items()}
            found, status = finite_or_fault(own)
            return graph.caption(found, status)

        specs = suffixed(run.loaded.signature)
        example = {key: np.zeros(spec.shape[1:]) for key, spec in specs.items()}
        signatures[name] = make_signature(caption, specs, example)
    folder = tmp_path_factory.mktemp("served")
    write_saved_model(ServedModel("captioner", signatures, {}), folder)
    return runs, tf.saved_model.load(str(folder)).signatures


@pytest.mark.parametrize("name", NAMES)
def test_saved_captions_are_those_of_the_process_that_trained(
    name: str, served: tuple[dict[str, Any], Any]
) -> None:
    runs, signatures = served
    inputs = sample(name).inputs(IMAGES)
    found = {key: tensor.numpy() for key, tensor in signatures[name](**suffixed(inputs)).items()}
    # Avoids tracing each search a second time.
    tf.config.run_functions_eagerly(True)
    try:
        expected = runs[name].captioning.returning(CAPTIONS).hypotheses(inputs)
    finally:
        tf.config.run_functions_eagerly(False)
    assert found["status"].tolist() == [b"ok"] * IMAGES
    assert found["captions"].shape == (IMAGES, CAPTIONS)
    for row, own in enumerate(expected):
        texts = [one.caption.encode() for one in own]
        assert found["captions"][row].tolist() == texts and any(texts)
        for output, field in (("scores", "score"), ("log_probabilities", "log_probability")):
            expected_numbers = [getattr(one, field) for one in own]
            np.testing.assert_allclose(found[output][row], expected_numbers, atol=1e-5)
    assert np.isnan(found["confidences"]).all()


def test_an_item_that_is_not_finite_spoils_no_other(served: tuple[dict[str, Any], Any]) -> None:
    _, signatures = served
    inputs = {name: tensor.numpy() for name, tensor in sample("updown").inputs(IMAGES).items()}
    caption = signatures["updown"]
    good = caption(**suffixed({name: tf.constant(x) for name, x in inputs.items()}))
    inputs["global"] = inputs["global"].copy()
    inputs["global"][1, 0] = np.nan
    found = caption(**suffixed({name: tf.constant(x) for name, x in inputs.items()}))
    status = found["status"].numpy().tolist()
    assert status == [b"ok", b"not_finite: global contains infinities or NaN", b"ok"]
    kept = [0, 2]
    assert (found["captions"].numpy()[kept] == good["captions"].numpy()[kept]).all()
    assert found["captions"].numpy()[1].tolist() == [b"", b""]
    assert np.isnan(found["scores"].numpy()[1]).all()


@pytest.mark.parametrize("segmenter", ["words", "characters"])
def test_sentences_are_written_as_the_vocabulary_decodes_them(segmenter: str) -> None:
    words = (PAD, START, END, "a", "狗", "在", "tv", "跑", UNK)
    vocabulary = Vocabulary(words, (1,) * len(words), segmenter)
    rows = [[3, 4, 5, 6, 2, 0], [6, 3, 2, 0, 0, 0], [4, 5, 7, 6, 3, 8], [2, 0, 0, 0, 0, 0]]
    found = SentenceWriter(vocabulary)(tf.constant([rows]))[0].numpy().tolist()
    expected = [vocabulary.decode(row) for row in rows]
    assert [text.decode() for text in found] == expected
    # The loop around two graphs, which does not use TensorFlow.
    unspaced = unspaced_ids(vocabulary)
    ids = [[number for number in row if number > 2] for row in rows]
    assert [join_words(own, words, unspaced) for own in ids] == expected


def test_names_cover_all_kinds_of_input() -> None:
    kinds = {kind for name in NAMES for kind in sample(name).inputs(1)}
    assert kinds >= {"global", "regions", "region_lengths", "boxes", "concepts", "pixels"}


def test_confidences_are_those_of_the_calibration() -> None:
    run = run_of("fc")
    calibration = Calibration(intercept=2.0, slope=1.5, threshold=0.5, base_rate=0.4, images=100)
    run.calibration = SimpleNamespace(calibration=calibration)
    graph = CaptionGraph(run, CAPTIONS)
    assert not graph.notes
    inputs = sample("fc").inputs(IMAGES)
    status = tf.constant(["ok", "empty: nothing", "ok"])
    found = {name: tensor.numpy() for name, tensor in graph.caption(inputs, status).items()}
    for row, own in enumerate(run.captioning.returning(CAPTIONS).hypotheses(inputs)):
        expected = [calibration(one.log_probability, one.length) for one in own]
        if row == 1:
            expected = [np.nan] * CAPTIONS
        np.testing.assert_allclose(found["confidences"][row], expected, rtol=1e-5)
