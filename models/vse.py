"""Visual-semantic embedding: images and sentences as vectors of a joint space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import keras
import tensorflow as tf

from losses.similarities import SIMILARITIES, Similarity
from models.layers import ops, pixel_network
from models.layers.gru import GRUWeights
from models.layers.image_encoder import ImageEncoder, ImageKind
from models.layers.pooling import Pooling
from models.layers.sentence_encoder import SentenceEncoder, SentenceKind

# L2 normalization of image vectors; `in_use` normalizes at inference only.
NormalizedImages = Literal["always", "in_use", "never"]


class PixelNetwork(NamedTuple):
    """Network that computes image features inside the model.

    Attributes:
        network: float[B, S, S, 3] from `preprocess` -> feature maps [B, gh, gw, F].
        preprocess: float32[B, S, S, 3] in 0..255 -> the input range of the network.
        trained_from: name of the first layer that is trained, with all layers after it; `all`
            trains every layer, None trains none.
        average_mirrored: whether to average the maps of an image with the maps, mirrored back, of
            its mirror image; not in training.
    """

    network: keras.Model
    preprocess: Callable[[tf.Tensor], tf.Tensor]
    trained_from: str | None = None
    average_mirrored: bool = False


@keras.saving.register_keras_serializable("r2m")
class VisualSemanticEmbedding(keras.Model):
    """Image encoder and sentence encoder whose vectors are compared by a similarity function.

    Letters: B images, N sentences, T words, L rows per image, F features, D size of the vectors.

    Shapes of images: a dict of `global` float[B, F]; or `regions` float[B, L, F] and, if images
    have different numbers of regions, `region_lengths` int32[B]; or `pixels` float32[B, S, S, 3]
    -> float32[B, D]. Shapes of sentences: tokens int32[N, T] and lengths int32[N] ->
    float32[N, D].

    Example:
        ```python
        model = VisualSemanticEmbedding(vocabulary_size=8_000, feature_size=4_096)
        images = model.encode_images({"global": features})
        sentences = model.encode_sentences(tokens, lengths)
        similarities = images @ tf.transpose(sentences)
        ```

    Sources: Kiros et al. 2014 (arXiv 1411.2539), Vendrov et al. 2016 (arXiv 1511.06361), Faghri et
    al. 2018 (arXiv 1707.05612), Chen et al. 2021 (arXiv 2011.04305).
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        size: int = 1024,
        word_size: int = 300,
        sentence_encoder: SentenceKind = "gru",
        layers: int = 1,
        bidirectional: bool = False,
        sentence_pooling: Pooling = "last",
        gru_weights: GRUWeights = "torch",
        word_dropout: float = 0.0,
        image_encoder: ImageKind = "linear",
        image_pooling: Pooling = "mean",
        image_dropout: float = 0.0,
        row_dropout: float = 0.0,
        row_dropout_varies: bool = False,
        normalize_features: bool = False,
        normalize_images: NormalizedImages = "always",
        absolute: bool = False,
        similarity: Similarity = "cosine",
        pixel_rows: bool = False,
        pixels: PixelNetwork | None = None,
        **kwargs: Any,
    ) -> None:
        """Builds all weights.

        Args:
            vocabulary_size: V, markers included.
            feature_size: F.
            size: D.
            word_size: size of the word vectors.
            sentence_encoder: `gru`, or `bow` (bag of words).
            layers: number of layers of the GRU.
            bidirectional: whether the GRU is bidirectional; the outputs of the two directions are
                averaged.
            sentence_pooling: pooling of words: `last`, `mean`, `max` or `gpo`
                (`GeneralizedPooling`).
            gru_weights: initial weights, `torch` or `kiros`.
            word_dropout: dropout rate of the word vectors.
            image_encoder: `linear`, or `mlp` with a residual connection.
            image_pooling: pooling of rows: `mean`, `max` or `gpo`.
            image_dropout: dropout rate of the features.
            row_dropout: probability of removing a row in training; see `RowDropout`.
            row_dropout_varies: whether each image draws its own rate.
            normalize_features: whether to divide each feature vector or row by its L2 norm.
            normalize_images: L2 normalization of image vectors: `always`; `in_use`, at inference
                but not in training; or `never`. Sentence vectors are always normalized.
            absolute: whether to use the absolute values of both vectors, for order similarity.
            similarity: `cosine` (the dot product) or `order`.
            pixel_rows: whether the cells of the network's maps are the rows of the image; if not,
                their mean is the feature vector of the image.
            pixels: the network of a model of pixels; None for a model of stored features.
            **kwargs: arguments of `keras.Model` (name, dtype).

        Raises:
            ValueError: the value of a setting is unknown, or settings contradict each other.
        """
        super().__init__(**kwargs)
        if similarity not in SIMILARITIES:
            raise ValueError(f"unknown similarity {similarity!r}; known: {', '.join(SIMILARITIES)}")
        if normalize_images not in ("always", "in_use", "never"):
            raise ValueError(
                f"unknown normalize_images {normalize_images!r}; known: always, in_use, never"
            )
        self._settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "size": size,
            "word_size": word_size, "sentence_encoder": sentence_encoder, "layers": layers,
            "bidirectional": bidirectional, "sentence_pooling": sentence_pooling,
            "gru_weights": gru_weights, "word_dropout": word_dropout,
            "image_encoder": image_encoder, "image_pooling": image_pooling,
            "image_dropout": image_dropout, "row_dropout": row_dropout,
            "row_dropout_varies": row_dropout_varies, "normalize_features": normalize_features,
            "normalize_images": normalize_images, "absolute": absolute, "similarity": similarity,
            "pixel_rows": pixel_rows,
        }  # fmt: skip
        self.size, self.similarity = size, similarity
        self._normalize_images, self._absolute = normalize_images, absolute
        self._pixel_rows, self._pixels = pixel_rows, pixels
        self.network = None
        if pixels is not None:
            self.network = pixels.network
            pixel_network.train_from(pixels.network, pixels.trained_from)
        self.sentence_encoder = SentenceEncoder(
            vocabulary_size=vocabulary_size,
            word_size=word_size,
            units=size,
            kind=sentence_encoder,
            layers=layers,
            bidirectional=bidirectional,
            pooling=sentence_pooling,
            weights=gru_weights,
            dropout=word_dropout,
            name="sentence_encoder",
            dtype=self.dtype_policy,
        )
        self.image_encoder = ImageEncoder(
            feature_size=feature_size,
            units=size,
            kind=image_encoder,
            pooling=image_pooling,
            normalize=normalize_features,
            dropout=image_dropout,
            row_dropout=row_dropout,
            row_dropout_varies=row_dropout_varies,
            name="image_encoder",
            dtype=self.dtype_policy,
        )
        self.sentence_encoder.build()
        self.image_encoder.build()
        self.built = True

    def encode_images(
        self,
        inputs: dict[str, tf.Tensor],
        training: bool = False,
        network_trains: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Encodes images to vectors float32[B, D].

        Args:
            inputs: see the class; other entries are ignored.
            training: whether dropout is applied.
            network_trains: bool[], whether the network of a model of pixels receives a gradient;
                None if it does.
        """
        lengths = None
        if self._pixels is not None:
            features = self._pixel_features(inputs["pixels"], training, network_trains)
        elif "global" in inputs:
            features = inputs["global"]
        else:
            features, lengths = inputs["regions"], inputs.get("region_lengths")
        vectors = self.image_encoder(features, lengths, training=training)
        normalizes = {"always": True, "in_use": not training, "never": False}
        return self._finished(vectors, normalizes[self._normalize_images])

    def encode_sentences(
        self, tokens: tf.Tensor, lengths: tf.Tensor, training: bool = False
    ) -> tf.Tensor:
        """Encodes sentences: tokens int32[N, T], lengths int32[N] -> float32[N, D].

        Start and end markers are processed like other words. Lengths must be at least 1.
        """
        return self._finished(self.sentence_encoder(tokens, lengths, training=training), True)

    def _pixel_features(
        self, pixels: tf.Tensor, training: bool, network_trains: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns the rows float[B, L, F] of the feature maps, or their mean float[B, F]."""
        own = self._pixels
        assert own is not None

        def maps() -> tf.Tensor:
            return pixel_network.feature_maps(
                own.network,
                own.preprocess,
                pixels,
                average_mirrored=own.average_mirrored and not training,
            )

        if network_trains is None or not training or own.trained_from is None:
            found = maps()
        else:
            # A branch instead of a gradient factor, so that frozen epochs skip the backward pass.
            found = tf.cond(network_trains, maps, lambda: tf.stop_gradient(maps()))
        cells = found.shape[1] * found.shape[2]
        rows = tf.reshape(found, [-1, cells, found.shape[3]])
        return rows if self._pixel_rows else tf.reduce_mean(rows, axis=1)

    def _finished(self, vectors: tf.Tensor, normalize: bool) -> tf.Tensor:
        vectors = tf.cast(vectors, tf.float32)
        if normalize:
            vectors = ops.unit_norm(vectors)
        return tf.abs(vectors) if self._absolute else vectors

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        pixels = self._pixels and {
            **self._pixels._asdict(),
            "network": keras.saving.serialize_keras_object(self._pixels.network),
            "preprocess": pixel_network.serialize_preprocess(self._pixels.preprocess),
        }
        return {**super().get_config(), **self._settings, "pixels": pixels}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: Any = None
    ) -> VisualSemanticEmbedding:
        """Builds a model from the result of `get_config`."""
        saved = config.get("pixels")
        pixels = saved and PixelNetwork(
            **{
                **saved,
                "network": keras.saving.deserialize_keras_object(saved["network"], custom_objects),
                "preprocess": pixel_network.deserialize_preprocess(
                    saved["preprocess"], custom_objects
                ),
            }
        )
        return cls(**{**config, "pixels": pixels})
