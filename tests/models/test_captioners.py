"""Harness checks for every captioner, and for two captioners of plain Keras layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.captioners import registry
from models.captioners.base import Captioner, Inputs
from models.captioners.recurrent import RecurrentCaptioner
from models.captioners.registry import (
    build_captioner,
    captioner_class,
    captioner_names,
    register_captioner,
)
from models.decoding.sampling import sample_captions
from models.decoding.scheduled_sampling import sampled_inputs
from models.decoding.search import DecodingOptions, decode
from models.layers.cells import Cell
from models.layers.words import WordInput, WordOutput
from tests.models.captioner_harness import CHECKS, built, cross_entropy
from tests.models.small_captioners import SAMPLES, SMALL, TOKENS, G, Sample, V, image_inputs, sample


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("check", CHECKS)
def test_a_captioner(name: str, check: str, tmp_path: Path) -> None:
    CHECKS[check](sample(name), tmp_path)


def test_all_captioners_are_checked() -> None:
    assert set(captioner_names()) == set(SMALL)


@keras.saving.register_keras_serializable("tests")
class Plain(Captioner):
    """A captioner that is written with plain Keras layers only."""

    inputs = Inputs(required=("global",))

    def __init__(
        self, *, vocabulary_size: int, feature_size: int, units: int = 8, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.settings = {"vocabulary_size": vocabulary_size, "feature_size": feature_size}
        self.units = units
        policy = self.dtype_policy
        self.embedding = keras.layers.Embedding(vocabulary_size, units, dtype=policy)
        self.image_map = keras.layers.Dense(units, dtype=policy)
        self.word_map = keras.layers.Dense(units, "tanh", dtype=policy)
        self.cell = keras.layers.GRUCell(units, dtype=policy)
        self.dropout = keras.layers.Dropout(0.5, dtype=policy)
        self.word_output = keras.layers.Dense(vocabulary_size, dtype=policy)
        self.scale = self.add_weight(name="scale", shape=(units,), initializer="ones")
        self.embedding.build((None,))
        self.image_map.build((None, feature_size))
        for layer in (self.word_map, self.cell, self.word_output):
            layer.build((None, units))
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Any:
        image = self.dropout(self.image_map(inputs["global"]), training=training)
        return {"image": image, "sizes": {"positive": inputs["global"][:, 0] > 0}}

    def initial_state(self, memory: Any, max_length: Any) -> Any:
        """Returns a recurrent state, and a cache of words with a position, as in transformers."""
        batch = tf.shape(memory["image"])[0]
        return {
            "hidden": tf.zeros_like(memory["image"]),
            "words": tf.zeros([batch, max_length, self.units], self.compute_dtype),
            "position": tf.zeros([batch], tf.int32),
        }

    def step(self, tokens: Any, state: Any, memory: Any, training: bool = False) -> Any:
        word = self.word_map(self.word_map(self.embedding(tokens)) + memory["image"])
        word = tf.where(memory["sizes"]["positive"][:, None], word, -word)
        position = state["position"]
        places = tf.stack([tf.range(tf.shape(tokens)[0]), position], axis=1)
        words = tf.tensor_scatter_nd_update(state["words"], places, word)
        hidden, (new,) = self.cell(tf.reduce_sum(words, axis=1), [state["hidden"]])
        scaled = hidden * tf.cast(self.scale, hidden.dtype)
        state = {"hidden": new, "words": words, "position": position + 1}
        return self.dropout(scaled, training=training), state

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.cast(self.word_output(hidden), tf.float32)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings, "units": self.units}


@keras.saving.register_keras_serializable("tests")
class PlainAdvance(RecurrentCaptioner):
    """A `RecurrentCaptioner` with plain Keras layers in its step."""

    inputs = Inputs(required=("global",))

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        policy = self.dtype_policy
        self.word_input = WordInput(vocabulary_size=V, units=8, initializer="normal", dtype=policy)
        self.image_map = keras.layers.Dense(8, dtype=policy)
        self.recurrent_map = keras.layers.Dense(8, dtype=policy)
        self.dropout = keras.layers.Dropout(0.3, dtype=policy)
        self.cell = Cell(kind="lstm", units=8, dtype=policy)
        self.output_dropout = keras.layers.Dropout(0.5, dtype=policy)
        self.word_output = WordOutput(vocabulary_size=V, units=8, dtype=policy)
        self.image_map.build((None, G))
        self.recurrent_map.build((None, 8))
        self.cell.build((None, 8))
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Any:
        return {"image": self.image_map(inputs["global"])}

    def initial_state(self, memory: Any, max_length: Any) -> Any:
        return self.cell.initial_state(tf.shape(memory["image"])[0])

    def advance(self, word: Any, state: Any, memory: Any) -> Any:
        hidden = self.dropout(self.recurrent_map(state[0]), training=False)
        state = self.cell.step(word, (hidden, state[1]))
        state = self.cell.step(word, state)  # uses each layer twice
        return (
            state[0]
            + tf.repeat(
                memory["image"], tf.shape(word)[0] // tf.maximum(tf.shape(memory["image"])[0], 1), 0
            ),
            state,
            None,
        )


PLAIN = {
    "Plain": Sample(
        lambda **kwargs: Plain(vocabulary_size=V, feature_size=G, **kwargs),
        image_inputs(("global",)),
    ),
    "PlainAdvance": Sample(PlainAdvance, image_inputs(("global",))),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("check", CHECKS)
def test_a_captioner_of_plain_layers(name: str, check: str, tmp_path: Path) -> None:
    CHECKS[check](PLAIN[name], tmp_path)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_layers_sample(name: str) -> None:
    model, inputs = built(PLAIN[name]), PLAIN[name].inputs(3)
    memory = model.encode(inputs)
    draws = tf.random.stateless_uniform([6, 5], [0, 1])
    tokens, lengths = tf.function(sample_captions)(
        model, memory, draws, suppression=tf.zeros([V]), start_id=1, end_id=2
    )
    assert tokens.shape == (6, 5) and (lengths.numpy() > 0).all()
    fed = sampled_inputs(
        model, memory, TOKENS, probability=tf.constant(1.0),
        choices=tf.zeros([3, 6]), draws=tf.random.stateless_uniform([3, 6], [0, 1]),
    )  # fmt: skip
    assert fed.shape == (3, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "words": state["words"][:, 1:]}, r"found float32.*, 4, 8.*, 5, 8"),
        (lambda state: {**state, "position": state["hidden"]}, r"found float32.*expected int32"),
        (lambda state: state["hidden"], r"has another structure after a step.*allocate caches"),
    ],
)
def test_a_state_keeps_its_form(change: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = built(PLAIN["Plain"]), PLAIN["Plain"].inputs(3)
    step = model.step

    def changed(*arguments: Any, **kwargs: Any) -> Any:
        hidden, state = step(*arguments, **kwargs)
        return hidden, change(state)

    monkeypatch.setattr(model, "step", changed)
    memory, options = model.encode(inputs), DecodingOptions(max_length=5)
    for run in (
        lambda: model.teacher_forced(memory, TOKENS[:, :5]),
        lambda: decode(model, memory, options),
    ):
        with pytest.raises(ValueError, match=message):
            tf.function(run, autograph=False)()


def test_a_captioner_may_have_no_state() -> None:
    class Bigrams(Plain):
        def initial_state(self, memory: Any, max_length: Any) -> Any:
            return ()

        def step(self, tokens: Any, state: Any, memory: Any, training: bool = False) -> Any:
            return self.embedding(tokens) + memory["image"], state

    model, inputs = Bigrams(vocabulary_size=V, feature_size=G), PLAIN["Plain"].inputs(3)
    memory = model.encode(inputs)
    hidden = model.teacher_forced(memory, TOKENS)
    np.testing.assert_allclose(
        hidden, model.embedding(TOKENS) + memory["image"][:, None], rtol=1e-6
    )
    assert decode(model, memory, DecodingOptions(max_length=3)).tokens.shape == (3, 3, 3)


@pytest.mark.parametrize("name", PLAIN)
def test_two_replicas_have_the_gradients_of_one(name: str) -> None:
    chosen = PLAIN[name]
    inputs, tokens = chosen.inputs(4), tf.concat([TOKENS, TOKENS[:1]], axis=0)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        keras.utils.set_random_seed(0)
        model = chosen.build()
    halves = [({key: x[i : i + 2] for key, x in inputs.items()}, tokens[i : i + 2]) for i in (0, 2)]

    def gradients(inputs: dict[str, tf.Tensor], tokens: tf.Tensor) -> list[tf.Tensor]:
        variables = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = cross_entropy(model, inputs, tokens)
        return [tf.convert_to_tensor(x) for x in tape.gradient(loss, variables)]

    given = strategy.experimental_distribute_values_from_function(
        lambda context: halves[context.replica_id_in_sync_group]
    )

    @tf.function(autograph=False)
    def run(given: Any) -> Any:
        return strategy.run(lambda pair: gradients(*pair), (given,))

    found = run(given)
    alone = [gradients(*half) for half in halves]
    for replica, wanted in enumerate(alone):
        for ours, theirs in zip(found, wanted, strict=True):
            local = strategy.experimental_local_results(ours)[replica]
            assert abs(local - theirs).numpy().max() < 1e-6


def test_a_captioner_is_registered_by_its_decorator(monkeypatch: pytest.MonkeyPatch) -> None:
    captioner_names()
    monkeypatch.setattr(registry, "_CLASSES", dict(registry._CLASSES))
    register_captioner("plain")(Plain)
    assert captioner_class("plain") is Plain and "plain" in captioner_names()
    sizes = {"vocabulary_size": 9, "region_size": None, "grid_cells": None}
    model = build_captioner("plain", global_size=5, units=4, word_size=None, **sizes)
    assert model.name == "plain" and model.image_map.kernel.shape == (5, 4)
    with pytest.raises(ValueError, match="'plain' needs global features"):
        build_captioner("plain", global_size=None, **sizes)
    with pytest.raises(ValueError, match=r"'plain' has no setting word_size .*only att2in, .*rnn"):
        build_captioner("plain", global_size=5, word_size=4, **sizes)
    with pytest.raises(ValueError, match=r"unknown captioner 'plane'; did you mean 'plain'\? kno"):
        captioner_class("plane")
    with pytest.raises(ValueError, match=r"name 'plain' of .*PlainAdvance is taken by .*Plain: "):
        register_captioner("plain")(PlainAdvance)
