"""Every field of every configuration: its kind and range, checked before anything is loaded.

`configs/common.py`, `configs/captioners/base.py` and `configs/r2m/base.py` say what the fields do.
Needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from r2m.engine.errors import TrainingError
from r2m.engine.optimization.known_settings import OPTIMIZERS, SCHEDULES, chosen_settings
from r2m.stages.value_rules import (
    MOST_ALPHA,
    MOST_BEAMS,
    MOST_PIXELS,
    MOST_WORDS,
    Rule,
    address,
    choice,
    name,
    near,
    number,
    optional,
    path,
    period,
    switch,
    whole,
)
from tfrecords.errors import InputError

PRECISIONS = ("float32", "mixed_bfloat16")

# Dotted name below the configuration -> rule, or nested so.
_Rules = dict[str, Any]

_TRAINING: _Rules = {
    # `make_strategy` refuses names, each with its reason, before it does anything else.
    "strategy": name,
    "data_service": optional(address),
    "precision": choice(*PRECISIONS),
    "jit": switch,
    "micro_batches": whole(1, 1_024),
    "at_once": whole(1, 1_024),
    "optimizer": choice(*OPTIMIZERS),
    "optimizer_settings": {
        "beta_1": optional(number(least=0, below=1)),
        "beta_2": optional(number(least=0, below=1)),
        "epsilon": optional(number(above=0)),
        "rho": optional(number(least=0, below=1)),
        "momentum": optional(number(least=0, below=1)),
        "nesterov": optional(switch),
    },
    "schedule": {
        "name": choice(*SCHEDULES),
        "warm_up": period(0),
        "decay_start": optional(period(0)),
        "decay_every": optional(period(1)),
        "decay_rate": optional(number(above=0, most=1)),
        "factor": optional(number(above=0)),
        "model_size": optional(whole(1)),
        "final_fraction": optional(number(least=0, most=1)),
        "patience": optional(whole(0)),
        "min_learning_rate": optional(number(least=0)),
    },
    "clip_global_norm": optional(number(above=0, most=1e30)),
    "clip_value": optional(number(above=0, most=1e30)),
    "weight_decay": number(least=0),
    "ema_decay": optional(number(above=0, below=1)),
    "steps_per_loop": whole(1, 1_000_000),
    "log_every": period(1),
    "keep_checkpoints": whole(1),
    "on_nonfinite": choice("stop", "skip"),
    "max_skipped": whole(1),
}

# As `MOST_WORDS` and the like.
_BATCH, _UNITS = 1_000_000, 65_536

_STAGE: _Rules = {
    "learning_rate": number(above=0),
    "batch_size": whole(1, _BATCH),
    "steps": period(1, percent=False),
    "evaluate_every": period(0),
}
_DECODING: _Rules = {
    "beam_size": whole(1, MOST_BEAMS),
    "max_length": whole(1, MOST_WORDS),
    "length_normalization": number(least=0, most=MOST_ALPHA),
    "allow_unknown": switch,
}
_IMAGE: _Rules = {
    "source": choice("features", "pixels"),
    "resize": whole(1, MOST_PIXELS),
    "crop": whole(1, MOST_PIXELS),
    "backbone": name,
    "weights": name,
    "alpha": number(least=0, most=10),
}
_CAPTIONER: _Rules = {
    "name": name,
    "seed": whole(0),
    "data": {
        "captions": path,
        "captions_per_image": whole(1, 1_000),
        "max_length": whole(1, MOST_WORDS),
        "unit_norm": switch,
        "rows": optional(choice("grid", "regions")),
    },
    "image": {
        **_IMAGE,
        "mirror": switch,
        "average_mirrored": switch,
        "least_area": number(above=0, most=1),
        "trained_from": optional(name),
        "learning_rate_factor": number(least=0),
    },
    "model": {
        "captioner": choice("rnn", "lstm", "attention_lstm", "fc", "att2in", "att2in2", "updown"),
        "units": optional(whole(1, _UNITS)),
        "word_size": optional(whole(1, _UNITS)),
        "attention_units": optional(whole(1, _UNITS)),
        "pool": optional(choice("flatten", "average")),
        "dropout": optional(number(least=0, below=1)),
    },
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
    "reward": {"samples": whole(2, 1_000), "max_length": whole(1, MOST_WORDS)},
    "decoding": _DECODING,
    "training": _TRAINING,
    "stages": {"cross_entropy": _STAGE, "self_critical": _STAGE},
}
_R2M_STAGE = {**_STAGE, "max_length": whole(1, MOST_WORDS)}
_R2M: _Rules = {
    "name": name,
    "seed": whole(0),
    "data": {
        "corpora": path,
        "images": path,
        "max_concepts": whole(1, 1_000),
        "max_repeats": whole(1, 1_000),
    },
    "image": _IMAGE,
    "model": {
        "units": whole(1, _UNITS),
        "heads": whole(1, _UNITS),
        "decoder": choice("relational", "lstm"),
        "fusion": choice("attention", "concat"),
        "reconstructor": choice("relational", "lstm"),
        "dropout": number(least=0, below=1),
        "tie_embeddings": switch,
        "image_projection": choice("trained", "frozen"),
    },
    "loss": {"reconstruction_weight": number(least=0), "margin": number(least=0)},
    "decoding": _DECODING,
    "training": _TRAINING,
    "stages": dict.fromkeys(("xe", "xe_rec", "tri", "tri_rec", "joint"), _R2M_STAGE),
}

# Captioner -> what of `model` it has besides `units`, `word_size` and `dropout`.
_CAPTIONER_PARTS = {
    "rnn": {"pool"},
    "lstm": {"pool"},
    "attention_lstm": set(),
    "fc": set(),
    "att2in": {"attention_units"},
    "att2in2": {"attention_units"},
    "updown": {"attention_units"},
}


class Family(NamedTuple):
    """Configurations with the same fields.

    Attributes:
        title: what they train.
        stages: of each of them.
        commands: that take them.
        example: one of them.
        rules: dotted name -> rule.
    """

    title: str
    stages: tuple[str, ...]
    commands: str
    example: str
    rules: Mapping[str, Rule]


def flattened(nested: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Dotted name -> value, of nested mappings."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{above}{key}.")
        else:
            found[f"{above}{key}"] = value
    return found


FAMILIES = (
    Family(
        "R2M",
        tuple(_R2M["stages"]),
        "r2m-train-curriculum (and r2m-train-xe, -xe-rec, -tri, -tri-rec and -joint)",
        "configs/r2m/flickr8k.py",
        flattened(_R2M),
    ),
    Family(
        "supervised captioners",
        tuple(_CAPTIONER["stages"]),
        "r2m-train-captioner (and r2m-train-self-critical)",
        "configs/captioners/updown.py:flickr8k",
        flattened(_CAPTIONER),
    ),
)


def family_of(stage: str) -> Family:
    """The configurations that have a stage of this name; raises `InputError` for an unknown one."""
    for family in FAMILIES:
        if stage in family.stages:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.stages)
    raise InputError(f"unknown stage {stage!r}; known: {known}")


def check_family(config: Any, stage: str, file: str = "this configuration") -> Family:
    """The family of `stage`, which `config` is of.

    Args:
        config: a ConfigDict.
        stage: that shall be trained.
        file: where the configuration comes from, for messages.

    Raises:
        InputError: it is of the other family, or of none; names the command that takes it.
    """
    family, found = family_of(stage), set(config.get("stages") or ())
    if stage in found:
        return family
    for other in FAMILIES:
        if other is not family and found & set(other.stages):
            raise InputError(
                f"{file} is a configuration of {other.title}, which {other.commands} takes; this "
                f"command takes those of {family.title}, such as {family.example}"
            )
    raise InputError(
        f"{file} has no stages.{stage}: it is no configuration of {family.title}; begin with one "
        f"of theirs, such as {family.example}"
    )


def check_config(config: Any, stage: str, file: str = "this configuration") -> None:
    """Refuses values that cannot be trained with, before records or models are opened.

    What depends on the records (a beam and their vocabulary, periods in epochs) is checked later.

    Args:
        config: a ConfigDict.
        stage: that shall be trained.
        file: where the configuration comes from, for messages.

    Raises:
        InputError: a configuration of another family, or values that are wrong: a line for each,
            with the field as it is given on the command line.
    """
    family = check_family(config, stage, file)
    if problems := list(find_problems(flattened(config.to_dict()), family, file)):
        raise InputError("\n".join(problems))


def find_problems(
    values: Mapping[str, Any], family: Family, file: str = "this configuration"
) -> Iterator[str]:
    """What is wrong with the fields of a configuration, a line for each.

    Args:
        values: dotted name -> value.
        family: of the configuration.
        file: where it comes from, for messages.
    """
    rules, sound = family.rules, True
    for field, value in values.items():
        if field not in rules:
            sound = False
            yield unknown_field(field, rules, file)
        elif expected := rules[field](value):
            sound = False
            yield f"--config.{field}={value}: must be {expected}"
    for field in rules.keys() - values.keys():
        sound = False
        yield f"{file} lacks the field {field}; begin with the configurations of this version"
    if sound:
        yield from _contradictions(values)


def unknown_field(field: str, known: Mapping[str, Any], file: str) -> str:
    """What to say about a field that a configuration does not have."""
    group, _, last = field.rpartition(".")
    inside = [name for name in known if name.startswith(f"{group}.")] if group else []

    def called_so(names: Iterable[str]) -> list[str]:
        return [name for name in names if name.rpartition(".")[2] == last]

    # In the same group first; a field that is right but for its group before one of another name.
    found = next(
        filter(
            None, (called_so(inside), near(field, inside), called_so(known), near(field, known))
        ),
        None,
    )
    meant = ""
    if found:
        meant = " did you mean " + " or ".join(f"--config.{name}" for name in found) + "?"
    start = f"{group}." if inside else ""
    names = sorted({name.removeprefix(start).split(".")[0] for name in inside or known})
    where = f"config.{group}" if inside else "config"
    return f"--config.{field}: {file} has no such field;{meant} {where} has {', '.join(names)}"


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Values that are right by themselves and do not go together."""
    yield from _training_contradictions(_group(values, "training."))
    if values["image.source"] == "pixels":
        crop, resize = values["image.crop"], values["image.resize"]
        if crop > resize:
            yield f"--config.image.crop={crop}: must be at most image.resize={resize}"
        alpha, backbone = values["image.alpha"], values["image.backbone"]
        if alpha and not backbone.startswith("MobileNet"):
            yield (
                f"--config.image.alpha={alpha}: must be 0 with image.backbone={backbone}: only the "
                "MobileNets have one"
            )
    units, heads = values["model.units"], values.get("model.heads")
    if heads is not None and units % heads:
        yield f"--config.model.heads={heads}: must divide model.units={units}"
    if (captioner := values.get("model.captioner")) is not None:
        for part in ("attention_units", "pool"):
            value = values[f"model.{part}"]
            if value is not None and part not in _CAPTIONER_PARTS[captioner]:
                yield f"--config.model.{part}={value}: must be None: {captioner} has no such part"


