"""Every field of every configuration, with invalid values and with unusual valid ones."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

import configs
from configs import captioner_sections, retrieval_sections
from configs.captioners import updown
from configs.r2m import shapes
from configs.retrieval import uvs, vse_infinity
from losses.distillation import distilled_ranking
from losses.ranking import softmax_ranking
from models.captioners.registry import captioner_names
from models.decoding.beam import beam_search
from models.decoding.search import DecodingOptions
from pipelines.inputs.pixels import Pixels
from r2m.configuration.config_checks import check_config, find_problems, unknown_field
from r2m.configuration.config_fields import FAMILIES, Family, flattened
from r2m.configuration.settings import training_options
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.inference.captioner_model import build_model as build_captioner
from r2m.inference.captioning import search_options
from r2m.inference.r2m_model import build_model as build_r2m
from r2m.inference.r2m_model import concepts_of
from r2m.inference.retrieval_model import build_embedding, pair_options
from r2m.tasks.captioning.cross_entropy import CrossEntropy, CrossEntropyOptions
from r2m.tasks.captioning.reward_config import option_fields
from r2m.tasks.captioning.self_critical import SelfCriticalOptions
from r2m.tasks.retrieval.objective import RankingOptions
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import Vocabulary

HUGE = 10**400  # no float holds it
ODD = (0, -1, 0.5, math.nan, math.inf, -math.inf, 10**30, HUGE, "", "x", "-1%", None, True, [1])
FOLDER = Path(configs.__path__[0])
FILES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in FOLDER.glob("*/*.py")
    if path.name != "__init__.py"
)
SIZES = captioner_sections.SIZES
PRESETS = [file for file in FILES if file.startswith("retrieval.")]
ARGUMENTS = {
    **{"r2m.shapes": ("test",), "r2m.flickr8k": (), "r2m.coco_shutterstock": ()},
    **dict.fromkeys(PRESETS, retrieval_sections.SIZES),
}
# Fields whose text is not checked by a rule, because it names something that is looked up later.
OPEN = {
    "name", "data.captions", "data.corpora", "data.images", "image.backbone", "image.weights",
    "image.trained_from", "image.embedding", "teacher.runs", "teacher.records",
    "training.strategy", "model.pool",
    "reward.document_frequencies",
    "decoding.must_contain", "decoding.must_not_contain",
    "model.norm", "model.activation", "model.position", "model.area_norm", "model.cross_attention",
}  # fmt: skip
# Each optimizer and schedule has additional settings to sweep.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adamw": {"beta_1": 0.8},
    "kiros_adam": {"beta_1": 0.8, "beta_2": 0.9},
    "rmsprop": {"rho": 0.8, "momentum": 0.1, "epsilon": 1e-3},
    "sgd": {"momentum": 0.5, "nesterov": True},
    "adagrad": {"epsilon": 1e-3},
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"warm_up": 3},
    "step": {"decay_start": 2, "decay_every": 3, "decay_rate": 0.9},
    "noam": {"warm_up": 3, "factor": 2.0, "model_size": 8},
    "cosine": {"final_fraction": 0.1},
    "plateau": {"factor": 0.5, "patience": 1, "min_learning_rate": 1e-5},
}


def all_configs() -> Iterator[tuple[str, ConfigDict]]:
    for file in FILES:
        module = importlib.import_module(f"configs.{file}")
        for argument in (None, *ARGUMENTS.get(file, SIZES)):
            yield f"{file}:{argument}", module.get_config(argument)


def small_configs() -> Iterator[ConfigDict]:
    """Yields each captioner, two embeddings and R2M; with each optimizer and each schedule."""
    yield vse_infinity.get_config("test")
    yield uvs.get_config("test")
    for captioner in captioner_names():
        yield importlib.import_module(f"configs.captioners.{captioner}").get_config("test")
    yield shapes.get_config("test")
    for kind, group, choices in (
        ("optimizer", "optimizer_settings", OPTIMIZERS),
        ("schedule.name", "schedule", SCHEDULES),
    ):
        for name, settings in choices.items():
            config = shapes.get_config("test")
            config.training.update_from_flattened_dict({kind: name})
            config.training[group].update(settings)
            yield config


def family(config: ConfigDict) -> Family:
    return next(found for found in FAMILIES if set(found.stages) == set(config.stages))


def test_every_configuration_is_right_as_it_is() -> None:
    found = dict(all_configs())
    captioners = len(captioner_names()) * (1 + len(SIZES))
    assert len(found) == captioners + len(PRESETS) * (1 + len(retrieval_sections.SIZES)) + 4
    for name, config in found.items():
        check_config(config, next(iter(config.stages)))
        fields, rules = flattened(config.to_dict()).keys(), family(config).rules.keys()
        assert rules <= fields, name
        further = {field.rpartition(".")[0] for field in fields - rules}
        assert further == ({"model"} if "captioners." in name else set()), name


def test_every_field_names_itself_where_it_refuses_a_value() -> None:
    for name, config in all_configs():
        own, values = family(config), flattened(config.to_dict())
        for field in values:
            for odd in ODD:
                problems = list(find_problems({**values, field: odd}, own))
                assert all(field.rpartition(".")[2] in line for line in problems), (name, problems)
                impossible = isinstance(odd, list) or odd in (-1, HUGE, math.inf, -math.inf)
                impossible |= odd != odd or (isinstance(odd, str) and field not in OPEN)
                assert problems or not impossible, (name, field, odd)


def test_accepted_values_can_be_used() -> None:
    """Builds and uses a model, search, optimizer or loss of each value, with twelve words."""
    made: set[tuple[Any, ...]] = set()
    for config in small_configs():
        own, values = family(config), flattened(config.to_dict())
        for field, before in values.items():
            group = field.split(".")[0]
            # Other settings on which the use of this group depends.
            others: dict[str, tuple[Any, ...]] = {
                "model": (config.name,),
                "training": (config.training.optimizer, config.training.schedule.name),
            }
            for odd in ODD:
                key = (group, field, str(odd), *others.get(group, ()))
                if field in OPEN or odd == before or key in made:
                    continue
                if any(find_problems({**values, field: odd}, own)):
                    continue
                made.add(key)
                changed = ConfigDict(config.to_dict(), type_safe=False)
                changed.update_from_flattened_dict({field: odd})
                use(changed, group)
    assert {group for group, *_ in made} == {
        "data", "image", "model", "loss", "reward", "decoding", "training", "stages", "teacher",
    }  # fmt: skip


WORDS = ("<pad>", "<S>", "</S>", *"abcdefgh", "<unk>")
TWELVE = Vocabulary(WORDS, (0,) * len(WORDS))


def one_image_captioned(search: DecodingOptions) -> None:
    """Asserts that a search returns the requested number of captions, each with a score."""
    logits, image = tf.constant([[0.1 * i for i in range(12)]]), tf.zeros([1])

    def step(tokens: tf.Tensor, state: Any, memory: Any) -> tuple[tf.Tensor, Any]:
        return tf.repeat(logits, tf.size(tokens), axis=0), state

    found = beam_search(step, image, image, tf.constant(1), search)
    assert np.isfinite(found.scores.numpy()).all()


def use(config: ConfigDict, group: str) -> None:
    """Builds and uses the object that a group of settings configures."""
    captioner, embedding = "cross_entropy" in config.stages, "ranking" in config.stages
    if group == "model":
        sizes = {"global_size": 6, "region_size": 6, "grid_cells": 4}
        if embedding:
            build_embedding(config, 12, sizes, None)
        elif captioner:
            build_captioner(config, 12, sizes, None)
        else:
            build_r2m(config.model, TWELVE, 6)
    elif group == "decoding":
        one_image_captioned(search_options(config, TWELVE))
    elif group == "loss" and captioner:
        options = CrossEntropyOptions(**config.loss.to_dict())
        rates = CrossEntropy(options).rates(tf.constant(3, tf.int64))
        assert all(np.isfinite(rate) for rate in rates.values())
    elif group == "loss" and embedding:
        RankingOptions(**config.loss.to_dict(), batch_size=2)
    elif group == "teacher":
        vectors, teacher = tf.eye(3, 4), config.teacher
        found = distilled_ranking(
            vectors, vectors, loss=partial(softmax_ranking, temperature=0.1), size=2,
            weight=teacher.weight, temperature=teacher.temperature,
        )  # fmt: skip
        assert np.isfinite(found.total)
    elif group in ("image", "data"):
        _ = Pixels.candidates(config) if captioner or embedding else concepts_of(config)
        _ = embedding and pair_options(config)
    elif group == "reward":
        SelfCriticalOptions(**option_fields(config))
    elif group in ("training", "stages"):
        train_a_variable(config)


def train_a_variable(config: ConfigDict) -> None:
    stage = SimpleNamespace(
        name=next(iter(config.stages)), compiles=True, compares_rows=False, steps_per_epoch=50,
        best_metric=("cider", "max"),
    )  # fmt: skip
    try:
        options = training_options(config, stage)
        variable = tf.Variable([1.0, 2.0])
        optimizer = make_optimizer(options, [variable])
    except Exception as error:  # only errors that `r2m.cli.launch.exit_code` handles
        assert type(error).__name__ in ("InputError", "TrainingError"), error
        return
    for _ in range(2):
        optimizer.apply([tf.constant([0.5, -0.5])])
    assert np.isfinite(variable.numpy()).all(), config.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training.at_once": 3}, "at_once=3: must be at most training.micro_batches=1"),
        ({"training.clip_value": 1.0}, "clip_value=1.0 and --config.training.clip_global_norm=5.0"),
        ({"training.optimizer": "kiros_adam", "training.optimizer_settings.beta_2": 0.0},
         "beta_2=0: must be above 0 for kiros_adam"),
        ({"training.optimizer_settings.rho": 0.5}, "optimizer 'adam' has no setting rho=0.5"),
        ({"training.schedule.name": "step"}, "schedule 'step' needs the setting decay_every"),
        ({"training.schedule.name": "noam", "training.schedule.model_size": 4},
         "warm_up=0: 'noam' needs"),
        ({"model.heads": 3}, "heads=3: must divide model.units=32"),
        ({"decoding.beam_groups": 2}, "--config.decoding.beam_groups=2 must divide beam_size=3"),
        ({"decoding.min_length": 20}, "min_length=20 must be below max_length="),
        ({"decoding.length_penalty": "wu"}, "length_penalty='wu' needs length_normalization above"),
        ({"image.source": "pixels", "image.crop": 400},
         "crop=400: must be at most image.resize=346"),
        ({"image.source": "pixels", "image.alpha": 1.0},
         "alpha=1.0: must be 0 with image.backbone"),
    ],
)  # fmt: skip
def test_values_that_contradict_each_other(change: dict[str, Any], message: str) -> None:
    config = shapes.get_config("test")
    config.update_from_flattened_dict(change)
    with pytest.raises(InputError) as refusal:
        check_config(config, "xe")
    assert message in str(refusal.value)


def test_fields_that_a_file_adds_or_lacks() -> None:
    config = shapes.get_config("test")
    config.loss.marign = 0.1
    del config.data["max_repeats"]
    with pytest.raises(InputError) as refusal:
        check_config(config, "xe", "my.py")
    assert str(refusal.value).splitlines() == [
        "--config.loss.marign: my.py: a configuration of R2M has no such field; did you mean "
        "--config.loss.margin? config.loss has margin, reconstruction_weight",
        "my.py lacks the field data.max_repeats; start from the configurations of this version",
    ]


def test_a_group_that_is_no_group_may_be_a_misspelled_field() -> None:
    known = dict.fromkeys(["training.optimizer", "training.strategy", "seed"])
    message = unknown_field("optimiser.rate", known, "updown")
    assert message == (
        "--config.optimiser.rate: updown has no such field; did you mean "
        "--config.training.optimizer? config has seed, training"
    )


def test_a_captioner_has_its_own_model_settings() -> None:
    config = updown.get_config("test")
    config.model.pool = "average"
    del config.model["word_size"]  # the constructor has a default
    with pytest.raises(InputError) as refusal:
        check_config(config, "cross_entropy", "my.py")
    assert str(refusal.value) == (
        "--config.model.pool: my.py: captioner updown has no such field; config.model has "
        "attention_units, captioner, dropout, units, word_size"
    )
    config.model.captioner = "updwon"
    with pytest.raises(InputError) as refusal:
        check_config(config, "cross_entropy")
    assert str(refusal.value) == (
        f"--config.model.captioner=updwon: must be one of {', '.join(captioner_names())}; "
        "did you mean updown?"
    )
