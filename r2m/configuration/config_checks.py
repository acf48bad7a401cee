"""Checks of configurations before records or models are opened. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from r2m.configuration.config_fields import CAPTIONER, FAMILIES, Family, family_of, flattened
from r2m.configuration.decoding_settings import decoding_problems
from r2m.engine.errors import TrainingError
from r2m.engine.known_settings import OPTIMIZERS, SCHEDULES, chosen_settings
from r2m.engine.value_rules import near
from tfrecords.core.errors import InputError
from tfrecords.pictures.feature_options import image_size_of


def check_family(config: Any, stage: str, file: str = "this configuration") -> Family:
    """Returns the family of configurations that have a stage; `config` must belong to it.

    Args:
        config: a ConfigDict.
        stage: name of the stage to train.
        file: origin of the configuration, for messages.

    Raises:
        InputError: the configuration belongs to another family, whose command is named, or to none.
    """
    family, found = family_of(stage), set(config.get("stages") or ())
    if stage in found:
        return family
    for other in FAMILIES:
        if other is not family and found & set(other.stages):
            raise InputError(
                f"{file} is a configuration of {other.title}, which {other.commands} accepts; this "
                f"command requires one of {family.title}, such as {family.example}"
            )
    raise InputError(
        f"{file} has no stages.{stage}: it is not a configuration of {family.title}; start from "
        f"one of them, such as {family.example}"
    )


def check_config(config: Any, stage: str, file: str = "this configuration") -> None:
    """Checks the fields of a configuration and their values.

    Values that depend on the records (the beam size and the vocabulary, durations in epochs) are
    checked later.

    Args:
        config: a ConfigDict.
        stage: name of the stage to train.
        file: origin of the configuration, for messages.

    Raises:
        InputError: the configuration belongs to another family, or has invalid values: one line per
            field, named as on the command line.
    """
    family = check_family(config, stage, file)
    if problems := list(find_problems(flattened(config.to_dict()), family, file)):
        raise InputError("\n".join(problems))


def find_problems(
    values: Mapping[str, Any], family: Family, file: str = "this configuration"
) -> Iterator[str]:
    """Yields one line per invalid field of a configuration.

    Args:
        values: dotted name -> value.
        family: family of the configuration.
        file: origin of the configuration, for messages.
    """
    rules, sound = family.rules_of(values), True
    for field, value in values.items():
        if field not in rules:
            sound = False
            owner = f"{file}: a configuration of {family.title}"
            if field.startswith("model.") and CAPTIONER in values:
                owner = f"{file}: captioner {values[CAPTIONER]}"
            yield unknown_field(field, rules, owner)
        elif expected := rules[field](value):
            sound = False
            yield f"--config.{field}={value}: must be {expected}"
    for field in family.rules.keys() - values.keys():
        sound = False
        yield f"{file} lacks the field {field}; start from the configurations of this version"
    if sound:
        yield from _contradictions(values)


def unknown_field(field: str, known: Mapping[str, Any], owner: str) -> str:
    """Returns the message for a field that `owner` does not have; `known` are the ones it has."""
    group, _, last = field.rpartition(".")
    inside = [name for name in known if name.startswith(f"{group}.")] if group else []

    def ending_with(names: Iterable[str], word: str = last) -> list[str]:
        return [name for name in names if name.rpartition(".")[2] == word]

    def spelled_like(names: Collection[str], word: str = last) -> list[str]:
        right = near(word, dict.fromkeys(name.rpartition(".")[2] for name in names))
        return [name for word in right for name in ending_with(names, word)]

    # Candidates in the same group come first, then fields of the same name in other groups.
    choices = (
        ending_with(inside),
        spelled_like([name for name in inside if name.rpartition(".")[0] == group]),
        ending_with(known),
        # In optimiser.rate the group is misspelled, and is itself a field: training.optimizer.
        [] if inside else spelled_like(known, group),
        spelled_like(known),
        near(field, [name for name in known if name not in inside]),
    )
    found = next(filter(None, choices), None)
    meant = ""
    if found:
        meant = " did you mean " + " or ".join(f"--config.{name}" for name in found) + "?"
    start = f"{group}." if inside else ""
    names = sorted({name.removeprefix(start).split(".")[0] for name in inside or known})
    where = f"config.{group}" if inside else "config"
    return f"--config.{field}: {owner} has no such field;{meant} {where} has {', '.join(names)}"


def _contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per set of values that contradict each other."""
    yield from _training_contradictions(_group(values, "training."))
    for field in ("training.schedule", "stages.self_critical.schedule"):
        if schedule := _group(values, f"{field}."):
            yield from _schedule_contradictions(schedule, field)
    yield from _reward_contradictions(_group(values, "reward."))
    if decoding := _group(values, "decoding."):
        yield from decoding_problems(decoding)
    if "loss.hinges" in values:
        yield from _ranking_contradictions(values)
    if values["image.source"] == "pixels":
        if embedding := values.get("image.embedding"):
            yield (
                f"--config.image.embedding={embedding}: must be empty with image.source=pixels: an "
                "embedding reads stored vectors"
            )
        alpha, backbone = values["image.alpha"], values["image.backbone"]
        crop = values["image.crop"] or image_size_of(backbone)
        resize = values["image.resize"] or crop
        if crop > resize:
            yield f"--config.image.crop={crop}: must be at most image.resize={resize}"
        if alpha and not backbone.startswith("MobileNet"):
            yield (
                f"--config.image.alpha={alpha}: must be 0 with image.backbone={backbone}: only the "
                "MobileNets have a width multiplier"
            )
    # The constructors of captioners check combinations of model settings.
    if CAPTIONER not in values and "model.heads" in values:
        heads, units = values["model.heads"], values["model.units"]
        if units % heads:
            yield f"--config.model.heads={heads}: must divide model.units={units}"


