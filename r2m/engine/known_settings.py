"""Optimizers and schedules by name, with the settings of each. Needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from r2m.engine.errors import TrainingError

# Stands for the default of a setting that has to be given.
NEEDED = object()

# Epsilon as in TensorFlow 1's Adam, which the published runs used (Keras' own default is 1e-7).
_ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}

# Optimizer -> setting -> default.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": _ADAM,
    "adamw": _ADAM,
    "kiros_adam": _ADAM,
    # As Keras has them: epsilon is added below the root, Adagrad's sum begins with 0.1.
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
    """Returns the settings of one of several kinds: those that are given, else their defaults.

    Args:
        what: the kinds are of, for messages.
        name: name of the kind.
        given: a dataclass; of its fields those count that some kind has as a setting.
        known: kind -> setting -> default, where NEEDED means that it has to be given.

    Raises:
        TrainingError: the kind is unknown, has no such setting, or lacks one that it needs.
    """
    if name not in known:
        raise TrainingError(f"unknown {what} {name!r}; the known ones: {', '.join(sorted(known))}")
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
