"""Rules of every field of every configuration, which `config_checks` applies.

`configs/common.py` and the `configs/*_sections.py` describe the fields. A field that is added to
one of them needs a rule here; without one it is rejected as unknown. Rules of training settings are
those of the engine's options (`training_fields`), rules of a captioner's model settings follow from
its configuration (`captioner_fields`). Needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from configs import common
from losses.reward_losses import REWARD_LOSSES
from models.decoding.options import LENGTH_PENALTIES, METHODS
from r2m.configuration.captioner_fields import captioner_name, model_rules
from r2m.configuration.limits import (
    MOST_ALPHA,
    MOST_BEAMS,
    MOST_PIXELS,
    MOST_TEMPERATURE,
    MOST_UNITS,
    MOST_WORDS,
)
from r2m.configuration.training_fields import training_rules
from r2m.engine.value_rules import Rule, choice, name, number, optional, path, switch, whole, words
from tfrecords.core.errors import InputError

# Field that names the captioner of a configuration.
CAPTIONER = "model.captioner"


def flattened(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns the values of nested mappings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


# Dotted name in the configuration -> rule; may be nested.
_Rules = dict[str, Any]

_TRAINING: _Rules = training_rules(flattened(common.training()))
_OPTIONS = training_rules(("learning_rate", "steps", "evaluate_every"))
_STAGE: _Rules = {**_OPTIONS, "batch_size": whole(1, 1_000_000)}
_SCHEDULE: _Rules = training_rules(flattened({"schedule": common.schedule()}))
DECODING: _Rules = {
    "method": choice(*METHODS),
    "beam_size": whole(1, MOST_BEAMS),
    "max_length": whole(1, MOST_WORDS),
    "length_penalty": choice(*LENGTH_PENALTIES),
    "length_normalization": number(least=0, most=MOST_ALPHA),
    "beam_groups": whole(1, MOST_BEAMS),
    "diversity": number(least=0),
    "min_length": whole(0, MOST_WORDS),
    "block_trigrams": switch,
    "block_repeats": switch,
    "block_bad_endings": switch,
    "must_contain": words,
    "must_not_contain": words,
    "temperature": number(above=0, most=MOST_TEMPERATURE),
    "top_k": optional(whole(1)),
    "top_p": number(above=0, most=1),
    "sampling_seed": whole(0),
    "allow_unknown": switch,
}
_IMAGE: _Rules = {
    "source": choice("features", "pixels"),
    "backbone": name,
    "weights": name,
    "alpha": number(least=0, most=10),
}
_SIDE = whole(1, MOST_PIXELS)
_REWARD: _Rules = {
    "samples": whole(1, 1_000),
    "sampling": choice("draws", "beam"),
    "cider_weight": number(least=0),
    "bleu_weight": number(least=0),
    "neighbors": whole(0),
    "neighbor_share": number(above=0, most=1),
    "loss": choice(*REWARD_LOSSES),
    "baseline": choice("leave_one_out", "greedy"),
    "reduction": choice("words", "captions"),
    "document_frequencies": optional(name),
    "entropy_weight": number(least=0),
    "dropout": switch,
}
_CAPTIONER: _Rules = {
    "name": name,
    "seed": whole(0),
    "data": {
        "captions": path,
        "captions_per_image": whole(1, 1_000),
        "max_length": whole(1, MOST_WORDS),
        "unit_norm": switch,
        "use_box": switch,
        "views": switch,
        "rows": optional(choice("grid", "regions")),
    },
    "image": {
        **_IMAGE,
        "resize": optional(_SIDE),
        "crop": optional(_SIDE),
        "mirror": switch,
        "average_mirrored": switch,
        "least_area": number(above=0, most=1),
        "trained_from": optional(name),
        "learning_rate_factor": number(least=0),
    },
    "model": {"captioner": captioner_name},
    "loss": {
        "smoothing": number(least=0, below=1),
        "reduction": choice("words", "captions"),
        "drop_worst": number(least=0, below=1),
        "drop_worst_after": whole(0),
        "sampling_start": optional(whole(0)),
        "sampling_every": whole(1),
        "sampling_increase": number(least=0, most=1),
        "sampling_most": number(least=0, most=1),
    },
    "reward": {
        **_REWARD,
        "max_length": whole(1, MOST_WORDS),
        "cross_entropy_weight": number(least=0, below=1),
    },
    "decoding": DECODING,
    "training": _TRAINING,
    "stages": {"cross_entropy": _STAGE, "self_critical": {**_STAGE, **_SCHEDULE}},
}
_UNITS = whole(1, MOST_UNITS)
_RATE = number(least=0, below=1)
_RETRIEVAL: _Rules = {
    "name": name,
    "seed": whole(0),
    "data": {
        "captions": path,
        "batching": choice("shuffled", "same_length"),
        "captions_per_image": whole(1, 1_000),
        "max_length": whole(1, MOST_WORDS),
        "start_marker": switch,
        "word_noise": _RATE,
        "rows": optional(choice("grid", "regions")),
        "unit_norm": switch,
        "use_box": switch,
        "views": switch,
    },
    "image": {**_CAPTIONER["image"], "frozen_epochs": whole(0)},
    "model": {
        "size": _UNITS,
        "word_size": _UNITS,
        "sentence_encoder": choice("gru", "bow"),
        "layers": whole(1, 100),
        "bidirectional": switch,
        "sentence_pooling": choice("last", "mean", "max", "gpo"),
        "gru_weights": choice("torch", "kiros"),
        "word_dropout": _RATE,
        "image_input": choice("global", "regions"),
        "image_encoder": choice("linear", "mlp"),
        "image_pooling": choice("mean", "max", "gpo"),
        "image_dropout": _RATE,
        "row_dropout": _RATE,
        "row_dropout_varies": switch,
        "normalize_features": switch,
        "normalize_images": choice("always", "in_use", "never"),
        "absolute": switch,
        "similarity": choice("cosine", "order"),
    },
    "loss": {
        "name": choice("hinges", "softmax"),
        "temperature": number(above=0),
        # Cosines differ by at most 2: no pair can exceed another by more.
        "margin": number(above=0, below=2),
        "hinges": choice("sum", "max"),
        "sum_epochs": whole(0),
        "mask_same_image": switch,
    },
    "teacher": {
        "runs": path,
        "records": path,
        "weight": number(above=0, most=1),
        "temperature": number(above=0),
    },
    "training": _TRAINING,
    # A single pair has no negatives.
    "stages": {"ranking": {**_STAGE, "batch_size": whole(2, 1_000_000)}},
}
_R2M_STAGE = {**_STAGE, "max_length": whole(1, MOST_WORDS)}
_R2M: _Rules = {
    "name": name,
    "seed": whole(0),
    "data": {
        "corpora": path,
        "images": path,
        "captions": path,
        "max_concepts": whole(1, 1_000),
        "max_repeats": whole(1, 1_000),
        "concept_noise": number(least=0),
        "word_dropout": number(least=0, below=1),
        "scheduled_sampling": number(least=0, most=1),
        "match_images": number(least=0, most=1),
    },
    "image": {**_IMAGE, "resize": _SIDE, "crop": _SIDE, "embedding": path},
    "model": {
        "units": whole(1, MOST_UNITS),
        "heads": whole(1, MOST_UNITS),
        "decoder": choice("relational", "lstm"),
        "fusion": choice("attention", "concat"),
        "reconstructor": choice("relational", "lstm"),
        "dropout": number(least=0, below=1),
        "tie_embeddings": switch,
        "image_projection": choice("trained", "frozen"),
    },
    "loss": {"reconstruction_weight": number(least=0), "margin": number(least=0)},
    "decoding": DECODING,
    "training": _TRAINING,
    "reward": _REWARD,
    "stages": dict.fromkeys(("xe", "xe_rec", "tri", "tri_rec", "joint", "reward"), _R2M_STAGE),
}


class Family(NamedTuple):
    """Configurations with the same sections.

    Attributes:
        title: kind of model that they train, for messages.
        folder: folder in `configs`.
        stages: names of their stages, in order.
        commands: commands that accept them, for messages.
        example: flag with one of them, for messages.
        rules: dotted name -> rule of the fields that each configuration must have.
        model_rules: returns the rules of the optional model settings of a captioner; None if
            `rules` contains all model settings.
    """

    title: str
    folder: str
    stages: tuple[str, ...]
    commands: str
    example: str
    rules: Mapping[str, Rule]
    model_rules: Callable[[Any], Mapping[str, Rule]] | None = None

    def rules_of(self, values: Mapping[str, Any]) -> dict[str, Rule]:
        """Returns the rules of all fields that a configuration with these values may have."""
        if self.model_rules is None:
            return dict(self.rules)
        return {**self.rules, **flattened({"model": self.model_rules(values.get(CAPTIONER))})}


CAPTIONER_STAGES = tuple(_CAPTIONER["stages"])
R2M_STAGES = tuple(_R2M["stages"])
RETRIEVAL_STAGES = tuple(_RETRIEVAL["stages"])
FAMILIES = (
    Family(
        "R2M",
        "r2m",
        R2M_STAGES,
        "r2m-train-curriculum (and r2m-train-xe, -xe-rec, -tri, -tri-rec, -joint, -self-critical)",
        "--config=flickr8k",
        flattened(_R2M),
    ),
    Family(
        "supervised captioners",
        "captioners",
        CAPTIONER_STAGES,
        "r2m-train-captioner (and r2m-train-self-critical)",
        "--config=updown:flickr8k",
        flattened(_CAPTIONER),
        model_rules,
    ),
    Family(
        "visual-semantic embeddings",
        "retrieval",
        RETRIEVAL_STAGES,
        "r2m-train-retrieval",
        "--config=vse++:flickr8k",
        flattened(_RETRIEVAL),
    ),
)


def family_of(stage: str) -> Family:
    """Returns the family with a stage of this name; raises `InputError` for an unknown one."""
    for family in FAMILIES:
        if stage in family.stages:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.stages)
    raise InputError(f"unknown stage {stage!r}; known: {known}")
