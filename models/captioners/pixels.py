"""A captioner with eyes of its own: from pixels, through a network that may be trained with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from models.captioners.recurrent import Memory, RecurrentCaptioner
from models.layers import ops


class PixelCaptioner(keras.Model):
    """A captioner over the feature maps of a convolutional network.

    Batch normalisation keeps its running statistics: batches are too small and too alike (an
    image's captions come together) for statistics of their own, and rows stay independent.
    """

    def __init__(
        self,
        captioner: RecurrentCaptioner,
        network: keras.Model,
        preprocess: Callable[[tf.Tensor], tf.Tensor],
        *,
        trained_from: str | None,
        average_mirrored: bool = False,
        wants_global: bool,
        unit_norm: bool = False,
        **kwargs: Any,
    ) -> None:
        """Puts the two together.

        Args:
            captioner: of the rows, and perhaps the vector, that the network gives.
            network: float[B, S, S, 3] as `preprocess` gives it -> feature maps [B, gh, gw, D].
            preprocess: float32[B, S, S, 3] in 0..255 -> what the network was trained on.
            trained_from: name of the first layer of the network that is trained, with all behind
                it; `all` trains every layer, None none.
            average_mirrored: outside training, averages the maps of an image and those, turned
                back, of its mirror image.
            wants_global: whether the captioner is shown the mean of the maps too.
            unit_norm: divides every cell of the maps by its L2 norm; their mean is of the maps as
                they are, as the stored vector of an image is.
            **kwargs: of `keras.Model`.

        Raises:
            ValueError: the network has no such layer.
        """
        super().__init__(**kwargs)
        self.captioner, self.network = captioner, network
        self._preprocess, self._wants_global = preprocess, wants_global
        self._average_mirrored, self._unit_norm = average_mirrored, unit_norm
        network.trainable = trained_from is not None
        if trained_from not in (None, "all"):
            names = [layer.name for layer in network.layers]
            if trained_from not in names:
                raise ValueError(
                    f"{network.name} has no layer {trained_from!r}; its last ones: "
                    f"{', '.join(names[-12:])}"
                )
            for layer in network.layers[: names.index(trained_from)]:
                layer.trainable = False
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """`pixels` float32[B, S, S, 3] in 0..255 -> the captioner's memory."""
        pixels = inputs["pixels"]
        count = tf.shape(pixels)[0]
        # A replica, or a part of a batch, may have no images. TensorFlow leaves the gradient of a
        # depthwise convolution's filter uninitialised then; of a picture nobody looks at it is 0.
        padding = [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]]
        some = tf.ensure_shape(tf.pad(pixels, padding), [None, *pixels.shape[1:]])
        maps = self._maps(some)[:count]
        if self._average_mirrored and not training:
            mirrored = self._maps(tf.reverse(some, axis=[2]))[:count]
            maps = (maps + tf.reverse(mirrored, axis=[2])) / 2
        rows = tf.reshape(maps, [-1, maps.shape[1] * maps.shape[2], maps.shape[3]])
        shown = {"regions": rows}
        if self._wants_global:
            shown["global"] = tf.reduce_mean(rows, axis=1)
        if self._unit_norm:
            shown["regions"] = ops.unit_norm(rows)
        return self.captioner.encode(shown, training=training)

    def _maps(self, pixels: tf.Tensor) -> tf.Tensor:
        return self.network(self._preprocess(pixels), training=False)

    def __getattr__(self, name: str) -> Any:
        """All that follows on `encode` is the captioner's."""
        if name in _PASSED_ON:
            return getattr(self.captioner, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


_PASSED_ON = (
    "attended",
    "initial_state",
    "logits",
    "loop_weights",
    "output_layer",
    "step",
    "teacher_forced",
)
