"""Every recurrent captioner, small, with images and words for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models.captioners.att2in import Att2in, Att2in2
from models.captioners.fc import FC
from models.captioners.show_and_tell import LSTM, RNN, AttentionLSTM
from models.captioners.updown import UpDown

V, D, G, L = 30, 6, 5, 4
SIZES: dict[str, Any] = {"units": 8, "word_size": 7}
ATTENTIVE = {**SIZES, "attention_units": 9}
MODELS: dict[str, Any] = {
    "rnn": lambda: RNN(vocabulary_size=V, feature_size=D, grid_cells=L, pool="flatten", **SIZES),
    "lstm": lambda: LSTM(vocabulary_size=V, feature_size=D, grid_cells=L, **SIZES),
    "attention_lstm": lambda: AttentionLSTM(
        vocabulary_size=V, feature_size=D, grid_cells=L, **SIZES
    ),
    "fc": lambda: FC(vocabulary_size=V, feature_size=G, **SIZES),
    "att2in2": lambda: Att2in2(vocabulary_size=V, feature_size=D, **ATTENTIVE),
    "att2in": lambda: Att2in(vocabulary_size=V, feature_size=D, **ATTENTIVE),
    "updown": lambda: UpDown(vocabulary_size=V, feature_size=D, global_size=G, **ATTENTIVE),
    "updown_without_global": lambda: UpDown(vocabulary_size=V, feature_size=D, **ATTENTIVE),
}


def images(batch: int, rows: int = L, seed: int = 0) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(seed)
    return {
        "regions": tf.constant(rng.normal(size=(batch, rows, D)), tf.float32),
        "global": tf.constant(rng.normal(size=(batch, G)), tf.float32),
    }


def build(name: str) -> tuple[Any, dict[str, tf.Tensor]]:
    keras.utils.set_random_seed(0)
    inputs = images(3)
    if name == "updown_without_global":
        del inputs["global"]
    return MODELS[name](), inputs


@contextlib.contextmanager
def computing_in(policy: str) -> Iterator[None]:
    """Layers made within compute as this Keras policy says."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


TOKENS = tf.constant(np.random.default_rng(3).integers(0, V, (3, 6)), tf.int32)
