"""Rules of a captioner's model settings, derived from its configuration. Needs no TensorFlow.

A captioner has a configuration in `configs/captioners` whose `model` section shows every setting of
its constructor. This module therefore needs no list of captioners or of their settings.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

import configs.captioners
from r2m.configuration.limits import MOST_UNITS
from r2m.engine.value_rules import (
    Rule,
    choice,
    name,
    number,
    optional,
    switch,
    whole,
)


def captioner_name(value: Any) -> str | None:
    """Accepts the name of a captioner; a rule of `r2m.engine.value_rules`."""
    return choice(*_rules())(value)


def model_rules(captioner: Any) -> dict[str, Rule]:
    """Returns the rules of a captioner's model settings: name -> rule.

    Args:
        captioner: name of the captioner. For an unknown one, all settings of all captioners are
            returned, so that only the name is reported as invalid.
    """
    known = _rules()
    if isinstance(captioner, str) and captioner in known:
        return known[captioner]
    return {setting: rule for rules in known.values() for setting, rule in rules.items()}


@functools.cache
def _rules() -> Mapping[str, dict[str, Rule]]:
    """Returns captioner -> setting -> rule for all configurations of captioners."""
    found: dict[str, dict[str, Rule]] = {}
    for module in pkgutil.iter_modules(configs.captioners.__path__, "configs.captioners."):
        model = importlib.import_module(module.name).get_config().model.to_dict()
        rules = found.setdefault(model.pop("captioner"), {})
        rules.update({setting: _rule(setting, value) for setting, value in model.items()})
    return found


def _rule(setting: str, value: Any) -> Rule:
    """Returns the rule of a setting, from the last word of its name or the type of its value."""
    last = setting.rpartition("_")[2]
    if last in ("units", "size", "heads", "layers"):
        return whole(1, MOST_UNITS)
    if last == "dropout":
        return number(least=0, below=1)
    if isinstance(value, bool):
        return switch
    if isinstance(value, int):
        return whole(0)
    if isinstance(value, float):
        return number()
    # The constructor checks which words are valid.
    return optional(name) if value is None else name
