"""End-to-end captioner of pixels: a convolutional network, trained or frozen, and a captioner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from models.captioners.base import Captioner, Inputs, Memory, State
from models.layers import ops, pixel_network
from models.layers.box_geometry import box_features, cell_boxes


@keras.saving.register_keras_serializable("r2m")
class PixelCaptioner(Captioner):
    """A captioner over the feature maps of a convolutional network.

    Batch normalization always uses its running statistics, also in training, because batches are
    small. The result for an image thus does not depend on the other images of the batch.

    Shapes: `pixels` float32[B, S, S, 3] in 0..255.

    Example:
        ```python
        network = keras.applications.MobileNetV2(include_top=False, input_shape=(224, 224, 3))
        preprocess = keras.applications.mobilenet_v2.preprocess_input
        captioner = Att2in(vocabulary_size=9_488, feature_size=1_280)
        model = PixelCaptioner(
            captioner=captioner, network=network, preprocess=preprocess, trained_from="all"
        )
        ```
    """

    inputs = Inputs(required=("pixels",))

    def __init__(
        self,
        *,
        captioner: Captioner,
        network: keras.Model,
        preprocess: Callable[[tf.Tensor], tf.Tensor],
        trained_from: str | None,
        average_mirrored: bool = False,
        unit_norm: bool = False,
        use_box: bool = False,
        **kwargs: Any,
    ) -> None:
        """Wraps a captioner.

        Args:
            captioner: a captioner of rows and, if its inputs include them, of their mean (`global`)
                and the boxes of their cells (`boxes`).
            network: float[B, S, S, 3] from `preprocess` -> feature maps [B, gh, gw, D].
            preprocess: float32[B, S, S, 3] in 0..255 -> the input range of the network. The model
                can be saved to a file only with functions of `keras.applications` and functions
                that are registered with Keras.
            trained_from: name of the first layer of the network that is trained, with all layers
                after it; `all` trains every layer, None trains none.
            average_mirrored: whether to average the maps of an image with the maps, mirrored back,
                of its mirror image; not in training.
            unit_norm: whether to divide every cell of the maps by its L2 norm. The mean is computed
                before that, as for stored vectors of images.
            use_box: whether to append the `box_features` of its cell to every row: D + 5.
            **kwargs: arguments of `keras.Model` (name, dtype).

        Raises:
            ValueError: the network has no such layer.
        """
        super().__init__(**kwargs)
        self.captioner, self.network = captioner, network
        self._preprocess = preprocess
        self._average_mirrored, self._unit_norm = average_mirrored, unit_norm
        self._use_box = use_box
        self._trained_from = trained_from
        pixel_network.train_from(network, trained_from)
        self.has_attention = captioner.has_attention
        self.shares_memory = captioner.shares_memory
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Returns the captioner's memory for `pixels` float32[B, S, S, 3] in 0..255."""
        maps = pixel_network.feature_maps(
            self.network,
            self._preprocess,
            inputs["pixels"],
            average_mirrored=self._average_mirrored and not training,
        )
        rows = tf.reshape(maps, [-1, maps.shape[1] * maps.shape[2], maps.shape[3]])
        features = {"regions": rows}
        if "global" in self.captioner.inputs.kinds:
            features["global"] = tf.reduce_mean(rows, axis=1)
        if self._unit_norm:
            features["regions"] = ops.unit_norm(rows)
        boxes = tf.tile(cell_boxes(*maps.shape[1:3])[tf.newaxis], [tf.shape(maps)[0], 1, 1])
        if "boxes" in self.captioner.inputs.kinds:
            features["boxes"] = boxes
        if self._use_box:
            features["regions"] = tf.concat([features["regions"], box_features(boxes)], axis=-1)
        return self.captioner.encode(features, training=training)

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> State:
        """Returns the captioner's state before the first word."""
        return self.captioner.initial_state(memory, max_length)

    def step(
        self, tokens: tf.Tensor, state: State, memory: Memory, training: bool = False
    ) -> tuple[tf.Tensor, State]:
        """Computes a step of the captioner: tokens int32[N] -> hidden float[N, H], state."""
        return self.captioner.step(tokens, state, memory, training=training)

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns the captioner's hidden states float[N, T, H] for given words."""
        return self.captioner.teacher_forced(memory, tokens, lengths, training=training)

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns the captioner's logits: float[N, H] -> float32[N, V]."""
        return self.captioner.logits(hidden)

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The captioner's softmax weights float[V, H] and bias float[V]."""
        return self.captioner.output_layer

    def attention(self, memory: Memory, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the captioner's attention weights float[N, T, gh * gw]."""
        return self.captioner.attention(memory, tokens)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "captioner": keras.saving.serialize_keras_object(self.captioner),
            "network": keras.saving.serialize_keras_object(self.network),
            "preprocess": pixel_network.serialize_preprocess(self._preprocess),
            "trained_from": self._trained_from,
            "average_mirrored": self._average_mirrored,
            "unit_norm": self._unit_norm,
            "use_box": self._use_box,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> PixelCaptioner:
        """Builds a captioner from the result of `get_config`."""
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("captioner", "network")
        }
        preprocess = pixel_network.deserialize_preprocess(config["preprocess"], custom_objects)
        return cls(**{**config, **parts, "preprocess": preprocess})
