"""Compact weights: slightly different scores, and much smaller files."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers.folded_network import fold_batch_normalization
from r2m.serving import compact_weights as module
from r2m.serving.caption_graph import CaptionGraph
from r2m.serving.compact_weights import WeightsDtype, compact_weights
from r2m.serving.saved_model import write_saved_model
from r2m.serving.signatures import ServedModel, Tensors, make_signature
from tests.models.small_captioners import sample
from tests.serving.test_caption_graph import run_of
from tfrecords.pictures.batch_decoding import OK

TOLERANCES: dict[WeightsDtype, float] = {"float16": 1e-3, "bfloat16": 2e-2, "int8": 5e-2}


def test_scores_change_a_little_and_matrices_are_stored_compactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_SIZE", 1)
    run, inputs = run_of("att2in2"), sample("att2in2").inputs(3)
    graph = CaptionGraph(run, 1)

    def caption(regions: tf.Tensor, region_lengths: tf.Tensor) -> Tensors:
        found = {"regions": regions, "region_lengths": region_lengths}
        return graph.caption(found, tf.fill([tf.shape(regions)[0]], OK))

    specs = run.loaded.signature
    example = {name: np.zeros(spec.shape[1:]) for name, spec in specs.items()}
    own = make_signature(caption, specs, example)
    served = ServedModel("captioner", {"one": own, "other": own}, {}, networks=(run.model,))
    assert compact_weights(served, "float32") is served
    tensors = inputs["regions"], inputs["region_lengths"]
    expected = own.function.python_function(*tensors)["scores"].numpy()
    for dtype, tolerance in TOLERANCES.items():
        compact = compact_weights(served, dtype)
        function = compact.signatures["other"].function
        assert function is compact.signatures["one"].function
        found = function.python_function(*tensors)["scores"].numpy()
        np.testing.assert_allclose(found, expected, atol=tolerance)
        assert not np.array_equal(found, expected)
    # The last one, saved.
    write_saved_model(compact, tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    saved = loaded.signatures["one"](**inputs)["scores"].numpy()
    np.testing.assert_allclose(saved, found, atol=1e-5)
    assert {v.dtype.name for v in loaded.weights_in_use if v.shape.rank > 1} == {"int8"}


def test_a_network_that_is_folded_in_the_trace_is_stored_once(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(64, 3, use_bias=False)(inputs)
    network = keras.Model(inputs, keras.layers.BatchNormalization()(maps))

    def features(pixels: tf.Tensor) -> Tensors:
        return {"maps": fold_batch_normalization(network)(pixels, training=False)}

    specs = {"pixels": tf.TensorSpec([None, 8, 8, 3])}
    own = make_signature(features, specs, {"pixels": np.zeros((8, 8, 3))})
    served = ServedModel("captioner", {"one": own}, {}, networks=(network,))
    write_saved_model(compact_weights(served, "float16"), tmp_path)
    loaded = tf.saved_model.load(str(tmp_path))
    stored = [v.dtype.name for v in loaded.weights_in_use if v.shape.rank > 1]
    assert stored == ["float16"]
    pixels = tf.random.stateless_uniform([2, 8, 8, 3], [1, 2])
    found = loaded.signatures["one"](pixels=pixels)["maps"]
    np.testing.assert_allclose(found, network(pixels, training=False), atol=1e-2)
