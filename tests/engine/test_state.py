"""Selection of the best evaluation if the metric has ties, is constant or is NaN."""

from __future__ import annotations

import dataclasses
import logging
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2m.engine.options import ScheduleOptions, TrainingOptions
from r2m.engine.stage import Evaluation
from r2m.engine.state import RunState

CIDER = TrainingOptions(steps=100, evaluate_every=1)
LOSS = dataclasses.replace(CIDER, best_metric="loss", best_mode="min")
PLATEAU = dataclasses.replace(CIDER, schedule=ScheduleOptions(name="plateau", patience=1))


def evaluated(
    found: list[tuple[float, float | None]],
    options: TrainingOptions = CIDER,
    state: RunState | None = None,
) -> RunState:
    """Returns the state after evaluations (cider, loss), one per step; None is no loss."""
    state = state or RunState()
    for cider, loss in found:
        state.step += 1
        metrics = {"cider": cider} | ({} if loss is None else {"loss": loss})
        state.record_evaluation(Evaluation(metrics=metrics), options)
        state.watch_plateau(options)
    return state


@pytest.mark.parametrize(
    ("found", "best"),
    [
        ([(0.0, 3.0), (0.0, 2.0), (0.0, 2.5)], 2),
        ([(0.0, 3.0), (0.0, 3.0)], 1),
        # A higher score takes precedence over a lower loss.
        ([(0.1, 3.0), (0.2, 9.0), (0.1, 1.0)], 2),
        ([(0.1, math.nan), (0.1, 5.0), (0.1, math.nan)], 2),
        # Without loss, the later one of equal scores.
        ([(0.0, None), (0.0, None), (-1.0, None)], 2),
        ([(math.nan, 3.0), (0.0, 4.0), (math.nan, 1.0)], 2),
        ([(math.nan, 3.0), (math.inf, 2.0)], None),
    ],
)
def test_ties_go_to_the_lower_loss(found: list[tuple[float, float]], best: int | None) -> None:
    assert evaluated(found).best_step == best


def test_of_equal_losses_the_first_is_kept() -> None:
    assert evaluated([(0.0, 3.0), (0.5, 3.0), (0.1, 4.0)], LOSS).best_step == 1


scores = st.sampled_from([0.0, 0.25, 0.5, math.nan])
losses = st.sampled_from([1.0, 2.0, 3.0])


@given(found=st.lists(st.tuples(scores, losses), max_size=12), stop=st.integers(0, 12))
def test_the_best_is_by_metric_then_loss_then_step_also_after_a_resume(
    found: list[tuple[float, float]], stop: int
) -> None:
    whole = evaluated(found, PLATEAU)
    ranks = [(-cider, loss, i + 1) for i, (cider, loss) in enumerate(found) if cider == cider]
    assert whole.best_step == (min(ranks)[2] if ranks else None)
    state = RunState(**dataclasses.asdict(evaluated(found[:stop], PLATEAU)))
    resumed = evaluated(found[stop:], PLATEAU, state)
    assert repr(resumed) == repr(whole)  # NaN is not equal to itself


def test_a_checkpoint_of_an_earlier_version_resumes() -> None:
    old = {"step": 2, "best_step": 1, "best_metrics": {"cider": 0.0, "loss": 3.0},
           "plateau_best": 0.0, "plateau_evaluations": 1}  # fmt: skip
    state = RunState(**old)
    evaluated([(0.0, 2.0), (0.0, 1.0)], PLATEAU, state)
    assert (state.best_step, state.plateau_evaluations) == (4, 0)
    assert state.learning_rate_factor == 1.0


def test_a_plateau_is_one_of_both_metric_and_loss() -> None:
    falling = evaluated([(0.0, 9.0 - i) for i in range(8)], PLATEAU)
    assert falling.learning_rate_factor == 1.0
    assert evaluated([(0.0, 9.0)] * 8, PLATEAU).learning_rate_factor < 0.3
    assert evaluated([(0.0, None)] * 8, PLATEAU).learning_rate_factor < 0.3


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (3.0, CIDER, "cider was 0 at each of the last 3 evaluations.*the one with the lowest loss"),
        (None, CIDER, "cider was 0 at each.* best/ contains the last of them"),
        (3.0, LOSS, "loss was 3 at each.* best/ contains the first of them"),
    ],
)
def test_a_constant_metric_is_warned_of_once_by_name(
    caplog: pytest.LogCaptureFixture, loss: float | None, options: TrainingOptions, message: str
) -> None:
    with caplog.at_level(logging.WARNING, "absl"):
        state = evaluated([(0.0, loss)] * 2, options)
        assert not caplog.messages
        evaluated([(0.0, loss)] * 5, options, RunState(**dataclasses.asdict(state)))
    (said,) = caplog.messages
    assert re.search(message, said), said
