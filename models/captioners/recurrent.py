"""What the recurrent captioners share: words, one or two cells, and the run over time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers import ops, packed_steps, recurrence
from models.layers.cells import Cell
from models.layers.packed_steps import Linear
from models.layers.prepared_weights import LoopWeights
from models.layers.words import WordInput, WordOutput

Memory = dict[str, Any]


class RecurrentCaptioner(keras.Model):
    """The half of the captioner's interface that follows from a step over precomputed inputs.

    A family sets `word_input`, `cell`, `word_output` and `output_dropout`, and gives `encode`,
    `initial_state` and `advance`; design section 4 has the interface.

    Shapes (B images, N captions, as many of each image and side by side, T words, H units, L rows
    of an image):

    * `precompute`: words float[..., E] -> float[..., blocks * H], what a step takes from them.
    * `advance`: that of one step, state, memory -> (hidden float[N, H], state, weights
      float32[N, L] of the image's rows, or None).
    """

    word_input: WordInput
    word_output: WordOutput
    output_dropout: keras.layers.Dropout
    cell: Cell

    @property
    def word_cell(self) -> Cell:
        """The cell that hears the words."""
        return self.cell

    def precompute(self, words: tf.Tensor) -> tf.Tensor:
        """The words' share of the cell's sums: float[..., E] -> float[..., blocks * H]."""
        return self.word_cell.precompute(words)

    def advance(
        self, now: Any, state: Any, memory: Memory
    ) -> tuple[tf.Tensor, Any, tf.Tensor | None]:
        """One step on: what `precompute` gave for it, state -> hidden, state, weights."""
        raise NotImplementedError

    def initial_state(self, memory: Memory) -> Any:
        """The state before the first word, nested, batch first."""
        raise NotImplementedError

    @property
    def recurrent_layers(self) -> list[Linear]:
        """The layers that `advance` gives float[N, I], each once."""
        raise NotImplementedError

    @property
    def wide_layers(self) -> list[Linear]:
        """The layers that `advance` gives float[N, 1, L, I], each once."""
        return []

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        training: bool = False,
        lengths: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Hidden states for given words.

        Args:
            memory: of `encode`, of B images.
            tokens: int32[N, T], start first.
            training: applies dropout.
            lengths: int32[N], words that count; None counts all.

        Returns:
            float[N, T, H], 0 at words that do not count.
        """
        count, steps = tf.unstack(tf.shape(tokens))
        packing = packed_steps.pack(tf.fill([count], steps) if lengths is None else lengths, steps)
        words = self.word_input(tf.gather_nd(tokens, packing.places), training=training)
        of_caption = packing.order // ops.captions_each(memory, count)
        memory = tf.nest.map_structure(lambda x: tf.gather(x, of_caption), memory)

        def step(now: Any, state: Any, memory: Memory) -> tuple[tf.Tensor, Any]:
            hidden, state, _ = self.advance(now, state, memory)
            return hidden, state

        units = self.word_output.kernel.shape[1]
        hidden = packed_steps.run(
            step,
            self.precompute(words),
            self.initial_state(memory),
            memory,
            layers=self.recurrent_layers,
            wide=self.wide_layers,
            units=units,
            packing=packing,
        )
        hidden = self.output_dropout(hidden, training=training)
        return tf.scatter_nd(packing.places, hidden, tf.cast([count, steps, units], tf.int64))

    def attended(self, memory: Memory, tokens: tf.Tensor) -> tf.Tensor:
        """Where it looks while it says each next word: int32[B, T] -> float[B, T, L].

        Raises:
            ValueError: the model has no attention.
        """
        rows = memory.get("rows")
        if rows is None:
            raise ValueError(f"{self.name} has no attention: nothing to show")

        def step(now: Any, state: Any) -> tuple[tf.Tensor, Any]:
            _, state, weights = self.advance(now, state, memory)
            assert weights is not None
            return tf.cast(weights, self.compute_dtype), state

        words = self.precompute(self.word_input(tf.transpose(tokens)))
        outputs = recurrence.unroll(step, words, self.initial_state(memory), rows.shape[1])
        return tf.transpose(outputs, [1, 0, 2])

    def step(
        self, tokens: tf.Tensor, state: Any, memory: Memory, training: bool = False
    ) -> tuple[tf.Tensor, Any]:
        """One word on: tokens int32[N], state, memory -> hidden float[N, H], state."""
        words = self.word_input(tokens, training=training)
        hidden, state, _ = self.advance(self.precompute(words), state, memory)
        return self.output_dropout(hidden, training=training), state

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """float[N, H] -> float32[N, V] unnormalised log probabilities of the next word."""
        return self.word_output(hidden)

    @property
    def loop_weights(self) -> list[LoopWeights]:
        """What `step` and `logits` multiply with."""
        layers = [self.word_cell.input_map, *self.recurrent_layers]
        return [*(layer.loop_weights for layer in layers), self.word_output.loop_weights]

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The softmax weights float[V, H] and bias float[V]."""
        return self.word_output.pair
