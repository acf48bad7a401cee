"""Table of a model's parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras

from r2m.engine.monitoring.text_tables import aligned
from r2m.engine.persistence.variable_names import is_seed_state, variable_names

_MOST_ROWS = 40


def parameter_table(model: keras.Model, trained: Sequence[Any], most_rows: int = _MOST_ROWS) -> str:
    """Returns a table of every variable's name, shape, size and whether it is trained, with totals.

    Args:
        model: a built model; the seeds of its random layers do not count as parameters.
        trained: trained variables of the model.
        most_rows: a model with more variables gets one row per part.

    Returns:
        Lines of text.
    """
    chosen = {id(variable) for variable in trained}
    entries = [
        (name, tuple(variable.shape), math.prod(variable.shape), id(variable) in chosen)
        for name, variable in zip(variable_names(model), model.variables, strict=True)
        if not is_seed_state(name)
    ]
    rows = [
        (name, " x ".join(map(str, shape)) or "scalar", f"{size:,}", "yes" if is_trained else "no")
        for name, shape, size, is_trained in entries
    ]
    if len(entries) > most_rows:
        parts: dict[str, list[tuple[int, bool]]] = {}
        for name, _, size, is_trained in entries:
            parts.setdefault(name.split("/")[0], []).append((size, is_trained))
        rows = [
            (
                part,
                f"{len(found)} variable{'s' * (len(found) > 1)}",
                f"{sum(size for size, _ in found):,}",
                {0: "no", len(found): "yes"}.get(sum(flag for _, flag in found), "in part"),
            )
            for part, found in parts.items()
        ]
    total = sum(size for _, _, size, _ in entries)
    of_trained = sum(size for _, _, size, is_trained in entries if is_trained)
    rows += [("all", "", f"{total:,}", ""), ("trained", "", f"{of_trained:,}", "")]
    return aligned([("variable", "shape", "parameters", "trained"), *rows], right=(2,))
