"""Base of recurrent captioners: a step with precomputed products of the input words."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.captioners.base import Captioner, Memory, State
from models.layers import image_rows, packed_steps, recurrence
from models.layers.cells import Cell
from models.layers.words import WordInput, WordOutput


class RecurrentCaptioner(Captioner):
    """A captioner whose step consists of a product of the input word and a recurrence.

    A subclass sets the attributes below and defines `encode`, `initial_state` and `advance`, with
    any layers. Teacher forcing runs `precompute` for all words at once, and `advance` on real
    positions only. The gradient is fastest if `advance` uses no weights except those of `Linear`
    layers, each layer once per step; otherwise TensorFlow derives it.

    Letters: B images, N captions (N / B consecutive ones per image), T words, E word embedding,
    H hidden units, L rows per image.

    Attributes:
        word_input: int32[...] -> float[..., E].
        cell: the cell that reads the words.
        output_dropout: dropout of the hidden states.
        word_output: float[N, H] -> float32[N, V].
    """

    shares_memory = True

    word_input: WordInput
    cell: Cell
    output_dropout: Any
    word_output: WordOutput

    def precompute(self, words: tf.Tensor) -> tf.Tensor:
        """Returns the state-independent part of a step: float[..., E] -> float[..., D]."""
        return self.cell.precompute(words)

    def advance(
        self, word: tf.Tensor, state: State, memory: Memory
    ) -> tuple[tf.Tensor, State, tf.Tensor | None]:
        """Computes one step; by default a step of `cell`.

        Args:
            word: float[N, D], from `precompute`.
            state: nested float[N, ...].
            memory: from `encode`, nested tensors [B, ...].

        Returns:
            Hidden states float[N, H], the next state, and the attention weights float32[N, L], or
            None without attention.
        """
        del memory
        state = self.cell.step(word, state)
        return state[0], state, None

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns hidden states float[N, T, H] for given words; see `Captioner`."""
        count, steps = tf.unstack(tf.shape(tokens))
        if lengths is None:
            lengths = tf.fill([count], steps)
        if self._is_plain_cell and self.cell.has_all_steps:
            words = self.word_input(tokens, training=training)
            state = image_rows.repeat(self.initial_state(memory, steps), count)
            return self.output_dropout(
                self.cell.all_steps(words, state, lengths), training=training
            )
        packing = packed_steps.pack(lengths, steps)
        words = self.word_input(tf.gather_nd(tokens, packing.indices), training=training)
        images = packing.order // image_rows.captions_per_image(memory, count)
        memory = tf.nest.map_structure(lambda x: tf.gather(x, images), memory)

        def step(word: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
            hidden, state, _ = self.advance(word, state, memory)
            return hidden, state

        state = self.initial_state(memory, steps)
        hidden = packed_steps.run(step, self.precompute(words), state, memory, packing=packing)
        hidden = self.output_dropout(hidden, training=training)
        shape = tf.cast([count, steps, hidden.shape[-1]], tf.int64)
        return tf.scatter_nd(packing.indices, hidden, shape)

    @property
    def _is_plain_cell(self) -> bool:
        """True if neither `precompute` nor `advance` is overridden: the recurrence is `cell`."""
        own = type(self).precompute, type(self).advance
        return own == (RecurrentCaptioner.precompute, RecurrentCaptioner.advance)

    def attention(self, memory: Memory, tokens: tf.Tensor) -> tf.Tensor:
        """Returns attention weights float[N, T, L]; see `Captioner`."""
        if not self.has_attention:
            return super().attention(memory, tokens)

        def step(word: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            _, state, weights = self.advance(word, state, memory)
            assert weights is not None, "has_attention is True, but advance returned no weights"
            return tf.cast(weights, self.compute_dtype), state

        count, steps = tf.unstack(tf.shape(tokens))
        words = self.precompute(self.word_input(tf.transpose(tokens)))
        state = image_rows.repeat(self.initial_state(memory, steps), count)
        memory = self.expand_memory(memory, count)
        return tf.transpose(recurrence.unroll(step, words, state), [1, 0, 2])

    def step(
        self, tokens: tf.Tensor, state: State, memory: Memory, training: bool = False
    ) -> tuple[tf.Tensor, State]:
        """Computes one step: tokens int32[N], state, memory -> hidden float[N, H], state."""
        if training:  # Each token has its own dropout mask.
            words = self.precompute(self.word_input(tokens, training=True))
        else:
            # Most hypotheses of a search end with the same few words, which are embedded once.
            distinct, indices = tf.unique(tokens)
            words = tf.gather(self.precompute(self.word_input(distinct)), indices)
        hidden, state, _ = self.advance(words, state, memory)
        return self.output_dropout(hidden, training=training), state

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns logits of the next word: float[N, H] -> float32[N, V]."""
        return self.word_output(hidden)

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The softmax weights float[V, H] and bias float[V]."""
        return self.word_output.kernel_and_bias
