"""Beam-3 captioning: all images in one graph loop, against one image at a time in Python.

pytest tests/benchmarks/test_decoding_speed.py
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.decoding.search import DecodingOptions, decode
from models.r2m import R2M
from tests.models.decoding import reference_search

# The network of configs/r2m/flickr8k.py with its vocabulary.
VOCABULARY, UNITS, IMAGES, LENGTH = 3_343, 256, 256, 20


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = R2M(vocabulary_size=VOCABULARY, units=UNITS)
    # Sharper than at initialization, so that captions end after about ten words, as after training.
    model.softmax_weights.assign(model.softmax_weights * 40.0)
    bias = np.zeros(VOCABULARY, "f")
    bias[2] = 5.0
    model.softmax_bias.assign(bias)
    return model


def _inputs(count):
    random = np.random.RandomState(0)
    return {
        "concepts": tf.constant(random.randint(3, VOCABULARY, (count, 4)), tf.int32),
        "concept_lengths": tf.constant(random.randint(1, 5, count), tf.int32),
    }


def _batched(model):
    options = DecodingOptions(beam_size=3, max_length=LENGTH)

    @tf.function
    def caption(inputs):
        return decode(model, model.encode(inputs), options)

    return caption


def _one_by_one(model, inputs, images):
    """Captions as upstream: one image at a time, and one (compiled) step call per hypothesis."""

    @tf.function
    def encode(concepts, lengths):
        return model.encode({"concepts": concepts, "concept_lengths": lengths})

    @tf.function
    def one_step(token, state, memory):
        hidden, state = model.step(token, state, memory)
        return model.logits(hidden)[0], state

    found = []
    for image in range(images):
        memory = encode(
            inputs["concepts"][image : image + 1], inputs["concept_lengths"][image : image + 1]
        )

        def step(token, state, memory=memory):
            logits, state = one_step(tf.constant([token]), state, memory)
            return logits.numpy(), state

        found.append(
            reference_search.search(
                step, model.initial_state(memory, LENGTH), beam_size=3, max_length=LENGTH
            )[0][0]
        )
    return found


@pytest.mark.benchmark(group="beam-3 captioning")
@pytest.mark.parametrize("way", ["batched in the graph", "one by one in Python"])
def test_captioning(benchmark, model, way):
    inputs = _inputs(IMAGES)
    if way == "batched in the graph":
        caption = _batched(model)
        caption(inputs)
        count = IMAGES
        benchmark.pedantic(lambda: caption(inputs).scores.numpy(), rounds=5)
    else:
        count = 4
        _one_by_one(model, inputs, 1)
        benchmark.pedantic(lambda: _one_by_one(model, inputs, count), rounds=3)
    benchmark.extra_info["images_per_second"] = count / benchmark.stats["mean"]


def test_both_ways_find_the_same_captions(model):
    inputs = _inputs(3)
    found = _batched(model)(inputs)
    lengths = found.lengths[:, 0].numpy()
    ours = [
        row[:length].tolist()
        for row, length in zip(found.tokens[:, 0].numpy(), lengths, strict=True)
    ]
    assert ours == _one_by_one(model, inputs, 3)
