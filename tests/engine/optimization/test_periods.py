from __future__ import annotations

from typing import Any

import pytest

from r2m.engine.optimization.periods import to_steps


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (0, 0),
        (7, 7),
        ("7 steps", 7),
        ("1 epoch", 90),
        ("2 epochs", 180),
        ("0.5 epochs", 45),
        ("0.5epochs", 45),
        (".01 epochs", 1),
        ("0.001 epochs", 1),
        ("10%", 100),
        (" 2.5 % ", 25),
        ("0.01%", 1),
        ("100%", 1000),
    ],
)
def test_in_steps(period: int | str, expected: int) -> None:
    assert to_steps("warm_up", period, steps_per_epoch=90, total=1000) == expected


@pytest.mark.parametrize(
    "period", ["7", "10 %%", "2 weeks", "-1 epochs", "0 epochs", "0%", "", 1.5, True, None]
)
def test_other_forms_are_refused(period: Any) -> None:
    with pytest.raises(ValueError, match=r"log_every=.*: expected steps as a whole number, or"):
        to_steps("log_every", period, steps_per_epoch=90, total=1000)


def test_units_that_mean_nothing_here() -> None:
    with pytest.raises(ValueError, match="log_every='2 epochs': this stage does not know how long"):
        to_steps("log_every", "2 epochs", steps_per_epoch=None, total=1000)
    with pytest.raises(ValueError, match="steps='10%': a percentage is of the run's steps"):
        to_steps("steps", "10%", steps_per_epoch=90)
