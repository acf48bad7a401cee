"""R2M as its configuration describes it, and the files that tell how its concepts are chosen."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from models.r2m import R2M
from pipelines.concepts import ConceptOptions
from r2m.configuration.settings import (
    precision,
    setting,
)
from tfrecords.vocabulary import Vocabulary

CONCEPTS_FILE = "concepts.json"
RULES_FILE = "concept_rules.json"
DEFAULT_RULES: dict[str, Any] = {"min_concept_count": 1, "concept_order": "score"}
# The inputs of R2M's `encode`.
CONCEPT_INPUTS = {
    "concepts": tf.TensorSpec([None, None], tf.int32),
    "concept_lengths": tf.TensorSpec([None], tf.int32),
}


def build_model(
    settings: Any, vocabulary: Vocabulary, feature_size: int | None, dtype: str = "float32"
) -> R2M:
    """The network that `config.model` describes; raises `InputError` for impossible settings."""
    with precision(dtype), setting("config.model"):
        return R2M(
            vocabulary_size=len(vocabulary), image_features=feature_size, **settings.to_dict()
        )


def concept_options(config: Any) -> ConceptOptions:
    """What the encoder is shown, as `config.data` says."""
    with setting("config.data"):
        return ConceptOptions(
            max_concepts=config.data.max_concepts, max_repeats=config.data.max_repeats
        )
