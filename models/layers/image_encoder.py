"""Encoder of image features: a linear layer or residual MLP per row, then pooling."""

from __future__ import annotations

from typing import Any, Literal

import keras
import tensorflow as tf

from models.layers import ops
from models.layers.dropout import Dropout
from models.layers.linear import Linear, torch_dense
from models.layers.pooling import GeneralizedPooling, Pooling, max_pool, mean_pool
from models.layers.row_dropout import RowDropout

ImageKind = Literal["linear", "mlp"]


@keras.saving.register_keras_serializable("r2m")
class ImageEncoder(keras.layers.Layer):
    """Encoder of image features for visual-semantic embedding.

    Shapes: features float[B, F], or rows float[B, L, F] and lengths int32[B] (None if all rows are
    real) -> float[B, units].

    Example:
        ```python
        encoder = ImageEncoder(feature_size=2_048, units=1_024, kind="mlp", pooling="gpo")
        vectors = encoder(regions, region_lengths)
        ```

    Sources: Kiros et al. 2014, Faghri et al. 2018 (linear); Chen et al. 2021 (MLP, without the
    batch normalization of its hidden layer).
    """

    def __init__(
        self,
        *,
        feature_size: int,
        units: int,
        kind: ImageKind = "linear",
        pooling: Pooling = "mean",
        normalize: bool = False,
        dropout: float = 0.0,
        row_dropout: float = 0.0,
        row_dropout_varies: bool = False,
        **kwargs: Any,
    ) -> None:
        """Builds nothing yet.

        Args:
            feature_size: F.
            units: D.
            kind: `linear`; or `mlp`, a linear layer plus a two-layer MLP with D / 2 hidden units.
            pooling: pooling of the encoded rows: `mean`, `max` or `gpo`.
            normalize: whether to divide each feature vector or row by its L2 norm first.
            dropout: dropout rate of the features.
            row_dropout: probability of removing a row in training; see `RowDropout`.
            row_dropout_varies: whether each image draws its own rate.
            **kwargs: arguments of `keras.layers.Layer`.

        Raises:
            ValueError: the kind is unknown, or the pooling is `last`, which is not defined for the
                unordered rows of images.
        """
        super().__init__(**kwargs)
        if kind not in ("linear", "mlp"):
            raise ValueError(f"unknown image_encoder {kind!r}; known: linear, mlp")
        if pooling == "last":
            raise ValueError(
                "image_pooling=last is not defined for images, whose rows have no order; use mean, "
                "max or gpo"
            )
        self._settings: dict[str, Any] = {
            "feature_size": feature_size, "units": units, "kind": kind, "pooling": pooling,
            "normalize": normalize, "dropout": dropout, "row_dropout": row_dropout,
            "row_dropout_varies": row_dropout_varies,
        }  # fmt: skip
        self._pooling, self._normalize = pooling, normalize
        # A linear layer of the mean row equals the mean over L rows, and is faster.
        self._averages_first = kind == "linear" and pooling == "mean"

    def build(self, *_: Any) -> None:
        """Creates all weights; the input shape is ignored."""
        own, policy = self._settings, self.dtype_policy
        units, feature_size = own["units"], own["feature_size"]
        self.linear = Linear(units, name="linear", dtype=policy)  # Glorot uniform, bias 0
        self.linear.build((None, feature_size))
        self.hidden = self.residual = self.pool = None
        if own["kind"] == "mlp":
            middle = max(units // 2, 1)
            self.hidden = torch_dense(middle, feature_size, "hidden", policy)
            self.residual = torch_dense(units, middle, "residual", policy)
        if self._pooling == "gpo":
            self.pool = GeneralizedPooling(name="pool", dtype=policy)
            self.pool.build()
        self.dropout = Dropout(own["dropout"], name="dropout", dtype=policy)
        self.row_dropout = RowDropout(
            own["row_dropout"], varies=own["row_dropout_varies"], name="row_dropout", dtype=policy
        )

    def call(
        self, features: tf.Tensor, lengths: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Encodes images: float[B, F] or float[B, L, F], lengths int32[B] -> float[B, units]."""
        features = tf.cast(features, self.compute_dtype)
        if self._normalize:
            features = ops.unit_norm(features)
        if features.shape.rank == 2:
            return self._map(self.dropout(features, training=training))
        features, lengths = self.row_dropout(features, lengths, training=training)
        if self._averages_first:
            return self._map(self.dropout(mean_pool(features, lengths), training=training))
        rows = self._map(self.dropout(features, training=training))
        if self.pool is not None:
            return self.pool(rows, lengths)
        return (mean_pool if self._pooling == "mean" else max_pool)(rows, lengths)

    def _map(self, features: tf.Tensor) -> tf.Tensor:
        mapped = self.linear(features)
        if self.hidden is None or self.residual is None:
            return mapped
        return mapped + self.residual(tf.nn.relu(self.hidden(features)))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), **self._settings}
