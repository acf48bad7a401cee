"""Vectors of images and sentences by a visual-semantic embedding, batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

ENCODED_AT_ONCE = 128


class Encoding:
    """Encodes images and sentences with an embedding, in functions that are traced once."""

    def __init__(self, model: Any, signature: Mapping[str, tf.TensorSpec]) -> None:
        """Stores the model; graphs are traced when they are first used.

        Args:
            model: a `models.vse.VisualSemanticEmbedding`.
            signature: signature of its inputs of images.
        """
        self.size: int = model.size
        self._signature = dict(signature)
        self._images = tf.function(
            lambda inputs: model.encode_images(inputs),
            input_signature=[self._signature],
            autograph=False,
        )
        self._sentences = tf.function(
            lambda tokens, lengths: model.encode_sentences(tokens, lengths),
            input_signature=[
                tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
            ],
            autograph=False,
        )  # fmt: skip

    def images(self, inputs: Mapping[str, tf.Tensor]) -> np.ndarray:
        """Returns the vectors float32[B, D] of a batch; ignores further entries."""
        found: np.ndarray = self._images({name: inputs[name] for name in self._signature}).numpy()
        return found

    def image_batches(
        self, batches: Iterable[Mapping[str, tf.Tensor]]
    ) -> tuple[list[str], np.ndarray]:
        """Returns the names and the vectors float32[N, D] of batches with `image_id`."""
        names: list[str] = []
        vectors = [np.zeros((0, self.size), np.float32)]
        for batch in batches:
            names += [name.decode() for name in batch["image_id"].numpy()]
            vectors.append(self.images(batch))
        return names, np.concatenate(vectors)

    def sentences(
        self, rows: Sequence[Sequence[int]], batch_size: int = ENCODED_AT_ONCE
    ) -> np.ndarray:
        """Returns the vectors float32[N, D] of sentences, in their order.

        Args:
            rows: word ids of each sentence, at least one, with the markers that the model reads.
            batch_size: sentences per batch; sentences of similar length share a batch.
        """
        found = np.zeros((len(rows), self.size), np.float32)
        lengths = np.array([len(row) for row in rows], np.int32)
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(rows), batch_size):
            chosen = order[start : start + batch_size]
            tokens = np.zeros((len(chosen), lengths[chosen].max()), np.int32)
            for place, index in enumerate(chosen):
                tokens[place, : lengths[index]] = rows[index]
            found[chosen] = self._sentences(tokens, lengths[chosen]).numpy()
        return found
