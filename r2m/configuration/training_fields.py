"""Fields of `config.training`, their rules and their options. Needs no TensorFlow.

`configs.common.training` lists the fields, and `r2m.engine.options` the options with their rules:
a field has the name of its option.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from r2m.engine.options import TrainingOptions
from r2m.engine.value_rules import Rule, choice, name

PRECISIONS = ("float32", "mixed_bfloat16")
# Fields that are not options of the engine, but of the model.
_OF_MODEL: dict[str, Rule] = {
    # `make_strategy` rejects names with reasons before it does anything else.
    "strategy": name,
    "precision": choice(*PRECISIONS),
}


def training_rules(fields: Iterable[str]) -> dict[str, Rule]:
    """Returns the rules of fields by their dotted names, such as `schedule.warm_up`.

    Raises:
        KeyError: no option has the name of a field.
    """
    rules = {**_OF_MODEL, **_option_rules(TrainingOptions)}
    return {field: rules[field] for field in fields}


def option_values(
    values: Mapping[str, Any], to_steps: Callable[[str, Any], int], options: type = TrainingOptions
) -> dict[str, Any]:
    """Returns the options that a section of a configuration sets, by name.

    Args:
        values: the section. Fields that are not options are left out.
        to_steps: converts the duration of an option: (name, value) -> steps.
        options: class of the options.
    """
    found = {}
    for field in dataclasses.fields(options):
        if field.name not in values:
            continue
        value = values[field.name]
        if dataclasses.is_dataclass(field.default):
            group: Any = type(field.default)
            value = group(**option_values(value, to_steps, group))
        elif field.metadata.get("in_steps") and value is not None:
            value = to_steps(field.name, value)
        found[field.name] = value
    return found


def _option_rules(options: type, above: str = "") -> dict[str, Rule]:
    """Returns dotted name -> rule of all options."""
    rules: dict[str, Rule] = {}
    for field in dataclasses.fields(options):
        if dataclasses.is_dataclass(field.default):
            rules |= _option_rules(type(field.default), f"{above}{field.name}.")
        else:
            rules[f"{above}{field.name}"] = field.metadata["config_rule"]
    return rules
