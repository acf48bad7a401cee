"""Training settings: the same names in the configuration and in the engine's options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import common
from r2m.configuration.config_fields import flattened
from r2m.configuration.training_fields import option_values
from r2m.engine.options import OptimizerSettings, ScheduleOptions, TrainingOptions

WORKSPACE = Path(__file__).parents[2] / "WORKSPACE.md"
FIELDS = flattened(ConfigDict(common.training()).to_dict())
# Fields of each stage, and options that stage, experiment and command set.
OTHERS = {"learning_rate", "steps", "evaluate_every"} | {
    "checkpoint_every", "best_metric", "best_mode", "seed", "show_progress"
}  # fmt: skip


def names(options: type) -> set[str]:
    return {field.name for field in dataclasses.fields(options)}


def test_the_fields_are_the_options_of_the_engine() -> None:
    groups = {"schedule": ScheduleOptions, "optimizer_settings": OptimizerSettings}
    top = {field.partition(".")[0] for field in FIELDS}
    assert top == (names(TrainingOptions) - OTHERS) | {"strategy", "precision"}
    for group, options in groups.items():
        inside = {field.partition(".")[2] for field in FIELDS if field.startswith(f"{group}.")}
        assert inside == names(options)


def test_options_take_every_value_of_the_configuration() -> None:
    training = ConfigDict(common.training())
    training.update(log_every="2 epochs", clip_global_norm=None, clip_value=0.5)
    training.schedule.update(name="step", warm_up="10%", decay_every="1 epochs")
    steps = {"2 epochs": 8, "10%": 3, "1 epochs": 4}
    values = option_values(training, lambda _, duration: steps[duration])
    options = TrainingOptions(steps=1, **values)
    assert (options.log_every, options.clip_value) == (8, 0.5)
    assert options.schedule == ScheduleOptions(name="step", warm_up=3, decay_every=4)
    assert options.optimizer_settings == OptimizerSettings()
    with pytest.raises(ValueError, match="log_every='2 epochs': expected a whole number"):
        TrainingOptions(**{"steps": 1, "log_every": "2 epochs"})


def test_every_field_is_documented() -> None:
    text = WORKSPACE.read_text().partition("\n## Training settings")[2].partition("\n## ")[0]
    assert [field for field in FIELDS if f"{field.rpartition('.')[2]}`" not in text] == []
