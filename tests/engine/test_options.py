from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf

from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError
from r2m.engine.options import CHANGEABLE, TrainingOptions


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -1.0},
        {"clip_global_norm": 0.0},
        {"steps_per_loop": 0},
        {"log_every": 0},
        {"evaluate_every": -1},
        {"keep_checkpoints": 0},
        {"best_mode": "most"},
        {"on_nonfinite": "ignore"},
        {"max_skipped": 0},
    ],
)
def test_bad_values_are_named(changes: dict[str, Any]) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}: expected"):
        TrainingOptions(**{"steps": 1, **changes})


def test_fixed_options_leave_out_what_may_change() -> None:
    fixed = TrainingOptions(steps=5).fixed()
    assert not set(fixed) & set(CHANGEABLE)
    assert {"learning_rate", "optimizer", "seed", "clip_global_norm"} <= set(fixed)


def test_auto_is_one_device_without_gpus() -> None:
    assert make_strategy().num_replicas_in_sync == 1
    assert make_strategy("one_device", replicas=1) is tf.distribute.get_strategy()


def test_mirrored_takes_the_wanted_number(mirrored: tf.distribute.Strategy) -> None:
    assert mirrored.num_replicas_in_sync == 2
    assert make_strategy("mirrored", replicas=2) is mirrored
    assert make_strategy("mirrored", replicas=1).num_replicas_in_sync == 1


@pytest.mark.parametrize(
    ("name", "replicas", "message"),
    [
        ("tpu", None, "is not supported.*TPU"),
        ("parameter_server", None, "is not supported.*Keras 3"),
        ("miror", None, "unknown.*auto, one_device, mirrored"),
        ("one_device", 2, "one replica here, not 2"),
        ("mirrored", 99, "99 replicas: expected 1 to .*CPU"),
        ("mirrored", 0, "0 replicas: expected 1 to "),
    ],
)
def test_refused_strategies(name: str, replicas: int | None, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        make_strategy(name, replicas=replicas)
