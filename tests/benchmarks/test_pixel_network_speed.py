"""Images per second of a network of pixels, in R2M's implementation and in Keras'.

    pytest tests/benchmarks/test_pixel_network_speed.py -s

Measures a training step of EfficientNetLite2 from its fifth block on, and its feature maps, at 260
pixels with random weights, in float32 and in mixed bfloat16. R2M folds batch normalization into
convolutions and has custom gradients of depthwise convolutions. Times are CPU times, which other
processes hardly affect. TF_ENABLE_ONEDNN_OPTS=0 and 1 show the effect of oneDNN.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.layers.folded_network import fold_batch_normalization
from models.layers.pixel_network import train_from
from r2m.configuration.settings import precision
from r2m.configuration.training_fields import PRECISIONS
from tfrecords.pictures.efficientnet_lite import build_efficientnet_lite

IMAGES, SIZE, TURNS = 16, 260, 3


def _step(model: Any, trained: Any) -> Callable[[tf.Tensor], Any]:
    @tf.function
    def step(images: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.cast(model(images, training=False), tf.float32) ** 2)
        return tape.gradient(loss, trained)

    return step


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_training_and_feature_maps(dtype: str) -> None:
    with precision(dtype):
        network = build_efficientnet_lite("EfficientNetLite2", image_size=SIZE, include_top=False)
    train_from(network, "block5a_expand_conv")
    models = {"Keras": network, "R2M": fold_batch_normalization(network)}
    images = tf.random.stateless_normal((IMAGES, SIZE, SIZE, 3), (1, 2))
    jobs = {}
    for name, model in models.items():
        jobs["training", name] = _step(model, network.trainable_variables)
        jobs["maps", name] = tf.function(lambda x, model=model: model(x, training=False))
    seconds: dict[Any, list[float]] = {key: [] for key in jobs}
    for turn in range(TURNS + 1):
        for key, job in jobs.items():
            start = time.process_time()
            job(images)
            if turn:  # the first one compiles
                seconds[key].append(time.process_time() - start)
    print(f"\n{dtype}, TF_ENABLE_ONEDNN_OPTS={os.environ.get('TF_ENABLE_ONEDNN_OPTS')}")
    rates = {key: IMAGES / float(np.median(own)) for key, own in seconds.items()}
    for job in ("training", "maps"):
        keras, own = (rates[job, name] for name in models)
        print(f"{job}: Keras {keras:.1f}, R2M {own:.1f} images/s/core, {own / keras:.2f}")
    assert all(rate > 0 for rate in rates.values())
