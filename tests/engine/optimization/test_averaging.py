"""Moving average of the weights: against NumPy, in the best checkpoint, and after restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from engine_toys import LanguageStage, options

from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError
from r2m.engine.optimization.averaging import WeightAverage
from r2m.engine.persistence import checkpoints
from r2m.engine.stage import Evaluation
from r2m.engine.train import train

ONE = make_strategy("one_device")
DECAY = 0.5  # reached by the warm-up of the decay at t = 8
NAME = "embedding/embeddings"


class WatchedStage(LanguageStage):
    """Stage that records the weights at each evaluation."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.seen: dict[int, np.ndarray] = {0: self.weights()}

    def weights(self) -> np.ndarray:
        return self.model.embedding.embeddings.numpy()

    def evaluate(self, step: int) -> Evaluation:
        self.seen[step] = self.weights()
        return super().evaluate(step)


def run(
    workdir: Path, strategy: tf.distribute.Strategy = ONE, best_at: int = 12, **changes: Any
) -> WatchedStage:
    with strategy.scope():
        stage = WatchedStage(score=lambda step: -abs(step - best_at))
    settings = {"steps": 15, "log_every": 3, "evaluate_every": 1, "checkpoint_every": 4, **changes}
    train(stage, options(**settings), workdir, strategy=strategy)
    return stage


def tensors(workdir: Path, folder: str) -> dict[str, np.ndarray]:
    checkpoint = checkpoints.newest(workdir / folder)
    assert checkpoint is not None
    reader = tf.train.load_checkpoint(str(checkpoint.folder / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_follows_its_formula_and_is_what_is_evaluated(
    strategy: tf.distribute.Strategy, tmp_path: Path
) -> None:
    raw = run(tmp_path / "raw", strategy).seen
    stage = run(tmp_path / "averaged", strategy, ema_decay=DECAY)
    average = raw[0].astype(np.float64)
    for t in range(1, 16):
        decay = min(DECAY, (1 + t) / (10 + t))
        average = decay * average + (1 - decay) * raw[t]
        np.testing.assert_allclose(stage.seen[t], average, atol=1e-6)
        assert abs(average - raw[t]).max() > 1e-4
    # Training continues with the raw weights.
    np.testing.assert_array_equal(stage.weights(), raw[15])
    best, latest = (tensors(tmp_path / "averaged", folder) for folder in ("best", "checkpoints"))
    np.testing.assert_array_equal(best[f"model/{NAME}"], stage.seen[12])
    np.testing.assert_array_equal(latest[f"model/{NAME}"], raw[15])
    np.testing.assert_array_equal(latest[f"ema/{NAME}"], stage.seen[15])
    assert not [name for name in best if name.startswith("ema/")]
    assert len([name for name in latest if name.startswith("ema/")]) == 5


def test_replicas_keep_equal_averages(mirrored: tf.distribute.Strategy) -> None:
    with mirrored.scope():
        stage = LanguageStage()
        average = WeightAverage(DECAY, {"x": stage.trainable_variables[0]})
    average.start()
    stage.trainable_variables[0].assign(np.full(stage.trainable_variables[0].shape, 3.0))

    @tf.function
    def update() -> None:
        average.update(tf.constant(1), tf.constant(True))

    start = average.tensors["ema/x"].numpy()
    update()
    copies = mirrored.experimental_local_results(average.tensors["ema/x"].value)
    assert len(copies) == 2
    for copy in copies:
        np.testing.assert_allclose(copy.numpy(), (2 * start + 9 * 3.0) / 11, atol=1e-6)


def test_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    run(tmp_path / "reference", ema_decay=DECAY)
    for steps in (5, 10, 15):
        stage = run(tmp_path / "run", steps=steps, ema_decay=DECAY)
    for folder in ("checkpoints", "best"):
        a, b = (tensors(tmp_path / name, folder) for name in ("reference", "run"))
        assert a.keys() == b.keys()
        for name, value in a.items():
            np.testing.assert_array_equal(value, b[name], err_msg=name)
    # The average is not that of the last steps alone, so a new start would differ.
    assert abs(stage.seen[15] - stage.weights()).max() > 1e-4


def test_starts_from_the_weights_that_training_starts_from(tmp_path: Path) -> None:
    run(tmp_path / "before", best_at=3)
    with ONE.scope():
        stage = WatchedStage()
    start = tensors(tmp_path / "before", "best")[f"model/{NAME}"]
    changed = options(steps=1, ema_decay=0.999)
    train(stage, changed, tmp_path / "after", strategy=ONE, init_from=tmp_path / "before")
    np.testing.assert_array_equal(stage.seen[0], start)
    np.testing.assert_allclose(stage.seen[1], 2 / 11 * start + 9 / 11 * stage.weights(), atol=1e-6)


def test_may_not_be_changed_on_resume(tmp_path: Path) -> None:
    run(tmp_path, steps=2, ema_decay=DECAY)
    with pytest.raises(TrainingError, match=r"ema_decay None, was 0\.5"):
        run(tmp_path)


def test_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"ema_decay=1\.0: expected above 0 and below 1"):
        options(ema_decay=1.0)
