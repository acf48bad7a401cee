from __future__ import annotations

from typing import Any

import pytest

from r2m.engine.durations import to_steps


@pytest.mark.parametrize(
    ("duration", "expected"),
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
def test_in_steps(duration: int | str, expected: int) -> None:
    assert to_steps("warm_up", duration, steps_per_epoch=90, total=1000) == expected


@pytest.mark.parametrize(
    "duration", ["7", "10 %%", "2 weeks", "-1 epochs", "0 epochs", "0%", "", 1.5, True, None]
)
def test_other_forms_are_refused(duration: Any) -> None:
    with pytest.raises(ValueError, match=r"log_every=.*: expected steps as a whole number, or"):
        to_steps("log_every", duration, steps_per_epoch=90, total=1000)


def test_units_that_mean_nothing_here() -> None:
    with pytest.raises(ValueError, match="log_every='2 epochs': the length of an epoch is"):
        to_steps("log_every", "2 epochs", steps_per_epoch=None, total=1000)
    with pytest.raises(ValueError, match="steps='10%': the steps of the run are not known"):
        to_steps("steps", "10%", steps_per_epoch=90)
