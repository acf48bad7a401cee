"""Captioner with random logits, which runs fast."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.captioners.base import Captioner
from models.layers import image_rows


class RandomModel(Captioner):
    """Logits from a random table, indexed by (image, last word, state); the state hashes words."""

    shares_memory = True

    def __init__(self, seed: int, batch: int, vocabulary: int, sharpness: float):
        super().__init__()
        random = np.random.RandomState(seed)
        self.table = random.randn(batch, 7, vocabulary, vocabulary).astype(np.float32) * sharpness
        self.batch = batch

    def initial_state(self, memory, max_length):
        return {"mix": tf.zeros(tf.shape(memory["image"])[0], tf.int32)}

    def step(self, tokens, state, memory, training=False):
        mix = (state["mix"] * 3 + tokens) % 7
        image = image_rows.repeat(memory["image"], tf.shape(tokens)[0])
        index = tf.stack([image, mix, tokens], -1)
        return tf.gather_nd(self.table, index), {"mix": mix}

    def logits(self, hidden):
        return hidden

    def step_one(self, image):
        def step(token, mix):
            mix = (mix * 3 + token) % 7
            return self.table[image, mix, token], mix

        return step
