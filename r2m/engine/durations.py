"""Durations in configurations: steps, epochs or percent of a run."""

from __future__ import annotations

import re

_FORM = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(%|epochs?|steps?)")


def to_steps(
    name: str, duration: int | str, *, steps_per_epoch: int | None, total: int | None = None
) -> int:
    """Converts a duration to steps.

    Args:
        name: name of the setting, for messages.
        duration: steps as an int, which is returned unchanged; or "500 steps", "2 epochs",
            "0.5 epochs", "10%", which are rounded to whole steps, at least one.
        steps_per_epoch: steps per epoch of the stage; None if unknown.
        total: steps of the run, the base of percentages; None if percentages are not allowed.

    Returns:
        Steps, at least one unless `duration` is an int.

    Raises:
        ValueError: the duration has another form, or a unit that is not available here.
    """
    if isinstance(duration, int) and not isinstance(duration, bool):
        return duration
    match = _FORM.fullmatch(duration.strip()) if isinstance(duration, str) else None
    if match is None or not float(match[1]):
        raise ValueError(
            f"{name}={duration!r}: expected steps as a whole number, or text such as '500 steps', "
            "'2 epochs', '0.5 epochs' or '10%', above 0"
        )
    count, unit = float(match[1]), match[2]
    if unit.startswith("epoch"):
        if steps_per_epoch is None:
            raise ValueError(
                f"{name}={duration!r}: the length of an epoch is not known here; give steps"
            )
        count *= steps_per_epoch
    elif unit == "%":
        if total is None:
            raise ValueError(
                f"{name}={duration!r}: the steps of the run are not known here; give steps or "
                "epochs"
            )
        count *= total / 100
    return max(1, round(count))
