"""Recurrent Relational Memory network (R2M): concepts to sentence, and back to concepts."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.captioners.base import Captioner, Inputs, Memory, mask_padding
from models.layers import image_rows, ops
from models.layers.fusion import AttentionFusion, ConcatFusion
from models.layers.prepared_weights import product
from models.layers.recurrence import LongShortTermMemory
from models.layers.relational_memory import RelationalMemory

RECURRENCES = ("relational", "lstm")
FUSIONS = ("attention", "concat")
IMAGE_PROJECTIONS = ("trained", "frozen")


@keras.saving.register_keras_serializable("r2m")
class R2M(Captioner):
    """Recurrent Relational Memory network, a captioner of concepts.

    It consists of a concept encoder, a fusion and recurrent memory (decoder), a reconstructor and
    an image projection.

    Shapes (B batch, T words, K concepts, H = `units`, F = `image_features`, V vocabulary):

    * `encode`: concepts int32[B, K] -> v float[B, H], of norm 1 (0 without concepts).
    * `teacher_forced`: tokens int32[B, T] -> hidden float[B, T, H].
    * `logits`: hidden float[N, H] -> float32[N, V].
    * `reconstruct`: hidden float[B, T, H] -> r float[B, H].
    * `project_images`: features float[B, F] -> u float[B, H], of norm 1.

    Example:
        ```python
        model = R2M(vocabulary_size=9_488, image_features=2_048)
        concepts = {"concepts": tf.constant([[7, 8]]), "concept_lengths": tf.constant([2])}
        captions = decode(model, model.encode(concepts), DecodingOptions(beam_size=3))
        ```

    Source: Guo et al. 2020 (IJCAI, arXiv 2006.13611).
    """

    inputs = Inputs(required=("concepts",))
    shares_memory = True

    def __init__(
        self,
        *,
        vocabulary_size: int,
        units: int = 512,
        heads: int = 2,
        decoder: Literal["relational", "lstm"] = "relational",
        fusion: Literal["attention", "concat"] = "attention",
        reconstructor: Literal["relational", "lstm"] = "relational",
        dropout: float = 0.2,
        tie_embeddings: bool = False,
        image_features: int | None = None,
        image_projection: Literal["trained", "frozen"] = "trained",
        **kwargs: Any,
    ) -> None:
        """Builds all weights, so that all training stages share one set of variables.

        Args:
            vocabulary_size: V, markers included.
            units: H, size of embeddings, memories and the joint space.
            heads: attention heads of both memories.
            decoder: `relational`, the recurrent memory; or `lstm` (the paper's ablation).
            fusion: `attention` over (word, concepts); or `concat`, their concatenation (ablation).
            reconstructor: recurrence that maps sentences back to concepts; values as for `decoder`.
            dropout: dropout rate of the encoder's input and output.
            tie_embeddings: whether the softmax layer uses the word embedding as weights.
            image_features: F, size of the CNN features; None builds no image projection, which the
                stages on sentences alone do not need.
            image_projection: `trained`; or `frozen`, which keeps the image projection at its random
                initialization, as upstream does.
            **kwargs: arguments of `keras.Model` (name, dtype).

        Raises:
            ValueError: the decoder, fusion, reconstructor or image projection is unknown.
        """
        super().__init__(**kwargs)
        _check("decoder", decoder, RECURRENCES)
        _check("fusion", fusion, FUSIONS)
        _check("reconstructor", reconstructor, RECURRENCES)
        _check("image_projection", image_projection, IMAGE_PROJECTIONS)
        self._settings = {
            "vocabulary_size": vocabulary_size,
            "units": units,
            "heads": heads,
            "decoder": decoder,
            "fusion": fusion,
            "reconstructor": reconstructor,
            "dropout": dropout,
            "tie_embeddings": tie_embeddings,
            "image_features": image_features,
            "image_projection": image_projection,
        }
        self.vocabulary_size = vocabulary_size
        self.units = units
        policy = self.dtype_policy
        uniform = keras.initializers.RandomUniform(-0.08, 0.08)
        self.embedding = keras.layers.Embedding(
            vocabulary_size, units, embeddings_initializer=uniform, name="embedding", dtype=policy
        )
        self.encoder = keras.layers.LSTM(units, name="encoder", dtype=policy)
        self.input_dropout = keras.layers.Dropout(dropout, name="input_dropout", dtype=policy)
        self.output_dropout = keras.layers.Dropout(dropout, name="output_dropout", dtype=policy)
        self.fusion = (
            AttentionFusion(units=units, heads=heads, name="fusion", dtype=policy)
            if fusion == "attention"
            else ConcatFusion(units=units, name="fusion", dtype=policy)
        )
        self.decoder = _recurrence(decoder, units, heads, "decoder", policy)
        self.reconstructor = _recurrence(reconstructor, units, heads, "reconstructor", policy)
        self.embedding.build((None,))
        self.encoder.build((None, None, units))
        self.fusion.build((None, units))
        self.decoder.build((None, None, 2 * units))
        self.reconstructor.build((None, None, units))
        if image_features is not None:
            self.image_map = keras.layers.Dense(
                units,
                name="image_map",
                trainable=image_projection == "trained",
                dtype=policy,
            )
            self.image_map.build((None, image_features))
        self.softmax_weights = (
            self.embedding.embeddings
            if tie_embeddings
            else self.add_weight(
                name="softmax_weights",
                shape=(vocabulary_size, units),
                initializer=uniform.clone(),
            )
        )
        self.softmax_bias = self.add_weight(
            name="softmax_bias", shape=(vocabulary_size,), initializer="zeros"
        )
        self.built = True

    def encode(self, inputs: dict[str, tf.Tensor], training: bool = False) -> Memory:
        """Encodes the concepts of each image or sentence.

        Args:
            inputs: `concepts` int32[B, K] (0-padded on the right), most important last, and
                `concept_lengths` int32[B].
            training: whether dropout is applied.

        Returns:
            `vector` v float[B, H], and `fusion`, the projections of v, tensors [B, ...].
        """
        lengths = inputs["concept_lengths"]
        # cuDNN rejects fully masked rows, so these rows have one unmasked padding word; their state
        # is set to 0 below.
        mask = tf.sequence_mask(tf.maximum(lengths, 1), tf.shape(inputs["concepts"])[1])
        words = self.input_dropout(self.embedding(inputs["concepts"]), training=training)
        state = self.encoder(words, mask=mask)
        state = tf.where(lengths[:, None] > 0, state, tf.zeros_like(state))
        vector = ops.unit_norm(self.output_dropout(state, training=training))
        return {"vector": vector, "fusion": self.fusion.project(vector)}

    def teacher_forced(
        self,
        memory: Memory,
        tokens: tf.Tensor,
        lengths: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Returns hidden states for given words; the fusion is computed for all T words at once.

        Args:
            memory: from `encode`.
            tokens: int32[N, T], input words (start marker first).
            lengths: int32[N], number of real words; None if all words are real.
            training: unused, because the decoder has no dropout.

        Returns:
            float[N, T, H], 0 at padding.
        """
        del training
        hidden = self.decoder(self._fused(tokens, memory))
        return hidden if lengths is None else mask_padding(hidden, lengths)

    def _fused(self, tokens: tf.Tensor, memory: Memory) -> tf.Tensor:
        """Returns the decoder's inputs: tokens int32[N, T] -> float[N, T, 2 * H]."""
        # A batch contains the same words several times; each distinct word is projected once.
        distinct, indices = tf.unique(tf.reshape(tokens, [-1]))
        indices = tf.reshape(indices, tf.shape(tokens))
        projected = self.fusion.project(self.embedding(distinct))
        concepts = image_rows.repeat(memory["fusion"], tf.shape(tokens)[0])
        return self.fusion(tuple(tf.gather(x, indices) for x in projected), concepts)

    def gates(self, memory: Memory, tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the decoder's gates for given words.

        Args:
            memory: from `encode`.
            tokens: int32[B, T], input words (start marker first).

        Returns:
            `input_gate` and `forget_gate` float[B, T, H]; empty for an LSTM.
        """
        if not isinstance(self.decoder, RelationalMemory):
            return {}
        fused = self._fused(tokens, memory)
        return dict(zip(("input_gate", "forget_gate"), self.decoder.all_gates(fused), strict=True))

    def initial_state(self, memory: Memory, max_length: int | tf.Tensor) -> Any:
        """Returns the recurrent memory before the first word, nested tensors [B, ...]."""
        del max_length
        return self.decoder.initial_state(tf.shape(memory["vector"])[0])

    def step(
        self, tokens: tf.Tensor, state: Any, memory: Memory, training: bool = False
    ) -> tuple[tf.Tensor, Any]:
        """Computes one step: tokens int32[N], state, memory of B -> hidden float[N, H], state."""
        del training
        concepts = image_rows.repeat(memory["fusion"], tf.shape(tokens)[0])
        fused = self.fusion(self.fusion.project(self.embedding(tokens)), concepts)
        return self.decoder.step(self.decoder.precompute(fused), state)

    def logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns logits of the next word: float[N, H] -> float32[N, V]."""
        logits = product(hidden, self.softmax_weights, transposed=True)
        return tf.cast(logits, tf.float32) + self.softmax_bias

    @property
    def output_layer(self) -> tuple[tf.Tensor, tf.Tensor]:
        """The softmax weights float[V, H] and bias float[V]."""
        return tf.convert_to_tensor(self.softmax_weights), tf.convert_to_tensor(self.softmax_bias)

    def reconstruct(self, hidden: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Reconstructs r float[B, H] from hidden states float[B, T, H] and lengths int32[B]."""
        return ops.last_real(self.reconstructor(hidden), lengths)

    def project_images(self, features: tf.Tensor) -> tf.Tensor:
        """Projects CNN features float[B, F] to u float[B, H] of norm 1."""
        return ops.unit_norm(self.image_map(features))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")


def _recurrence(
    kind: str, units: int, heads: int, name: str, dtype: keras.DTypePolicy
) -> keras.layers.Layer:
    if kind == "relational":
        return RelationalMemory(units=units, heads=heads, name=name, dtype=dtype)
    return LongShortTermMemory(units=units, name=name, dtype=dtype)
