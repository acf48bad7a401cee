"""Construction of R2M from its configuration, and files with the rules of its concepts."""

from __future__ import annotations

from typing import Any

from models.r2m import R2M
from pipelines.inputs.concepts import Concepts
from r2m.configuration.settings import (
    precision,
    setting,
)
from tfrecords.core.vocabulary import Vocabulary

CONCEPTS_FILE = "concepts.json"
RULES_FILE = "concept_rules.json"
DEFAULT_RULES: dict[str, Any] = {"min_concept_count": 1, "concept_order": "score"}


def build_model(
    settings: Any, vocabulary: Vocabulary, feature_size: int | None, dtype: str = "float32"
) -> R2M:
    """Builds the R2M that `config.model` describes; raises `InputError` for invalid settings."""
    with precision(dtype), setting("config.model"):
        return R2M(
            vocabulary_size=len(vocabulary), image_features=feature_size, **settings.to_dict()
        )


def concepts_of(config: Any) -> Concepts:
    """Returns the options of the concepts that the encoder reads, from `config.data`."""
    with setting("config.data"):
        (concepts,) = Concepts.candidates(config)
    assert isinstance(concepts, Concepts)
    return concepts
