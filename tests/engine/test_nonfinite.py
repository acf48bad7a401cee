"""Non-finite steps: nothing is changed, the first bad tensor is named, training stops or skips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from engine_toys import LanguageStage, PairStage, options

from r2m.engine.distribution.sharing import distribute
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.optimization.optimizers import make_optimizer
from r2m.engine.options import ScheduleOptions
from r2m.engine.persistence import checkpoints
from r2m.engine.stage import LossTerm
from r2m.engine.step import make_train_loop
from r2m.engine.train import train

ONE = make_strategy("one_device")
QUIET = {"log_every": 4, "evaluate_every": 0, "checkpoint_every": 0, "best_metric": None}


@tf.custom_gradient
def bad_gradient(value: tf.Tensor, bad: tf.Tensor) -> Any:
    """Returns 0, with a gradient of `value` that is NaN if `bad`, else 0."""

    def gradient(_: tf.Tensor) -> Any:
        return tf.where(bad, np.nan, 0.0) * tf.ones_like(value), None

    return tf.constant(0.0), gradient


class BadStage(LanguageStage):
    """Stage whose loss, or only the gradient of one bias, is not finite at some steps.

    With `without`, the batches of these steps are removed instead.
    """

    def __init__(self, *bad: int, gradient: bool = False, without: bool = False) -> None:
        super().__init__(dropout=0.0)
        self.bad = tf.constant(bad, tf.int64)
        self.gradient, self.without = gradient, without

    def train_dataset(self, first_step: int) -> tf.data.Dataset:
        steps = tf.data.Dataset.counter(tf.constant(1, tf.int64))

        def is_bad(step: tf.Tensor) -> tf.Tensor:
            return tf.reduce_any(step == self.bad)

        if self.without:
            steps = steps.filter(lambda step: not is_bad(step))
        return steps.skip(first_step).map(lambda step: (self.batch(step - 1), is_bad(step)))

    def loss(self, batch: Any, training: bool) -> dict[str, LossTerm]:
        tokens, bad = batch
        terms = super().loss(tokens, training)
        total, count, _ = terms["xe"]
        if self.gradient:
            total += bad_gradient(self.model.hidden_layer.bias.value, bad)
        else:
            total *= tf.where(bad, np.nan, 1.0)
        return {**terms, "xe": LossTerm(total, count)}


def tensors(workdir: Path) -> dict[str, np.ndarray]:
    checkpoint = checkpoints.newest(workdir / "checkpoints")
    assert checkpoint is not None
    reader = tf.train.load_checkpoint(str(checkpoint.folder / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("gradient", [False, True])
def test_a_bad_step_changes_nothing(strategy: tf.distribute.Strategy, gradient: bool) -> None:
    found = []
    for steps in (2, 3):
        with strategy.scope():
            stage = BadStage(3, gradient=gradient)
            optimizer = make_optimizer(options(), stage.trainable_variables)
        loop = make_train_loop(stage, optimizer, options(), strategy)
        results = loop(iter(distribute(stage.train_dataset(0), strategy)), steps)
        found.append([v.numpy() for v in (*stage.trainable_variables, *optimizer.variables)])
    np.testing.assert_array_equal(results.finite, [True, True, False])
    np.testing.assert_array_equal(results.rows, [4, 3, 1])
    for before, after in zip(*found, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({}, r"first bad: loss term 'xe' \(nan\)"),
        ({"gradient": True}, r"first bad: gradient of dense/bias\. Loss \d"),
    ],
)
def test_the_first_bad_tensor_is_named(
    strategy: tf.distribute.Strategy, tmp_path: Path, stage: Any, message: str
) -> None:
    with strategy.scope():
        bad = BadStage(7, **stage)
    with pytest.raises(TrainingError, match=rf"at step 7 \(of the steps 6 to 9\), {message}"):
        train(bad, options(**{**QUIET, "log_every": 5}, steps=9), tmp_path, strategy=strategy)


def test_a_bad_variable_is_named(tmp_path: Path) -> None:
    stage = LanguageStage()

    def spoil() -> None:
        stage.model.hidden_layer.kernel.assign(np.diag([np.nan] * 2 + [1.0] * 6))

    with pytest.raises(TrainingError, match=r"bad: variable dense/kernel \(2 of 64 values\)"):
        train(stage, options(**QUIET), tmp_path, strategy=ONE, init_from=spoil)


def test_a_bad_input_is_named(tmp_path: Path) -> None:
    class Spoilt(PairStage):
        def train_dataset(self, first_step: int) -> tf.data.Dataset:
            pairs = super().train_dataset(first_step).enumerate(first_step)
            return pairs.map(lambda i, pair: (pair[0], pair[1] / tf.cast(i != 5, tf.float32)))

    with pytest.raises(TrainingError, match=r"step 6 .* tensor '1' of the batch \(6 of 6 values"):
        train(Spoilt(whole=False), options(**QUIET), tmp_path, strategy=ONE)


def test_skipping_a_batch_is_training_without_it(
    strategy: tf.distribute.Strategy, tmp_path: Path
) -> None:
    found = {}
    for name, steps in (("skip", 12), ("without", 9)):
        with strategy.scope():
            stage = BadStage(3, 6, 7, without=name == "without")
        schedule = ScheduleOptions(name="step", decay_every=3, decay_rate=0.5)
        changed = options(
            **QUIET, steps=steps, schedule=schedule, on_nonfinite="skip", max_skipped=2
        )
        train(stage, changed, tmp_path / name, strategy=strategy)
        found[name] = tensors(tmp_path / name)
    np.testing.assert_equal(found["skip"], found["without"])
    lines = [line for line in read_metrics(tmp_path / "skip") if line["kind"] == "train"]
    assert [line["skipped"] for line in lines] == [1, 3, 3]
    # After 3, 5 and 9 optimizer steps; the schedule decays before steps 4 and 7.
    assert [line["learning_rate"] for line in lines] == [0.01, 0.005, 0.0025]
    assert all(np.isfinite(line["loss"]) for line in lines)


def test_skipping_goes_on_where_it_stopped(tmp_path: Path) -> None:
    # The first four steps are all bad, which gives a log line without loss. The stop comes between
    # two bad steps.
    bad = (1, 2, 3, 4, 6, 7)
    schedule = ScheduleOptions(warm_up=2)
    changed = {**QUIET, "on_nonfinite": "skip", "max_skipped": 4, "schedule": schedule}
    for name, stops in (("whole", (12,)), ("resumed", (6, 12))):
        for steps in stops:
            train(BadStage(*bad), options(**changed, steps=steps), tmp_path / name, strategy=ONE)
    np.testing.assert_equal(tensors(tmp_path / "whole"), tensors(tmp_path / "resumed"))
    lines = [line for line in read_metrics(tmp_path / "whole") if line["kind"] == "train"]
    assert [line["loss"] is None for line in lines] == [True, False, False]
    assert [line["learning_rate"] for line in lines] == [0.005, 0.01, 0.01]
    assert [line["skipped"] for line in lines] == [4, 6, 6]


def test_too_many_in_a_row_stop_the_run(tmp_path: Path) -> None:
    changed = {**QUIET, "on_nonfinite": "skip", "max_skipped": 3}
    stage = BadStage(2, 6, 7, 8, 9)
    message = r"at step 9 .*loss term 'xe'.*4 consecutive steps were not finite, max_skipped is 3"
    # Consecutive bad steps are counted beyond the end of a loop and beyond a resume.
    train(stage, options(**changed, steps=7), tmp_path, strategy=ONE)
    with pytest.raises(TrainingError, match=message):
        train(BadStage(2, 6, 7, 8, 9), options(**changed, steps=12), tmp_path, strategy=ONE)


def test_a_stopped_run_may_skip_when_it_is_resumed(tmp_path: Path) -> None:
    changed = {**QUIET, "checkpoint_every": 4, "steps": 12}
    with pytest.raises(TrainingError, match=r"at step 6.*on_nonfinite='skip'"):
        train(BadStage(6), options(**changed), tmp_path, strategy=ONE)
    skipping = options(**changed, on_nonfinite="skip")
    assert train(BadStage(6), skipping, tmp_path, strategy=ONE).step == 12
