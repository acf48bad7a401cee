"""Names of a model's variables that are the same in every process."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import keras

from r2m.engine.errors import TrainingError

_SEED_STATE = "seed_generator_state"


def is_seed_state(name: str) -> bool:
    """Returns whether a variable's name or path is that of a seed state (seed, draw counter)."""
    return name.endswith(_SEED_STATE)


def variable_names(model: keras.Model) -> list[str]:
    """Returns names of `model.variables`, in order, that do not depend on other models.

    They are Keras' paths without the model's name. Keras numbers unnamed layers across the whole
    process (`dense_7`); here they are numbered among their siblings, in the order of Keras' numbers
    (`dense`, `dense_1`).
    """
    paths = []
    for variable in model.variables:
        parts = variable.path.split("/")
        paths.append(parts[parts.index(model.name) + 1 :] if model.name in parts else parts)
    names: list[tuple[str, ...]] = [()] * len(paths)
    for depth in range(max(map(len, paths), default=0)):
        siblings: dict[tuple[tuple[str, ...], str], set[int]] = {}
        entries: list[tuple[int, str, int]] = []
        for index, parts in enumerate(paths):
            if depth < len(parts):
                match = re.fullmatch(r"(.*?)(?:_(\d+))?", parts[depth], re.DOTALL)
                assert match is not None  # the pattern matches every string
                base, number = match[1], int(match[2] or 0)
                siblings.setdefault((names[index], base), set()).add(number)
                entries.append((index, base, number))
        ranks = {key: sorted(numbers) for key, numbers in siblings.items()}
        for index, base, number in entries:
            rank = ranks[names[index], base].index(number)
            names[index] = (*names[index], base if rank == 0 else f"{base}_{rank}")
    seen: dict[str, int] = {}
    unique = []
    for parts in map("/".join, names):
        seen[parts] = seen.get(parts, 0) + 1
        unique.append(parts if seen[parts] == 1 else f"{parts}#{seen[parts]}")
    return unique


def describe_variables(model: keras.Model, trainable: Sequence[Any]) -> dict[str, Any]:
    """Returns the entries that checkpoints of `model` must match: all variables, and trained ones.

    Raises:
        TrainingError: a trainable variable does not belong to the model.
    """
    names = variable_names(model)
    by_id = {id(variable): name for variable, name in zip(model.variables, names, strict=True)}
    foreign = [variable.path for variable in trainable if id(variable) not in by_id]
    if foreign:
        raise TrainingError(
            f"trainable variables that are not in the stage's model, and would not be saved: "
            f"{', '.join(foreign)}"
        )
    return {
        "variables": [
            [name, list(variable.shape), str(variable.dtype)]
            for name, variable in zip(names, model.variables, strict=True)
        ],
        "trainable": [by_id[id(variable)] for variable in trainable],
    }
