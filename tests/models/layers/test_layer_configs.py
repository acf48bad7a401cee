"""Configurations of layers: `get_config` keeps every argument, the name and the dtype."""

from __future__ import annotations

from typing import Any

import keras
import pytest

from models.layers.attention import AdditiveAttention
from models.layers.cells import Cell
from models.layers.fusion import AttentionFusion, ConcatFusion
from models.layers.gru import PackedGRU
from models.layers.image_encoder import ImageEncoder
from models.layers.linear import Linear
from models.layers.normalization import LayerNorm
from models.layers.recurrence import LongShortTermMemory
from models.layers.relational_memory import RelationalMemory
from models.layers.row_dropout import RowDropout
from models.layers.sentence_encoder import SentenceEncoder
from models.layers.spatial_position import RelationBias, SpatialPosition
from models.layers.words import WordInput, WordOutput
from models.layers.xlinear import NormalizedMap, XLinearAttention

LAYERS: list[tuple[Any, dict[str, Any], tuple[Any, ...]]] = [
    (AdditiveAttention, {"units": 3}, ((None, None, 4), (None, 2))),
    (AttentionFusion, {"units": 6, "heads": 3}, ()),
    (Cell, {"kind": "maxout", "units": 3, "bias_initializer": "zeros"}, ((None, 2),)),
    (ConcatFusion, {"units": 3}, ()),
    (
        ImageEncoder,
        {"feature_size": 4, "units": 6, "kind": "mlp", "pooling": "max", "row_dropout": 0.2},
        (),
    ),
    (LayerNorm, {"epsilon": 1e-3}, ((None, 4),)),
    (Linear, {"units": 3, "use_bias": False}, ((None, 4),)),
    (LongShortTermMemory, {"units": 3}, ((None, None, 4),)),
    (NormalizedMap, {"units": 3}, ((None, 3),)),
    (PackedGRU, {"units": 3, "layers": 2, "bidirectional": True}, ((None, 4),)),
    (RelationBias, {"heads": 2}, ((None, None, None, 8),)),
    (RelationalMemory, {"units": 6, "heads": 3}, ((None, None, 4),)),
    (RowDropout, {"rate": 0.2, "varies": True}, ()),
    (
        SentenceEncoder,
        {"vocabulary_size": 5, "word_size": 4, "units": 6, "layers": 2, "pooling": "max"},
        (),
    ),
    (SpatialPosition, {"kind": "g2", "units": 4, "grid": 3, "area_norm": "coverage"}, ((None, 4),)),
    (
        WordInput,
        {"vocabulary_size": 5, "units": 3, "initializer": "ones", "relu": True, "dropout": 0.5},
        (),
    ),
    (WordOutput, {"vocabulary_size": 5, "units": 3, "initializer": "ones"}, ()),
    (XLinearAttention, {"units": 4, "hidden_units": 3, "dropout": 0.5}, ((None, 4),)),
]


@pytest.mark.parametrize(
    ("cls", "arguments", "shapes"), LAYERS, ids=lambda x: getattr(x, "__name__", "")
)
def test_layers_come_back_from_their_configs(cls: Any, arguments: Any, shapes: Any) -> None:
    layer = cls(**arguments, name="my_name", dtype="mixed_bfloat16")
    again = cls.from_config(layer.get_config())
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(again))
    assert again.name == "my_name" and again.get_config() == layer.get_config()
    for each in (layer, again):
        if not each.built:
            each.build(*shapes)
        for own in each._flatten_layers():
            in_float32 = cls is AdditiveAttention and own.name == "score"
            assert own.dtype_policy.name == ("float32" if in_float32 else "mixed_bfloat16")
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
