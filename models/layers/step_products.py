"""Products of the `Linear` layers of a step: recorded, computed, and replayed for gradients.

Letters: n captions that have a word at a step, L rows per image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from models.layers.linear import Linear


class Recorder:
    """Interceptor that records the `Linear` layers of a step.

    Attributes:
        graph: graph of the step; a layer called in another graph is inside a loop or condition.
        narrow: layers applied to float[n, I].
        wide: layers applied to float[n, ..., I].
        separable: whether each layer was called only once, and in `graph`.
    """

    def __init__(self) -> None:
        """Creates an empty record."""
        self.graph: Any = None
        self.narrow: list[Linear] = []
        self.wide: list[Linear] = []
        self.separable = True

    def product(self, layer: Linear, inputs: tf.Tensor) -> tf.Tensor:
        """Records the layer; returns zeros of its output shape, so that no weights are read."""
        nested = tf.compat.v1.get_default_graph() is not self.graph
        known = any(layer is other for other in (*self.narrow, *self.wide))
        if nested or known:
            self.separable = False
        elif inputs.shape.rank == 2:
            self.narrow.append(layer)
        else:
            self.wide.append(layer)
        shape = tf.concat([tf.shape(inputs)[:-1], [layer.units]], axis=0)
        return tf.ensure_shape(
            tf.zeros(shape, layer.compute_dtype), [*inputs.shape[:-1], layer.units]
        )


class Products:
    """Products of the layers of one step, in the forward pass."""

    def __init__(
        self,
        narrow: Sequence[Linear],
        weights: Sequence[Sequence[tf.Tensor]],
        wide: Sequence[Linear],
        wide_weights: Sequence[Sequence[tf.Tensor]],
    ) -> None:
        """Stores the weights of the layers.

        Args:
            narrow: layers applied to float[n, I].
            weights: kernel and, if any, bias of each narrow layer; their columns may be padded.
            wide: layers applied to float[n, ..., I].
            wide_weights: kernel and, if any, bias of each wide layer.
        """
        self._narrow = narrow
        self._places = {id(layer): place for place, layer in enumerate(narrow)}
        self._weights = weights
        self._wide = {id(layer): own for layer, own in zip(wide, wide_weights, strict=True)}
        self._inputs: dict[int, tf.Tensor] = {}
        self._outputs: dict[int, tf.Tensor] = {}

    def product(self, layer: Linear, inputs: tf.Tensor) -> tf.Tensor:
        """Applies the affine map of `layer` to float[..., I]."""
        if id(layer) in self._wide:
            return _affine(self._wide[id(layer)], inputs)
        place = self._places[id(layer)]
        self._inputs[place] = inputs
        self._outputs[place] = self._narrow_product(place, inputs)
        return self._outputs[place]

    def inputs(self) -> list[tf.Tensor]:
        """Returns the inputs of the narrow layers, in their order."""
        return [self._inputs[place] for place in range(len(self._places))]

    def outputs(self) -> list[tf.Tensor]:
        """Returns the outputs of the narrow layers, in their order."""
        return [self._outputs[place] for place in range(len(self._places))]

    def _narrow_product(self, place: int, inputs: tf.Tensor) -> tf.Tensor:
        columns = self._narrow[place].units
        return _affine(self._weights[place], inputs)[:, :columns]


class ReplayedProducts(Products):
    """Products of one step in the backward pass, from recorded outputs of the narrow layers."""

    def __init__(
        self,
        narrow: Sequence[Linear],
        transposed: Sequence[tf.Tensor],
        wide: Sequence[Linear],
        wide_weights: Sequence[Sequence[tf.Tensor]],
        outputs: Sequence[tf.Tensor],
    ) -> None:
        """Stores the recorded outputs and the weights of the layers.

        Args:
            narrow: layers applied to float[n, I].
            transposed: kernel float[O, I] of each narrow layer; its columns may be padded.
            wide: layers applied to float[n, ..., I].
            wide_weights: kernel and, if any, bias of each wide layer.
            outputs: outputs of the narrow layers in the forward pass.
        """
        super().__init__(narrow, (), wide, wide_weights)
        self._transposed, self._recorded = transposed, outputs
        self._gradients: dict[int, tf.Tensor] = {}

    @property
    def gradients(self) -> list[tf.Tensor]:
        """Gradients of the outputs of each narrow layer."""
        # An unused output has no gradient.
        return [
            self._gradients.get(place, tf.zeros_like(self._recorded[place]))
            for place in range(len(self._places))
        ]

    def _narrow_product(self, place: int, inputs: tf.Tensor) -> tf.Tensor:
        @tf.custom_gradient
        def replay(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                self._gradients[place] = upstream
                return tf.matmul(upstream, self._transposed[place])[:, :size]

            size = inputs.shape[1]
            return tf.identity(self._recorded[place]), gradient

        found: tf.Tensor = replay(inputs)
        return found


def _affine(weights: Sequence[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    product = tf.matmul(tf.reshape(inputs, [-1, inputs.shape[-1]]), weights[0])
    if len(weights) > 1:
        product = tf.nn.bias_add(product, weights[1])
    shape = tf.concat([tf.shape(inputs)[:-1], weights[0].shape[1:]], axis=0)
    return tf.ensure_shape(tf.reshape(product, shape), [*inputs.shape[:-1], weights[0].shape[1]])
