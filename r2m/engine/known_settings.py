"""Optimizers and schedules by name, with the settings of each. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from r2m.engine.errors import TrainingError

# Marks a setting that has no default and must be given.
NEEDED = object()

# Epsilon as in TensorFlow 1's Adam, which the published runs used (Keras' own default is 1e-7).
_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

# Optimizer -> setting -> default.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": _ADAM,
    "adamw": _ADAM,
    "kiros_adam": _ADAM,
    # As in Keras: epsilon is added under the square root, and Adagrad's sum starts at 0.1.
    "rmsprop": {"rho": 0.9, "momentum": 0.0, "epsilon": 1e-7},
    "sgd": {"momentum": 0.0, "nesterov": False},
    "adagrad": {"epsilon": 1e-7},
}

# Schedule -> setting -> default; `r2m.engine.optimization.schedules` has the formulas.
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "step": {"decay_start": 0, "decay_every": NEEDED, "decay_rate": 0.8},
    "noam": {"factor": 1.0, "model_size": NEEDED},
    "cosine": {"final_fraction": 0.0},
    "plateau": {"factor": 0.5, "patience": 3, "min_learning_rate": 0.0},
}


def chosen_settings(
    what: str, name: str, given: Any, known: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Returns the settings of one of several kinds: given values, else defaults.

    Args:
        what: name of the group of kinds, for messages.
        name: name of the kind.
        given: a dataclass; only fields that are settings of some kind are used.
        known: kind -> setting -> default; NEEDED marks a setting that must be given.

    Raises:
        TrainingError: the kind is unknown, has no such setting, or lacks a required one.
    """
    if name not in known:
        raise TrainingError(f"unknown {what} {name!r}; known: {', '.join(sorted(known))}")
    own = known[name]
    settable = sorted(set().union(*known.values()))
    chosen = {key: getattr(given, key) for key in settable if getattr(given, key) is not None}
    foreign = [f"{key}={value!r}" for key, value in chosen.items() if key not in own]
    if foreign:
        raise TrainingError(
            f"{what} {name!r} has no setting {', '.join(foreign)}; it has: "
            f"{', '.join(sorted(own)) or 'none'}"
        )
    settings = {**own, **chosen}
    missing = [key for key, value in settings.items() if value is NEEDED]
    if missing:
        raise TrainingError(f"{what} {name!r} needs the setting {', '.join(missing)}")
    return settings
