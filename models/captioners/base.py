"""Captioner interface with default implementations."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from models.layers import image_rows, recurrence

Memory = Any
State = Any
InputKind = Literal["global", "grid", "regions", "boxes", "concepts", "pixels"]


class Inputs(NamedTuple):
    """Kinds of image input of a captioner.

    Attributes:
        required: kinds that `encode` requires, the main one first.
        optional: kinds that `encode` uses if they are given.
    """

    required: tuple[InputKind, ...]
    optional: tuple[InputKind, ...] = ()

    @property
    def kinds(self) -> tuple[InputKind, ...]:
        """All kinds, required ones first."""
        return (*self.required, *self.optional)

    def check(self, tensors: Collection[str]) -> None:
        """Raises `ValueError` if the names of the given tensors lack a required kind."""
        missing = [name for name in map(tensor_name, self.required) if name not in tensors]
        if missing:
            raise ValueError(
                f"missing input {', '.join(missing)}: found {', '.join(tensors) or 'none'}, "
                f"required {', '.join(self.required)}"
                + (f", optional {', '.join(self.optional)}" if self.optional else "")
            )


def tensor_name(kind: InputKind) -> str:
    """Returns the tensor name of a kind of input: `regions` for `grid`, else the kind itself."""
    return "regions" if kind == "grid" else kind


class Captioner(keras.Model):
    """A model that captions images word by word.

    A subclass defines `encode`, `initial_state`, `step` and `logits`, with any Keras layers. The
    default implementations of the other methods run `step` in a loop. Overriding them is only
    useful for speed.

    Letters: B images, N captions (N / B consecutive ones per image), T words, H hidden units,
    V vocabulary, L rows per image (grid cells or regions).

    `encode` receives a dict of tensors:

    - `global` float[B, D];
    - for `grid` and `regions`: `regions` float[B, L, D] and, if images have different numbers of
      regions, `region_lengths` int32[B];
    - `boxes` float32[B, L, 4], the boxes of the rows in the same order: ymin, xmin, ymax, xmax in
      0..1, padded with zeros;
    - for `concepts`: `concepts` int32[B, K] and `concept_lengths` int32[B];
    - `pixels` float32[B, S, S, 3] in 0..255.

    Attributes:
        inputs: kinds of image input.
        has_attention: whether `attention` returns weights.
        units: H; the default `output_layer` requires it.
        shares_memory: whether `step` accepts a memory of B images with N > B tokens. If not,
            callers repeat the memory with `expand_memory`, so that it has one row per token.

    Example:
        ```python
        @register_captioner("bag")
        class Bag(Captioner):
            inputs = Inputs(required=("global",))

            def __init__(self, *, vocabulary_size, feature_size, units=512, **kwargs):
                super().__init__(**kwargs)
                policy = self.dtype_policy
                self.sizes = vocabulary_size, feature_size
                self.units = units
                self.embedding = keras.layers.Embedding(vocabulary_size, units, dtype=policy)
                self.image_map = keras.layers.Dense(units, dtype=policy)
                self.word_output = keras.layers.Dense(vocabulary_size, dtype=policy)
                self.embedding.build((None,))
                self.image_map.build((None, feature_size))
                self.word_output.build((None, units))
                self.built = True

            def encode(self, inputs, training=False):
                return {"image": self.image_map(inputs["global"])}

            def initial_state(self, memory, max_length):
                return memory["image"]

            def step(self, tokens, state, memory, training=False):
                state = tf.tanh(state + self.embedding(tokens))
                return state, state

            def logits(self, hidden):
                return tf.cast(self.word_output(hidden), tf.float32)

            def get_config(self):
                vocabulary_size, feature_size = self.sizes
                return {
                    **super().get_config(), "vocabulary_size": vocabulary_size,
                    "feature_size": feature_size, "units": self.units,
                }
        ```
    """

    inputs: Inputs = Inputs(required=())
    has_attention: bool = False
    units: int
    shares_memory: bool = False

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Encodes images; called once per batch, for all captions of an image.

        Args:
            inputs: tensors of the kinds in `inputs`, with B as first dimension.
            training: whether dropout is applied.

        Returns:
            Nested tensors [B, ...].
        """
        raise NotImplementedError(f"{type(self).__name__} does not define encode")

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> State:
        """Returns the state before the first word.

        Args:
            memory: from `encode`.
            max_length: maximum number of steps, the size of caches.

        Returns:
            Nested tensors [B, ...] of any dtype, or `()`. Every step must keep their shapes and
            dtypes: caches are allocated for `max_length` positions, and each step writes one, at a
            position int32[B] in the state. A search gathers the state by hypothesis. Tensors that
            depend only on the image belong in the memory, which is not gathered.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define initial_state")

    def step(
        self, tokens: tf.Tensor, state: State, memory: Memory, training: bool = False
    ) -> tuple[tf.Tensor, State]:
        """Computes one step.

        Args:
            tokens: int32[N], the previous words.
            state: nested tensors [N, ...].
            memory: from `encode`; nested tensors [N, ...], or [B, ...] if `shares_memory`.
            training: whether dropout is applied.

        Returns:
            Hidden states float[N, H] and the next state.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns unnormalized log probabilities of the next word: float[N, H] -> float32[N, V].

        This must be an affine map, the softmax layer: losses compute it from `output_layer`. All
        layers before it belong in `step`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define logits")

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Weights float[V, H] and bias float[V] of the affine map `logits`, as losses read them.

        The default applies `logits` to zero and to the unit vectors of size H = `self.units`.
        """
        bias = self.logits(tf.zeros([1, self.units], self.compute_dtype))
        weights = self.logits(tf.eye(self.units, dtype=self.compute_dtype)) - bias
        return tf.transpose(weights), bias[0]

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns the hidden states for given words.

        Args:
            memory: from `encode`, nested tensors [B, ...].
            tokens: int32[N, T], input words (start marker first).
            lengths: int32[N], number of real words; None if all words are real.
            training: whether dropout is applied.

        Returns:
            float[N, T, H], 0 at padding.
        """
        count, steps = tf.unstack(tf.shape(tokens))
        state = image_rows.repeat(self.initial_state(memory, steps), count)
        memory = self.expand_memory(memory, count)

        def step(words: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
            return self.step(words, state, memory, training=training)

        hidden = recurrence.unroll(step, tf.transpose(tokens), state)
        hidden = tf.transpose(hidden, [1, 0, *range(2, hidden.shape.rank)])
        return hidden if lengths is None else mask_padding(hidden, lengths)

    def attention(self, memory: Memory, tokens: tf.Tensor) -> tf.Tensor:
        """Returns the attention weights of the prediction of each next word.

        Args:
            memory: from `encode`, nested tensors [B, ...].
            tokens: int32[N, T], input words (start marker first).

        Returns:
            float[N, T, L], which sum to 1 over L.

        Raises:
            ValueError: the captioner has no attention.
        """
        if self.has_attention:
            raise NotImplementedError(f"{type(self).__name__} does not define attention")
        raise ValueError(f"captioner {self.name} has no attention weights to return")

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Returns the logits of each next word.

        Args:
            inputs: inputs of `encode`, `tokens` int32[N, T] and, optionally, `lengths` int32[N].
            training: whether dropout is applied.

        Returns:
            float32[N, T, V].

        Raises:
            ValueError: a required input is missing.
        """
        self.inputs.check(inputs)
        tokens = inputs["tokens"]
        hidden = self.teacher_forced(
            self.encode(inputs, training=training), tokens, inputs.get("lengths"), training=training
        )
        rows = tf.nest.map_structure(
            lambda x: tf.reshape(x, tf.concat([[-1], tf.shape(x)[2:]], axis=0)), hidden
        )
        logits = self.logits(rows)
        shape = tf.concat([tf.shape(tokens), tf.shape(logits)[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(logits, shape), [*tokens.shape, logits.shape[-1]])

    def expand_memory(self, memory: Memory, count: int | tf.Tensor) -> Memory:
        """Repeats the memory of B images for `count` tokens, unless `step` does that itself."""
        return memory if self.shares_memory else image_rows.repeat(memory, count)

    @classmethod
    def feature_arguments(
        cls,
        *,
        global_size: int | None = None,
        region_size: int | None = None,
        grid_cells: int | None = None,
    ) -> dict[str, int | None]:
        """Returns the constructor arguments that depend on the images.

        Args:
            global_size: size of the vector per image; None if images have no vector.
            region_size: size of the rows of an image; None if images have no rows.
            grid_cells: number of rows per image, if it is the same for all images; else None.

        Returns:
            `feature_size` of the main input; `grid_cells` if the captioner requires a grid; and
            `global_size` (possibly None) if `global` is an additional input.

        Raises:
            ValueError: the images do not have the features that the captioner requires.
        """
        main = cls.inputs.required[0]
        size = global_size if main == "global" else region_size
        if size is None:
            raise ValueError(f"needs {main} features, which the images do not have")
        arguments: dict[str, int | None] = {"feature_size": size}
        if "grid" in cls.inputs.required:
            if grid_cells is None:
                raise ValueError("needs a grid: the same number of cells in every image")
            arguments["grid_cells"] = grid_cells
        if main != "global" and "global" in cls.inputs.kinds:
            arguments["global_size"] = global_size
        return arguments


def mask_padding(hidden: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Sets float[N, T, H] to 0 at and after step `lengths` int32[N]."""
    real = tf.sequence_mask(lengths, tf.shape(hidden)[1])[:, :, tf.newaxis]
    return tf.where(real, hidden, tf.zeros_like(hidden))
