"""Sublayers of transformers: multi-head attention and feed-forward.

All sublayers process rows without padding, [P, D]. Attention converts them to padded groups and
back (`models.layers.grouped_rows`). The layers are in `models.layers.transformer_layers`.

Letters: G groups, Q queries and L keys of a group, P rows, D units, h heads, N captions, T words.

Source: Vaswani et al. 2017 (arXiv 1706.03762), in the variant of "The Annotated Transformer".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, get_args

import keras
import tensorflow as tf

from models.layers.dropout import Dropout
from models.layers.grouped_rows import Groups
from models.layers.linear import xavier_dense
from models.layers.precision import at_least_float32

Activation = Literal["relu", "gelu"]

# Added to the score of a masked key.
MASKED = -1e9


class Cache(NamedTuple):
    """Keys and values of the previous words, at their positions.

    Attributes:
        keys: float[N, h, T, D / h].
        values: float[N, h, T, D / h].
    """

    keys: tf.Tensor
    values: tf.Tensor


class CrossAttention(Protocol):
    """Interface of a cross-attention of words to the regions of their image, for `DecoderLayer`."""

    def project(self, rows: tf.Tensor, groups: Groups) -> Any:
        """Returns the word-independent tensors, nested [G, ...]; called once per image.

        Args:
            rows: float[P, D], encoded regions.
            groups: groups of the regions by image.
        """

    def __call__(
        self,
        rows: tf.Tensor,
        groups: Groups,
        projected: Any,
        bias: tf.Tensor | None,
        training: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes attention.

        Args:
            rows: float[P, D], words.
            groups: groups of the words by image.
            projected: from `project`.
            bias: float32[G, 1, 1, L], 0 for real regions and `MASKED` for padding, or None.
            training: whether dropout is applied.

        Returns:
            float[P, D], and the attention weights float32[G, h, Q, L] before dropout.
        """


def mask_bias(mask: tf.Tensor) -> tf.Tensor:
    """Returns a bias of scores, float32: 0 where `mask` bool[...] is true, else `MASKED`."""
    return tf.where(mask, 0.0, MASKED)


def attend(
    query: tf.Tensor,
    keys: tf.Tensor,
    values: tf.Tensor,
    bias: tf.Tensor | None,
    dropout: Dropout,
    training: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns softmax(q k / sqrt(size) + bias) v, with the softmax in at least float32.

    Args:
        query: float[G, h, Q, size].
        keys: float[G, h, L, size].
        values: float[G, h, L, size].
        bias: float32, broadcast to [G, h, Q, L], or None.
        dropout: dropout layer of the attention weights.
        training: whether dropout is applied.

    Returns:
        float[G, h, Q, size], and the attention weights float32[G, h, Q, L] before dropout.
    """
    scores = at_least_float32(tf.matmul(query, keys, transpose_b=True))
    scores *= query.shape[-1] ** -0.5
    if bias is not None:
        scores += tf.cast(bias, scores.dtype)
    weights = tf.nn.softmax(scores)
    dropped = dropout(tf.cast(weights, values.dtype), training=training)
    return tf.matmul(dropped, values), weights


class _Attention(keras.layers.Layer):
    """Base of self-attention and cross-attention: settings and output layer."""

    def __init__(self, *, units: int, heads: int, dropout: float = 0.0, **kwargs: Any) -> None:
        """Builds nothing yet.

        Args:
            units: D.
            heads: h, which divides D.
            dropout: dropout rate of the attention weights.
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).

        Raises:
            ValueError: `units` is not divisible by `heads`.
        """
        # No autocast: the bias of scores must stay float32 under half precision.
        super().__init__(autocast=False, **kwargs)
        if units % heads:
            raise ValueError(f"units ({units}) must be divisible by heads ({heads})")
        self.units, self.heads = units, heads
        self._settings = {"units": units, "heads": heads, "dropout": dropout}
        self.weight_dropout = Dropout(dropout, name="weight_dropout", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the output layer."""
        del input_shape
        self.output_map = xavier_dense(self.units, self.units, "output_map", self.dtype_policy)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}


