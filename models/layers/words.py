"""Word embedding and softmax layer of captioners."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from models.layers.prepared_weights import product


@keras.saving.register_keras_serializable("r2m")
class WordInput(keras.layers.Layer):
    """Word embedding, followed by an optional ReLU and by dropout.

    Shapes: int32[...] -> float[..., units].

    Example:
        ```python
        words = WordInput(vocabulary_size=9_488, units=512, initializer="uniform")(tokens)
        ```
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        units: int,
        initializer: Any,
        relu: bool = False,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        """Builds the embedding.

        Args:
            vocabulary_size: V.
            units: E.
            initializer: initializer of the embedding.
            relu: whether to apply ReLU to the embedded words.
            dropout: dropout rate.
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).
        """
        super().__init__(**kwargs)
        self._settings = {
            "vocabulary_size": vocabulary_size, "units": units, "relu": relu, "dropout": dropout
        }  # fmt: skip
        self.relu = relu
        self.embedding = keras.layers.Embedding(
            vocabulary_size,
            units,
            embeddings_initializer=initializer,
            name="embedding",
            dtype=self.dtype_policy,
        )
        self.dropout = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy)
        self.embedding.build((None,))
        self.built = True

    def call(self, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Embeds words: int32[...] -> float[..., units]."""
        words = self.embedding(tokens)
        return self.dropout(tf.nn.relu(words) if self.relu else words, training=training)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        initializer = keras.initializers.serialize(self.embedding.embeddings_initializer)
        return {**super().get_config(), **self._settings, "initializer": initializer}


@keras.saving.register_keras_serializable("r2m")
class WordOutput(keras.layers.Layer):
    """Softmax layer: an affine map of hidden states to logits.

    Shapes: hidden float[N, H] -> logits float32[N, V].

    Example:
        ```python
        logits = WordOutput(vocabulary_size=9_488, units=512)(hidden)
        ```

    The weights are stored as float[V, H]: one row per word, as in an embedding.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        units: int,
        initializer: Any = None,
        bias_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Builds the weights.

        Args:
            vocabulary_size: V.
            units: H.
            initializer: initializer of the weights; None for PyTorch's, uniform in +-1/sqrt(H).
            bias_initializer: initializer of the bias; None for PyTorch's, uniform in +-1/sqrt(H).
            **kwargs: arguments of `keras.layers.Layer` (name, dtype).
        """
        super().__init__(**kwargs)
        bound = units**-0.5
        uniform = keras.initializers.RandomUniform(-bound, bound)
        self._settings = {"vocabulary_size": vocabulary_size, "units": units}
        self._initializers = [
            uniform.clone() if given is None else keras.initializers.get(given)
            for given in (initializer, bias_initializer)
        ]
        self.kernel = self.add_weight(
            name="kernel", shape=(vocabulary_size, units), initializer=self._initializers[0]
        )
        self.bias = self.add_weight(
            name="bias", shape=(vocabulary_size,), initializer=self._initializers[1]
        )
        self.built = True

    @property
    def kernel_and_bias(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Weights float[V, H] and bias float[V], in the form of `losses.text.cross_entropy`."""
        return tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)

    def call(self, hidden: tf.Tensor) -> tf.Tensor:
        """Returns logits: float[N, H] -> float32[N, V]."""
        logits = product(hidden, self.kernel, transposed=True)
        return tf.cast(logits, tf.float32) + tf.cast(self.bias, tf.float32)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        kernel, bias = map(keras.initializers.serialize, self._initializers)
        return {
            **super().get_config(),
            **self._settings,
            "initializer": kernel,
            "bias_initializer": bias,
        }
