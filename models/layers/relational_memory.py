"""Relational Memory Core with one memory slot (R2M's recurrent memory)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import ops, recurrence
from models.layers.normalization import LayerNorm


@keras.saving.register_keras_serializable("r2m")
class RelationalMemory(keras.layers.Layer):
    """Recurrent memory of one slot, updated by attention over (memory, input).

    One step, with z = W f_t: X = [m; z]; X <- LN(X + MHA(X)); X <- LN(X + MLP(X)); m~ = X[0];
    i, f = W_z z + W_m tanh(m) + b; m' = sigmoid(i) tanh(m~) + sigmoid(f + 1) m; the output is m'.

    A step only keeps row 0 of X. The input row thus requires keys and values, but no query and no
    MLP. Everything that depends on the input alone (`precompute`) is computed for all steps at
    once.

    Shapes: inputs float[B, T, F], memory float[B, units], outputs float[B, T, units].

    Example:
        ```python
        outputs = RelationalMemory(units=512, heads=2)(inputs)
        ```

    Source: Santoro et al. 2018 (arXiv 1806.01822); Guo et al. 2020.
    """

    def __init__(self, *, units: int, heads: int = 2, **kwargs: Any) -> None:
        """Builds nothing yet; `units`, the size of the slot, must be divisible by `heads`."""
        super().__init__(**kwargs)
        if units % heads:
            raise ValueError(f"units ({units}) must be divisible by heads ({heads})")
        self.units = units
        self.heads = heads

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs float[B, T, F]."""
        units, policy = self.units, self.dtype_policy
        features = int(input_shape[-1] or 0)
        self.input_map = ops.linear(units, features, "input_map", dtype=policy)
        self.qkv_map = ops.linear(3 * units, units, "qkv_map", dtype=policy)
        self.qkv_norm = LayerNorm(name="qkv_norm", dtype=policy)
        self.attention_norm = LayerNorm(name="attention_norm", dtype=policy)
        self.mlp_hidden = ops.linear(units, units, "mlp_hidden", dtype=policy)
        self.mlp_output = ops.linear(units, units, "mlp_output", dtype=policy)
        self.mlp_norm = LayerNorm(name="mlp_norm", dtype=policy)
        self.input_gates = ops.linear(2 * units, units, "input_gates", dtype=policy)
        # The bias of the gates is in `input_gates`.
        self.memory_gates = ops.linear(
            2 * units, units, "memory_gates", use_bias=False, dtype=policy
        )
        self.input_map.build((None, features))
        for layer in (
            self.qkv_map,
            self.attention_norm,
            self.mlp_hidden,
            self.mlp_output,
            self.mlp_norm,
            self.input_gates,
            self.memory_gates,
        ):
            layer.build((None, units))
        self.qkv_norm.build((None, 3 * units))

    def precompute(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the memory-independent part of a step.

        Args:
            inputs: float[..., F].

        Returns:
            Keys and values float[..., heads, units/heads] of the input row, and its contribution to
            the gates float[..., 2 * units].
        """
        row = self.input_map(inputs)
        _, key, value = ops.split_heads(self.qkv_norm(self.qkv_map(row)), self.heads)
        return key, value, self.input_gates(row)

    def step(
        self, precomputed: tuple[tf.Tensor, tf.Tensor, tf.Tensor], memory: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Computes one recurrent step.

        Args:
            precomputed: from `precompute` for this step's input, tensors [B, ...].
            memory: float[B, units].

        Returns:
            The output and the next memory, which are the same tensor float[B, units].
        """
        key, value, _ = precomputed
        query, own_key, own_value = ops.split_heads(self.qkv_norm(self.qkv_map(memory)), self.heads)
        attended = ops.attend_two(query, (own_key, own_value), (key, value))
        candidate = self.attention_norm(memory + tf.reshape(attended, tf.shape(memory)))
        candidate = self.mlp_norm(
            candidate + self.mlp_output(tf.nn.relu(self.mlp_hidden(candidate)))
        )
        input_gate, forget_gate = self.gates(precomputed, memory)
        memory = input_gate * tf.tanh(candidate) + forget_gate * memory
        return memory, memory

    def gates(
        self, precomputed: tuple[tf.Tensor, tf.Tensor, tf.Tensor], memory: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gates of the candidate and of the memory.

        Args:
            precomputed: from `precompute` for the inputs.
            memory: float[..., units], memory before each input.

        Returns:
            Input gate and forget gate float[..., units], in 0..1.
        """
        gates = precomputed[2] + self.memory_gates(tf.tanh(memory))
        input_gate, forget_gate = tf.split(gates, 2, axis=-1)
        return tf.sigmoid(input_gate), tf.sigmoid(forget_gate + 1.0)

    def initial_state(self, batch: tf.Tensor | int) -> tf.Tensor:
        """Returns zeros [batch, units], like `zero_state` of the upstream code."""
        return tf.zeros([batch, self.units], self.compute_dtype)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Runs all steps from a zero memory: float[B, T, F] -> float[B, T, units]."""
        start = self.initial_state(tf.shape(inputs)[0])
        inputs = self.precompute(tf.transpose(inputs, [1, 0, 2]))
        return tf.transpose(recurrence.unroll(self.step, inputs, start), [1, 0, 2])

    def all_gates(self, inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the gates of all steps from a zero memory.

        Args:
            inputs: float[B, T, F].

        Returns:
            Input gate and forget gate float[B, T, units].
        """
        memories = self(inputs)
        start = self.initial_state(tf.shape(inputs)[0])[:, None]
        return self.gates(self.precompute(inputs), tf.concat([start, memories[:, :-1]], axis=1))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "units": self.units, "heads": self.heads}
