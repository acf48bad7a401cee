"""Published settings of captioners, from the released code of papers and from the course."""

from __future__ import annotations

import importlib
import inspect
from types import SimpleNamespace

import pytest
from ml_collections import ConfigDict

from models.captioners.registry import captioner_class, captioner_names
from r2m.configuration.settings import training_options
from r2m.engine.optimization.schedules import LearningRate

SELF_CRITICAL = ("fc", "att2in", "att2in2", "updown")
LOCATED = ("relation_transformer", "spatial_transformer")
COURSE = ("rnn", "lstm", "attention_lstm")


def published(name: str, arg: str | None = None) -> ConfigDict:
    config: ConfigDict = importlib.import_module(f"configs.captioners.{name}").get_config(arg)
    return config


@pytest.mark.parametrize("name", SELF_CRITICAL)
def test_settings_of_the_self_critical_code(name: str) -> None:
    config = published(name)
    assert config.stages.cross_entropy.to_dict() == {
        "learning_rate": 5e-4, "batch_size": 10, "steps": "30 epochs", "evaluate_every": "1 epochs"
    }  # fmt: skip
    schedule = config.training.schedule
    assert (schedule.name, schedule.decay_start) == ("step", 0)
    assert (schedule.decay_every, schedule.decay_rate) == ("3 epochs", 0.8)
    assert (config.training.optimizer, config.training.clip_value) == ("adam", 0.1)
    # Spec 3.6: the learning rate of self-critical training is constant; it does not depend on the
    # decayed rate of cross-entropy training.
    stage = config.stages.self_critical
    assert (stage.learning_rate, stage.schedule.name, stage.schedule.warm_up) == (
        5e-5,
        "constant",
        0,
    )
    assert (stage.batch_size, stage.steps) == (10, "20 epochs")
    assert (config.reward.samples, config.reward.reduction) == (5, "words")
    loss = config.loss
    assert (loss.sampling_start, loss.sampling_every) == (0, 5)
    assert (loss.sampling_increase, loss.sampling_most) == (0.05, 0.25)
    assert (config.data.captions_per_image, loss.reduction) == (5, "words")


def test_updown_has_its_published_size() -> None:
    model = published("updown").model
    assert (model.units, model.word_size, model.attention_units) == (1000, 1000, 512)


@pytest.mark.parametrize("name", COURSE)
def test_settings_of_the_course(name: str) -> None:
    config = published(name)
    stage = config.stages.cross_entropy
    assert (stage.learning_rate, stage.batch_size, stage.steps) == (1e-3, 256, "60 epochs")
    assert (config.training.optimizer, config.training.weight_decay) == ("adamw", 0.01)
    assert config.training.schedule.name == "constant"
    assert (config.data.captions_per_image, config.loss.reduction) == (1, "captions")


@pytest.mark.parametrize("name", SELF_CRITICAL + COURSE)
def test_small_settings_are_not_those_of_long_training(name: str) -> None:
    config = published(name, "flickr8k")
    assert config.training.schedule.name == "cosine"
    assert config.training.schedule.decay_every is None
    assert config.loss.sampling_start is None


def test_an_unknown_argument_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown argument 'coco'.*known: shapes, flickr8k"):
        published("fc", "coco")


def test_each_captioner_has_a_configuration_of_all_its_constructor_arguments() -> None:
    sizes = {"vocabulary_size", "feature_size", "global_size", "grid_cells"}  # of the records
    for name in captioner_names():
        model = published(name).model.to_dict()
        parameters = inspect.signature(captioner_class(name)).parameters.values()
        settings = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - sizes
        assert model.pop("captioner") == name
        assert model.keys() == settings, name
        assert None not in model.values()


def reward_rates(config: ConfigDict, *epochs: int) -> list[float]:
    """Returns learning rates of self-critical training at given epochs of 1,000 steps."""
    stage = SimpleNamespace(
        name="self_critical", compiles=False, compares_rows=False, steps_per_epoch=1000,
        best_metric=("cider", "max"),
    )  # fmt: skip
    rate = LearningRate(training_options(config, stage))
    return [float(rate(1_000 * epoch)) for epoch in epochs]


@pytest.mark.parametrize("name", sorted(set(captioner_names()) - set(LOCATED)))
def test_rewards_have_the_published_rate_throughout(name: str) -> None:
    config = published(name)
    expected = config.stages.self_critical.learning_rate
    assert reward_rates(config, 0, 5, 19) == [expected] * 3


def test_settings_of_the_transformer() -> None:
    config = published("transformer")
    schedule, stages = config.training.schedule, config.stages
    assert (schedule.name, schedule.warm_up, schedule.model_size) == ("noam", 20_000, 512)
    assert (stages.cross_entropy.batch_size, stages.cross_entropy.steps) == (10, "15 epochs")
    adam = config.training.optimizer_settings
    assert (adam.beta_1, adam.beta_2, adam.epsilon) == (0.9, 0.98, 1e-9)
    assert (stages.self_critical.learning_rate, stages.self_critical.schedule.name) == (
        5e-6, "constant"
    )  # fmt: skip


@pytest.mark.parametrize("name", LOCATED)
def test_settings_of_the_relation_transformer(name: str) -> None:
    config = published(name)
    schedule, stages = config.training.schedule, config.stages
    assert (schedule.name, schedule.warm_up, schedule.model_size) == ("noam", 10_000, 512)
    assert (stages.cross_entropy.batch_size, stages.cross_entropy.steps) == (15, "30 epochs")
    assert (config.training.clip_value, config.training.optimizer_settings.beta_2) == (0.1, 0.98)
    # Published as 5e-4 * 0.8 ** (epoch / 3) in the epochs 30 to 59.
    wanted = [5e-4 * 0.8 ** (epoch // 3) for epoch in (30, 33, 59)]
    assert reward_rates(config, 0, 3, 29) == pytest.approx(wanted, rel=1e-3)
