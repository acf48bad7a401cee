"""Handling of losses and gradients that are not finite: no update; stop or continue."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from r2m.engine.errors import TrainingError
from r2m.engine.options import TrainingOptions
from r2m.engine.persistence.variable_names import variable_names
from r2m.engine.stage import Stage
from r2m.engine.state import RunState
from r2m.engine.step import StepResults


def check_finite(
    results: StepResults,
    state: RunState,
    stage: Stage,
    options: TrainingOptions,
    latest_folder: Path,
) -> None:
    """Stops the run, or logs skipped steps, if steps after `state` were not finite.

    Such steps did not change the weights (`r2m.engine.step.apply_if`).

    Raises:
        TrainingError: a step was not finite and `options.on_nonfinite` is 'stop', or more than
            `options.max_skipped` consecutive steps were not. The message names the step and the
            first bad tensor.
    """
    in_a_row = state.skipped_in_a_row
    for index, good in enumerate(results.finite):
        in_a_row = 0 if good else in_a_row + 1
        if good:
            continue
        step = state.step + index + 1
        if options.on_nonfinite == "skip" and in_a_row <= options.max_skipped:
            logging.warning(
                "%s: step %d is not finite (%s): skipped, %d in a row of at most %d",
                stage.name, step, _bad_result(results, index), in_a_row, options.max_skipped,
            )  # fmt: skip
            continue
        hint = "on_nonfinite='skip' leaves such batches out"
        if options.on_nonfinite == "skip":
            hint = (
                f"{in_a_row} consecutive steps were not finite, max_skipped is "
                f"{options.max_skipped}"
            )
        bad = (
            _bad_variable(stage.model)
            or _bad_input(stage.train_dataset(step - 1))
            or _bad_result(results, index)
        )
        raise TrainingError(
            f"not finite at step {step} (of the steps {state.step + 1} to "
            f"{state.step + len(results.finite)}), first bad: {bad}. Loss "
            f"{results.objective[index]}, gradient norm {results.gradient_norm[index]}, terms "
            f"{_terms(results, index)}. The last good checkpoint is kept in {latest_folder}; a "
            f"lower learning rate or clipping may help; {hint}"
        )


def _terms(results: StepResults, index: int) -> dict[str, float]:
    return {
        name: float(total[index] / (results.normalizers[name][index] or 1.0))
        for name, total in results.totals.items()
    }


def _bad_variable(model: keras.Model) -> str | None:
    for name, variable in zip(variable_names(model), model.variables, strict=True):
        if (count := _count_bad(variable.numpy())) is not None:
            return f"variable {name} ({count})"
    return None


def _bad_input(dataset: tf.data.Dataset) -> str | None:
    """Finds the first bad tensor of a dataset's first batch, which is computed again."""
    for path, tensor in keras.tree.flatten_with_path(next(iter(dataset))):
        if tensor.dtype.is_floating and (count := _count_bad(tensor.numpy())) is not None:
            name = "/".join(map(str, path))
            return f"tensor {name!r} of the batch ({count})" if name else f"the batch ({count})"
    return None


def _count_bad(values: np.ndarray) -> str | None:
    bad = values.size - int(np.isfinite(values.astype(np.float64)).sum())
    return f"{bad} of {values.size} values" if bad else None


def _bad_result(results: StepResults, index: int) -> str:
    for name, value in _terms(results, index).items():
        if not np.isfinite(value):
            return f"loss term {name!r} ({value})"
    bad = [n for n, squares in results.gradient_squares.items() if not np.isfinite(squares[index])]
    if bad:
        return f"gradient of {_listed(bad)}"
    return "the sum over all loss terms or gradients, each of which is finite"


def _listed(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