@keras.saving.register_keras_serializable("r2m")
class SelfAttention(_Attention):
    """Multi-head self-attention of the rows of each group.

    Shapes: rows float[P, D] -> float[P, D].

    Example:
        ```python
        attention = SelfAttention(units=512, heads=8, dropout=0.1)
        attention.build((None, 512))
        outputs = attention(rows, grouped_rows.full(images, regions))
        ```
    """

    def __init__(self, *, units: int, heads: int, skip_input: bool = False, **kwargs: Any) -> None:
        """Builds nothing yet.

        Args:
            units: D.
            heads: h, which divides D.
            skip_input: whether to add the input to the results of the heads, before the output
                layer.
            **kwargs: `dropout`, and arguments of `keras.layers.Layer` (name, dtype).
        """
        super().__init__(units=units, heads=heads, **kwargs)
        self.skip_input = skip_input

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates a joint layer of queries, keys and values, and the output layer."""
        self.qkv_map = xavier_dense(
            3 * self.units, self.units, "qkv_map", self.dtype_policy, parts=3
        )
        super().build(input_shape)

    def call(
        self,
        rows: tf.Tensor,
        groups: Groups,
        bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Computes attention.

        Args:
            rows: float[P, D].
            groups: groups of the rows.
            bias: float32, broadcast to [G, h, Q, Q] and added to the scores, or None.
            training: whether dropout is applied.
        """
        query, keys, values = groups.split_heads(self.qkv_map(rows), self.heads, parts=3)
        found, _ = attend(query, keys, values, bias, self.weight_dropout, training)
        return self._output(rows, groups.merge_heads(found))

    def step(
        self,
        rows: tf.Tensor,
        cache: Cache,
        position: tf.Tensor,
        bias: tf.Tensor,
        training: bool = False,
    ) -> tuple[tf.Tensor, Cache]:
        """Attends from one word per caption to this word and the previous ones.

        Args:
            rows: float[N, D].
            cache: cache of the previous words.
            position: int32[N], position at which keys and values are written.
            bias: float32[N, 1, 1, T], 0 for the words so far and `MASKED` for all other positions.
            training: whether dropout is applied.

        Returns:
            float[N, D] and the updated cache.
        """
        count, size = tf.shape(rows)[0], self.units // self.heads
        query, keys, values = tf.split(
            tf.reshape(self.qkv_map(rows), [-1, 3 * self.heads, 1, size]), 3, axis=1
        )
        # Indices of the new rows in a cache that is reshaped to [N * h * T, D / h].
        row, length = tf.range(count * self.heads), tf.shape(bias)[3]
        indices = row * length + tf.repeat(position, self.heads)
        cache = Cache(
            *(
                _write(*pair, indices, [count, self.heads, length, size])
                for pair in zip(cache, (keys, values), strict=True)
            )
        )
        found, _ = attend(query, cache.keys, cache.values, bias, self.weight_dropout, training)
        return self._output(rows, tf.reshape(found, [-1, self.units])), cache

    def empty_cache(self, captions: tf.Tensor, max_length: int | tf.Tensor) -> Cache:
        """Returns a cache of zeros for N captions of at most `max_length` words."""
        shape = [captions, self.heads, max_length, self.units // self.heads]
        return Cache(tf.zeros(shape, self.compute_dtype), tf.zeros(shape, self.compute_dtype))

    def _output(self, rows: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return self.output_map(found + rows if self.skip_input else found)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "skip_input": self.skip_input}


def _write(cache: tf.Tensor, new: tf.Tensor, indices: tf.Tensor, shape: Sequence[Any]) -> tf.Tensor:
    """Writes [N, h, 1, size] to rows `indices` int32[N * h] of a cache [N, h, T, size].

    The indices refer to the cache as [N * h * T, size]; `shape` is its dynamic shape.
    """
    rows, new = (tf.reshape(x, [-1, cache.shape[-1]]) for x in (cache, new))
    written = tf.tensor_scatter_nd_update(rows, indices[:, None], new)
    return tf.ensure_shape(tf.reshape(written, shape), cache.shape)


@keras.saving.register_keras_serializable("r2m")
class DotProductAttention(_Attention):
    """Multi-head attention of words to the regions of their image (a `CrossAttention`).

    Shapes: words float[P, D], regions float[R, D] -> float[P, D].

    Example:
        ```python
        attention = DotProductAttention(units=512, heads=8, dropout=0.1)
        attention.build((None, 512))
        projected = attention.project(regions, grouped_rows.full(images, 36))
        outputs, weights = attention(words, grouped_rows.full(images, 5), projected)
        ```
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the layer of queries, a joint layer of keys and values, and the output layer."""
        self.query_map = xavier_dense(self.units, self.units, "query_map", self.dtype_policy)
        self.key_value_map = xavier_dense(
            2 * self.units, self.units, "key_value_map", self.dtype_policy, parts=2
        )
        super().build(input_shape)

    def project(self, rows: tf.Tensor, groups: Groups) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns keys and values of regions: float[R, D] -> two tensors float[G, h, L, D / h]."""
        keys, values = groups.split_heads(self.key_value_map(rows), self.heads, parts=2)
        return keys, values

    def call(
        self,
        rows: tf.Tensor,
        groups: Groups,
        projected: tuple[tf.Tensor, tf.Tensor],
        bias: tf.Tensor | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes attention; see `CrossAttention`."""
        (query,) = groups.split_heads(self.query_map(rows), self.heads)
        found, weights = attend(query, *projected, bias, self.weight_dropout, training)
        return self.output_map(groups.merge_heads(found)), weights


@keras.saving.register_keras_serializable("r2m")
class FeedForward(keras.layers.Layer):
    """Two affine maps with an activation and dropout between them.

    Shapes: float[P, D] -> float[P, D].

    Example:
        ```python
        outputs = FeedForward(units=512, inner_units=2_048, dropout=0.1)(rows)
        ```
    """

    def __init__(
        self,
        *,
        units: int,
        inner_units: int,
        dropout: float = 0.0,
        activation: Activation = "relu",
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            units: D.
            inner_units: size of the hidden layer.
            dropout: dropout rate of the hidden layer.
            activation: `relu` or `gelu` (exact, with the error function).
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).

        Raises:
            ValueError: an unknown activation.
        """
        super().__init__(**kwargs)
        if activation not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise ValueError(f"unknown activation {activation!r}; known: {known}")
        self._settings = {
            "units": units, "inner_units": inner_units, "dropout": dropout,
            "activation": activation,
        }  # fmt: skip
        self.units, self.inner_units, self.activation = units, inner_units, activation
        self.dropout = Dropout(dropout, name="dropout", dtype=self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the two dense layers."""
        del input_shape
        units, inner, policy = self.units, self.inner_units, self.dtype_policy
        self.inner_map = xavier_dense(inner, units, "inner_map", policy)
        self.output_map = xavier_dense(units, inner, "output_map", policy)

    def call(self, rows: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Applies the layers: float[P, D] -> float[P, D]."""
        activate = tf.nn.relu if self.activation == "relu" else tf.nn.gelu
        inner = self.dropout(activate(self.inner_map(rows)), training=training)
        return self.output_map(inner)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}
