"""Periods as people give them: in steps, in epochs or in percent of a run."""

from __future__ import annotations

import re

_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%|epochs?|steps?)")


def to_steps(
    name: str, period: int | str, *, steps_per_epoch: int | None, total: int | None = None
) -> int:
    """A period in steps.

    Args:
        name: of the setting, for messages.
        period: steps as an int, which is returned as it is; or "500 steps", "2 epochs",
            "0.5 epochs", "10%", which are rounded to whole steps, at least one.
        steps_per_epoch: of the stage; None where it does not know.
        total: steps of the run, which a percentage is of; None where none is allowed.

    Raises:
        ValueError: neither form, or a unit that means nothing here.
    """
    if isinstance(period, int) and not isinstance(period, bool):
        return period
    match = _FORM.fullmatch(period.strip()) if isinstance(period, str) else None
    if match is None or not float(match[1]):
        raise ValueError(
            f"{name}={period!r}: expected steps as a whole number, or text such as '500 steps', "
            "'2 epochs', '0.5 epochs' or '10%', above 0"
        )
    count, unit = float(match[1]), match[2]
    if unit.startswith("epoch"):
        if steps_per_epoch is None:
            raise ValueError(
                f"{name}={period!r}: this stage does not know how long an epoch is; give steps"
            )
        count *= steps_per_epoch
    elif unit == "%":
        if total is None:
            raise ValueError(
                f"{name}={period!r}: a percentage is of the run's steps; give steps or epochs here"
            )
        count *= total / 100
    return max(1, round(count))
