"""A run's settings for TensorBoard's HParams tab, which compares runs.

The tab shows the last value of every scalar beside them: `evaluation/<metric>` is the final one,
`best/<metric>` that of the best checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, bool | int | float | str]:
    """Nested settings by dotted name: {"model": {"units": 8}} -> {"model.units": 8}.

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


def write_hparams(hparams: Mapping[str, Any]) -> None:
    """Writes (nested) settings to the default summary writer, at step 0."""
    # Here, because TensorBoard takes a while to load and only training needs it.
    from tensorboard.plugins.hparams import api

    # Without a time of its own: events do not depend on the clock.
    api.hparams(flatten(hparams), start_time_secs=0)