def _ranking_contradictions(values: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per setting of a visual-semantic embedding that contradicts another."""
    if values["loss.hinges"] == "sum" and values["loss.sum_epochs"]:
        yield (
            f"--config.loss.sum_epochs={values['loss.sum_epochs']}: must be 0 with "
            "loss.hinges=sum, which is the sum in all epochs"
        )
    if values["loss.name"] == "softmax" and values["loss.sum_epochs"]:
        yield (
            f"--config.loss.sum_epochs={values['loss.sum_epochs']}: must be 0 with "
            "loss.name=softmax, which has no hinges"
        )
    several, batch_size = values["data.captions_per_image"], values["stages.ranking.batch_size"]
    if several > 1:
        shown = f"--config.data.captions_per_image={several}: "
        if batch_size % several or batch_size < 2 * several:
            yield (
                f"{shown}must divide stages.ranking.batch_size={batch_size}, the number of "
                "captions in a batch, into two images at least"
            )
        if not values["loss.mask_same_image"]:
            yield (
                f"{shown}must be 1 without loss.mask_same_image, because the captions of an image "
                "would be its negatives"
            )
        if values["data.batching"] == "same_length":
            yield (
                f"{shown}must be 1 with data.batching=same_length, because the captions of an "
                "image differ in length"
            )
    if values["model.sentence_encoder"] != "bow":
        return
    size, word_size = values["model.size"], values["model.word_size"]
    if size != word_size:
        yield (
            f"--config.model.word_size={word_size}: must be model.size={size} with "
            "model.sentence_encoder=bow, which adds up the vectors of words"
        )
    if values["model.sentence_pooling"] == "last":
        yield (
            "--config.model.sentence_pooling=last: must be mean, max or gpo with "
            "model.sentence_encoder=bow, which ignores the order of words"
        )


def _group(values: Mapping[str, Any], start: str) -> dict[str, Any]:
    """Returns the values whose names start with `start`, by the rest of their names."""
    return {k.removeprefix(start): value for k, value in values.items() if k.startswith(start)}


def _reward_contradictions(reward: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per set of values of `config.reward` that contradict each other."""
    if reward and not reward["cider_weight"] + reward["bleu_weight"]:
        yield (
            "--config.reward.cider_weight=0 and --config.reward.bleu_weight=0: one of them must be "
            "above 0, or nothing is rewarded"
        )
    greedy = bool(reward) and (reward["loss"], reward["baseline"]) == ("policy", "greedy")
    if greedy and reward["dropout"]:
        # Captions are generated without dropout. Most samples get a lower reward than the greedy
        # caption, so the gradient under dropout makes their words, including end markers, less
        # likely.
        yield (
            "--config.reward.dropout=True: must be False with reward.baseline=greedy, whose "
            "differences are not 0 on average: under dropout they make all captions less likely"
        )
    if reward.get("samples") != 1 or greedy:
        return
    compared = f"baseline={reward['baseline']}"
    if reward["loss"] != "policy":
        compared = f"loss={reward['loss']}"
    yield (
        f"--config.reward.samples=1: must be at least 2 with reward.{compared}, which compares the "
        "captions of an image with each other; or set reward.loss=policy and reward.baseline=greedy"
    )


def _training_contradictions(training: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line per set of values of `config.training` that contradict each other."""
    parts, norm = training["micro_batches"], training["clip_global_norm"]
    if training["at_once"] > parts:
        at_once = training["at_once"]
        yield f"--config.training.at_once={at_once}: must be at most training.micro_batches={parts}"
    if norm is not None and (bound := training["clip_value"]) is not None:
        yield (
            f"--config.training.clip_value={bound} and --config.training.clip_global_norm={norm}: "
            "one of them must be None"
        )
    settings = _group(training, "optimizer_settings.")
    try:
        chosen_settings("optimizer", training["optimizer"], SimpleNamespace(**settings), OPTIMIZERS)
    except TrainingError as error:
        yield f"--config.training.optimizer_settings: {error}"
    if training["optimizer"] == "kiros_adam":
        for beta in ("beta_1", "beta_2"):
            # Its correction divides by 1 - (1 - beta)^t.
            if training[f"optimizer_settings.{beta}"] == 0:
                field = f"--config.training.optimizer_settings.{beta}"
                yield f"{field}=0: must be above 0 for kiros_adam"
    momentum = training["optimizer_settings.momentum"]
    if training["optimizer_settings.nesterov"] and not momentum:
        yield (
            "--config.training.optimizer_settings.nesterov=True: needs "
            "training.optimizer_settings.momentum above 0"
        )


def _schedule_contradictions(schedule: Mapping[str, Any], field: str) -> Iterator[str]:
    """Yields one line per set of values of a schedule, `field`, that contradict each other."""
    try:
        chosen_settings("schedule", schedule["name"], SimpleNamespace(**schedule), SCHEDULES)
    except TrainingError as error:
        yield f"--config.{field}: {error}"
    warm_up, factor = schedule["warm_up"], schedule["factor"]
    if schedule["name"] == "noam" and not warm_up:
        yield f"--config.{field}.warm_up={warm_up}: 'noam' needs the steps up to its peak"
    if schedule["name"] == "plateau" and factor is not None and factor >= 1:
        yield f"--config.{field}.factor={factor}: must be below 1 for 'plateau'"
