"""Learning rates against curves computed by hand, and published figures."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_toys import LanguageStage, options

from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.engine.optimization.schedules import LearningRate
from r2m.engine.options import ScheduleOptions
from r2m.engine.train import train

ONE = make_strategy("one_device")


def curve(steps: list[int], *, learning_rate: float = 1.0, total: int = 24, **schedule: Any) -> Any:
    chosen = options(learning_rate=learning_rate, steps=total, schedule=ScheduleOptions(**schedule))
    rate = LearningRate(chosen)
    return [float(rate(tf.constant(step, tf.int64))) for step in steps]


def test_constant() -> None:
    assert curve([0, 5, 10**6], learning_rate=0.3) == [0.3] * 3


def test_warm_up_goes_with_any() -> None:
    found = curve([0, 1, 2, 3, 4, 9], learning_rate=0.4, warm_up=4)
    np.testing.assert_allclose(found, [0.1, 0.2, 0.3, 0.4, 0.4, 0.4], rtol=1e-12)
    found = curve(
        [0, 1, 2, 3, 4, 5], learning_rate=0.4, name="step", warm_up=4, decay_every=2, decay_rate=0.5
    )
    np.testing.assert_allclose(found, [0.1, 0.2, 0.15, 0.2, 0.1, 0.1], rtol=1e-12)


def test_step_decay() -> None:
    found = curve(list(range(10)), name="step", decay_start=3, decay_every=2, decay_rate=0.5)
    assert found == [1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]


@pytest.mark.parametrize("steps_per_epoch", [1, 7])
def test_step_decay_by_epochs_has_the_published_values(steps_per_epoch: int) -> None:
    epochs = {29: 6.71e-5, 30: 5.37e-5, 59: 7.21e-6}
    for offset in (0, steps_per_epoch - 1):  # the first and the last step of the epoch
        found = curve(
            [epoch * steps_per_epoch + offset for epoch in epochs],
            learning_rate=5e-4, name="step", decay_every=3 * steps_per_epoch,
        )  # fmt: skip
        np.testing.assert_allclose(found, list(epochs.values()), rtol=1e-3)


def test_noam() -> None:
    golden = {1: 4.419e-8, 1000: 4.419e-5, 10000: 4.419e-4, 100000: 1.398e-4}
    settings = {"name": "noam", "warm_up": 10000, "model_size": 512}
    found = curve([s - 1 for s in golden], **settings)
    np.testing.assert_allclose(found, list(golden.values()), rtol=5e-4)
    doubled = curve([s - 1 for s in golden], factor=2.0, learning_rate=9.0, **settings)
    np.testing.assert_allclose(doubled, 2 * np.array(found), rtol=1e-12)


def test_cosine_with_warm_up() -> None:
    found = curve(
        [0, 1, 2, 4, 6, 8, 10, 99], learning_rate=2.0, total=10, name="cosine", warm_up=2,
        final_fraction=0.1,
    )  # fmt: skip

    def at(progress: float) -> float:
        return 2 * (0.1 + 0.9 * (1 + math.cos(math.pi * progress)) / 2)

    expected = [1.0, 2.0, 2.0, at(0.25), 1.1, at(0.75), 0.2, 0.2]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_optimizer_uses_it(strategy: tf.distribute.Strategy) -> None:
    """With gradients of 1 and SGD, the weights decrease by the sum of the rates."""
    chosen = options(
        learning_rate=0.5, optimizer="sgd", schedule=ScheduleOptions(name="plateau", warm_up=2)
    )
    with strategy.scope():
        variable = keras.Variable(np.zeros(1), dtype="float32")
        rate = LearningRate(chosen)
        optimizer = make_optimizer(chosen, [variable], rate)

    @tf.function
    def step() -> None:
        share = 1.0 / strategy.num_replicas_in_sync
        strategy.run(lambda: optimizer.apply([share * tf.ones(1)], [variable]))

    seen = []
    for done, factor in enumerate([1.0, 1.0, 1.0, 0.5, 0.25]):
        rate.set_factor(factor)
        before = float(variable.numpy()[0])
        step()
        seen.append(before - float(variable.numpy()[0]))
        assert rate.last(done + 1) == pytest.approx(seen[-1], rel=1e-6)
    np.testing.assert_allclose(seen, [0.25, 0.5, 0.5, 0.25, 0.125], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "changes", "message"),
    [
        ({"name": "linear"}, {}, "unknown schedule 'linear'; known: constant, cosine"),
        ({"decay_every": 3}, {}, "'constant' has no setting decay_every=3; it has: none"),
        ({"name": "step"}, {}, "'step' needs the setting decay_every"),
        ({"name": "noam", "warm_up": 9}, {}, "'noam' needs the setting model_size"),
        ({"name": "noam", "model_size": 9}, {}, "'noam' needs warm_up"),
        ({"name": "cosine", "warm_up": 24}, {}, "warm_up=24 has no steps left .* of 24"),
        ({"name": "plateau", "factor": 1.0}, {}, "factor=1.0, expected < 1"),
        ({"name": "plateau"}, {"best_metric": None}, "best_metric=None and evaluate_every=8"),
        ({"name": "plateau"}, {"evaluate_every": 0}, "best_metric='cider' and evaluate_every=0"),
    ],
)
def test_refused(schedule: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        LearningRate(options(schedule=ScheduleOptions(**schedule), **changes))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"warm_up": -1}, "warm_up=-1: expected at least 0"),
        ({"decay_every": 0}, "decay_every=0: expected at least 1"),
        ({"decay_rate": 1.5}, "decay_rate=1.5: expected above 0 and at most 1"),
        ({"final_fraction": 1.5}, "final_fraction=1.5: expected at least 0 and at most 1"),
    ],
)
def test_out_of_range(schedule: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleOptions(**schedule)


def test_what_a_schedule_depends_on_is_fixed() -> None:
    constant, cosine, plateau = (
        options(schedule=ScheduleOptions(name=name)).fixed()
        for name in ("constant", "cosine", "plateau")
    )
    assert not {"steps", "evaluate_every"} & set(constant)
    assert set(cosine) - set(constant) == {"steps"}
    assert set(plateau) - set(constant) == {"evaluate_every"}
    # Defaults give the same settings as in runs from before these options existed.
    assert constant["schedule"] is None
    assert plateau["schedule"] == {"name": "plateau"}


# In training -------------------------------------------------------------------------------------


def rates(workdir: Path) -> list[float]:
    lines = read_metrics(workdir)
    return [line["learning_rate"] for line in lines if line["kind"] == "train"]


def test_the_log_tells_the_rate_of_the_last_step(tmp_path: Path) -> None:
    schedule = ScheduleOptions(name="step", decay_every=4, decay_rate=0.5)
    chosen = options(steps=10, log_every=1, schedule=schedule)
    train(LanguageStage(), chosen, tmp_path, strategy=ONE)
    assert rates(tmp_path) == [0.01] * 4 + [0.005] * 4 + [0.0025] * 2


def test_cosine_refuses_other_steps(tmp_path: Path) -> None:
    schedule = ScheduleOptions(name="cosine")
    train(LanguageStage(), options(steps=4, schedule=schedule), tmp_path, strategy=ONE)
    longer = options(steps=8, schedule=schedule)
    with pytest.raises(TrainingError, match="options differ: steps 8, was 4"):
        train(LanguageStage(), longer, tmp_path, strategy=ONE)


class TestPlateau:
    # Evaluations are after every second step. With patience 1, the second consecutive evaluation
    # without improvement reduces the rate: at 6 (0.5, 0.5), 12 (nan, 0.6) and 16 (0.1, 0.1).
    SCORES: dict[int, float] = {  # noqa: RUF012
        2: 0.5, 4: 0.5, 6: 0.5, 8: 0.6, 10: math.nan, 12: 0.6, 14: 0.1, 16: 0.1, 18: 0.7,
    }  # fmt: skip
    EXPECTED = [0.01] * 6 + [0.005] * 6 + [0.0025] * 4 + [0.002] * 2

    def run(self, workdir: Path, steps: int = 18, **changes: Any) -> None:
        schedule = ScheduleOptions(name="plateau", patience=1, min_learning_rate=0.002)
        chosen = options(
            steps=steps, log_every=1, evaluate_every=2, checkpoint_every=3, steps_per_loop=2,
            schedule=schedule, **changes,
        )  # fmt: skip
        train(LanguageStage(score=self.score), chosen, workdir, strategy=ONE)

    def score(self, step: int) -> float:
        return self.SCORES.get(step, 1.0)

    def test_reduces_and_stops_at_the_least(self, tmp_path: Path) -> None:
        self.run(tmp_path)
        np.testing.assert_allclose(rates(tmp_path), self.EXPECTED, rtol=1e-12)

    def test_less_is_better(self, tmp_path: Path) -> None:
        self.run(tmp_path, steps=10, best_mode="min")
        # The best score remains 0.5.
        np.testing.assert_allclose(rates(tmp_path), [0.01] * 6 + [0.005] * 4, rtol=1e-12)

    @pytest.mark.parametrize("stops", [(5, 9), (7, 13, 15)])
    def test_goes_on_as_if_never_stopped(self, tmp_path: Path, stops: tuple[int, ...]) -> None:
        """The evaluation at the end of a shorter run (odd steps) must be ignored."""
        self.run(tmp_path / "reference")
        for steps in stops:
            self.run(tmp_path / "run", steps)
        self.run(tmp_path / "run")
        assert rates(tmp_path / "run") == rates(tmp_path / "reference")
        states = [
            json.loads((path / "checkpoints/step-00000018/checkpoint.json").read_text())
            for path in (tmp_path / "reference", tmp_path / "run")
        ]
        assert states[0]["files"] == states[1]["files"]
        assert states[0]["state"]["learning_rate_factor"] == 0.2

    def test_its_evaluations_may_not_be_moved(self, tmp_path: Path) -> None:
        self.run(tmp_path, 4)
        moved = options(
            evaluate_every=3,
            schedule=ScheduleOptions(name="plateau", patience=1, min_learning_rate=0.002),
        )
        with pytest.raises(TrainingError, match="evaluate_every 3, was 2"):
            train(LanguageStage(), moved, tmp_path, strategy=ONE)