def _group(values: Mapping[str, Any], start: str) -> dict[str, Any]:
    """The values whose names begin so, named without it."""
    return {k.removeprefix(start): value for k, value in values.items() if k.startswith(start)}


def _training_contradictions(training: Mapping[str, Any]) -> Iterator[str]:
    parts, norm = training["micro_batches"], training["clip_global_norm"]
    if training["at_once"] > parts:
        at_once = training["at_once"]
        yield f"--config.training.at_once={at_once}: must be at most training.micro_batches={parts}"
    if norm is not None and (bound := training["clip_value"]) is not None:
        yield (
            f"--config.training.clip_value={bound} and --config.training.clip_global_norm={norm}: "
            "one of them must be None"
        )
    for group, kind, known in (
        ("optimizer_settings.", "optimizer", OPTIMIZERS),
        ("schedule.", "schedule", SCHEDULES),
    ):
        given = _group(training, group)
        chosen = training["optimizer"] if kind == "optimizer" else given["name"]
        try:
            chosen_settings(kind, chosen, SimpleNamespace(**given), known)
        except TrainingError as error:
            yield f"--config.training.{group.rstrip('.')}: {error}"
    if training["optimizer"] == "kiros_adam":
        for beta in ("beta_1", "beta_2"):
            # Its correction divides by 1 - (1 - beta)^t.
            if training[f"optimizer_settings.{beta}"] == 0:
                yield f"--config.training.optimizer_settings.{beta}=0: kiros_adam needs one above 0"
    momentum = training["optimizer_settings.momentum"]
    if training["optimizer_settings.nesterov"] and not momentum:
        yield (
            "--config.training.optimizer_settings.nesterov=True: needs "
            "training.optimizer_settings.momentum above 0"
        )
    schedule, warm_up = training["schedule.name"], training["schedule.warm_up"]
    if schedule == "noam" and not warm_up:
        yield f"--config.training.schedule.warm_up={warm_up}: 'noam' needs the steps up to its peak"
    factor = training["schedule.factor"]
    if schedule == "plateau" and factor is not None and factor >= 1:
        yield f"--config.training.schedule.factor={factor}: must be below 1 for 'plateau'"
