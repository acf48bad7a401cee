"""Settings of a run for TensorBoard's HParams tab.

The tab has one row per run: first the settings that differ between the runs, then the last value of
every scalar in alphabetical order. Therefore `best/<metric>`, from the best checkpoint, precedes
`evaluation/<metric>`, the final value, and `train/<metric>`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r2m.engine.options import CHANGEABLE, TrainingOptions

# Options that affect neither the weights nor the choice of the best ones.
_WITHOUT_EFFECT = frozenset(CHANGEABLE) - {"steps", "evaluate_every"}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Flattens nested settings by dotted name: {"model": {"units": 8}} -> {"model.units": 8}.

    None becomes "none", a list its JSON text.
    """
    flat: dict[str, bool | int | float | str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif value is None:
            flat[f"{prefix}{key}"] = "none"
        else:
            plain = isinstance(value, bool | int | float | str)
            flat[f"{prefix}{key}"] = value if plain else json.dumps(value)
    return flat


def run_settings(
    stage: str, config: Mapping[str, Any], options: TrainingOptions
) -> dict[str, bool | int | float | str]:
    """Returns the settings that a stage was trained with, each once, by dotted name.

    TensorBoard detects a difference only if all runs have the setting. Settings with default values
    are therefore kept.

    Args:
        stage: name of the stage.
        config: configuration of the whole experiment. Values of `training` and `stages` that
            `options` contains in steps, and values of other stages, are left out.
        options: options of the stage; those that do not affect results are left out.
    """
    own = {
        name: value
        for name, value in dataclasses.asdict(options).items()
        if name not in _WITHOUT_EFFECT and not (name == "seed" and "seed" in config)
    }
    there = {"seed", *_WITHOUT_EFFECT, *flatten(dataclasses.asdict(options))}

    def is_repeated(name: str) -> bool:
        group, _, rest = name.partition(".")
        if group == "stages":
            other, _, rest = rest.partition(".")
            return other != stage or rest in there
        return group == "training" and rest in there

    flat = flatten({"stage": stage, **config, "options": own})
    return {name: value for name, value in flat.items() if not is_repeated(name)}


def write_hparams(settings: Mapping[str, bool | int | float | str], workdir: Path) -> None:
    """Writes settings to the default summary writer, at step 0.

    Args:
        settings: result of `run_settings`.
        workdir: folder of the run. The tab names it `<experiment>/<stage> in <parent folder>`: the
            column shows about 15 characters, and runs with equal names would share a row.
    """
    # Imported here, because TensorBoard loads slowly and only training needs it.
    from tensorboard.plugins.hparams import api

    # Without a timestamp, so that events do not depend on the clock.
    name = f"{'/'.join(workdir.absolute().parts[-2:])} in {workdir.parent.parent}"
    api.hparams(dict(settings), trial_id=name, start_time_secs=0)
