"""Transformer: self-attention over regions and over words, without recurrence."""

from __future__ import annotations

from typing import Any

from models.captioners.base import Inputs
from models.captioners.registry import register_captioner
from models.captioners.self_attentive import SelfAttentiveCaptioner
from models.layers.normalization import NormKind
from models.layers.transformer import Activation


@register_captioner("transformer")
class Transformer(SelfAttentiveCaptioner):
    """Transformer encoder over regions, without positions, and decoder over words.

    The encoder's input is x = Dropout(relu(W r)). Encoder and decoder layers are pre-norm, x +
    Dropout(sublayer(norm(x))), with a norm after the last layer. Words are sqrt(units) * embedding
    plus a sinusoidal position encoding.

    Shapes: `regions` float[B, L, F], `region_lengths` int32[B] (optional).

    Example:
        ```python
        model = Transformer(vocabulary_size=9_488, feature_size=2_048)
        memory = model.encode({"regions": tf.zeros([8, 36, 2_048])})
        hidden = model.teacher_forced(memory, tf.ones([8, 17], tf.int32))
        ```

    Source: Vaswani et al. 2017 (arXiv 1706.03762), as in self-critical.pytorch, which has norm
    `unbiased`.
    """

    inputs = Inputs(required=("regions",))

    def __init__(
        self,
        *,
        vocabulary_size: int,
        feature_size: int,
        units: int = 512,
        heads: int = 8,
        inner_units: int = 2048,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        dropout: float = 0.1,
        input_dropout: float = 0.5,
        norm: NormKind = "layer",
        activation: Activation = "relu",
        tie_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        """Builds every weight.

        Args:
            vocabulary_size: V, markers included.
            feature_size: F.
            units: width of all rows.
            heads: number of heads of every attention.
            inner_units: inner width of every feed-forward.
            encoder_layers: number of layers over regions.
            decoder_layers: number of layers over words.
            dropout: dropout rate inside encoder and decoder.
            input_dropout: dropout rate of the regions.
            norm: `layer`, `unbiased` (layer normalization by the sample deviation) or `rms`.
            activation: activation of the feed-forwards, `relu` or `gelu`.
            tie_embeddings: whether the softmax layer uses the word embedding as weights.
            **kwargs: arguments of `keras.Model` (name, dtype).
        """
        super().__init__(**kwargs)
        settings = {
            "vocabulary_size": vocabulary_size, "feature_size": feature_size, "units": units,
            "heads": heads, "inner_units": inner_units, "encoder_layers": encoder_layers,
            "decoder_layers": decoder_layers, "dropout": dropout, "input_dropout": input_dropout,
            "norm": norm, "activation": activation, "tie_embeddings": tie_embeddings,
        }  # fmt: skip
        self.build_input(settings)
        self.build_stacks()
