"""Configurations of earlier versions, in which every captioner had the fields of all captioners."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import pytest

from r2m.configuration.earlier_versions import upgrade_settings
from r2m.tasks.captioning.self_critical import SelfCriticalOptions

CAPTIONERS = ("rnn", "lstm", "attention_lstm", "fc", "att2in", "att2in2", "updown")
FIELDS = ("units", "word_size", "attention_units", "pool", "dropout")


def model_of(captioner: str) -> dict[str, Any]:
    config = importlib.import_module(f"configs.captioners.{captioner}").get_config()
    model: dict[str, Any] = config.model.to_dict()
    return model


@pytest.mark.parametrize("captioner", CAPTIONERS)
def test_none_in_earlier_versions_stands_for_their_default(captioner: str) -> None:
    published = {"units": 1000, "word_size": 1000, "attention_units": 512}
    old = {"captioner": captioner, **dict.fromkeys(FIELDS)}
    old |= published if captioner == "updown" else {}
    settings = {"model": old, "loss": {"smoothing": None}}
    today = {"model": model_of(captioner), "loss": {"smoothing": None}}
    assert upgrade_settings(settings) == today
    assert upgrade_settings(today) == today
    # Explicit settings are kept.
    old |= {"units": 8, "dropout": 0.25}
    assert upgrade_settings(settings)["model"] == {**today["model"], "units": 8, "dropout": 0.25}


def test_settings_without_captioners_stay() -> None:
    for settings in ({"model": {"units": 8, "dropout": None}}, {"loss": {}}, {}):
        assert upgrade_settings(settings) == settings


def test_rewards_and_their_schedule_were_as_they_are_now_by_these_settings() -> None:
    old = {"samples": 3, "max_length": 9}
    schedule = {"name": "step", "decay_every": 5}
    found = upgrade_settings(
        {
            "loss": old,
            "reward": old,
            "training": {"schedule": schedule},
            "stages": {"cross_entropy": {"steps": 4}, "self_critical": {"steps": 2}},
        }
    )
    defaults = SelfCriticalOptions(samples=3, max_length=9)
    assert found["loss"] == found["reward"] == dataclasses.asdict(defaults)
    assert found["stages"]["self_critical"] == {"steps": 2, "schedule": schedule}
    assert found["stages"]["cross_entropy"] == {"steps": 4}
    assert upgrade_settings(found) == found


def test_captioners_of_earlier_versions_append_no_boxes() -> None:
    settings = {"data": {"captions": "a", "unit_norm": True}, "loss": {}}
    today = {"data": {"captions": "a", "unit_norm": True, "use_box": False}, "loss": {}}
    assert upgrade_settings(settings) == today and upgrade_settings(today) == today
    today["data"]["pixels"] = {"resize": 9, "interpolation": "bilinear"}
    settings["data"]["pixels"] = {"resize": 9}
    assert upgrade_settings(settings) == today and upgrade_settings(today) == today
    settings = {"data": {"corpora": "a", "images": "b"}}
    assert upgrade_settings(settings) == settings
