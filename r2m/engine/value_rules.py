"""Rules for values of options, configuration fields and flags. Needs no TensorFlow.

A rule is a function that returns None for a valid value, else a description of valid values that
completes "must be ...".
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from r2m.engine.distribution.addresses import EXPECTED, parse_address
from r2m.engine.durations import to_steps

Rule = Callable[[Any], "str | None"]

# Largest whole number: TensorFlow uses 32-bit counters in places.
LARGEST_INT = 2**31 - 1
# Largest other number: products of a few of them fit into float32.
LARGEST_FLOAT = 1e6


def whole(least: int, most: int = LARGEST_INT) -> Rule:
    """Returns the rule for whole numbers in a range, both ends included."""

    def rule(value: Any) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return f"a whole number, at least {least}"
        if value < least:
            return f"at least {least}"
        return f"at most {most:,}" if value > most else None

    return rule


def number(
    *,
    least: float = 0,
    above: float | None = None,
    most: float = LARGEST_FLOAT,
    below: float | None = None,
) -> Rule:
    """Returns the rule for finite numbers in a range.

    Args:
        least: smallest value.
        above: exclusive lower bound, instead of `least`.
        most: largest value.
        below: exclusive upper bound, instead of `most`.
    """
    lower = f"at least {least:g}" if above is None else f"above {above:g}"
    upper = f"at most {most:g}" if below is None else f"below {below:g}"
    expected = lower if (most, below) == (LARGEST_FLOAT, None) else f"{lower} and {upper}"

    def rule(value: Any) -> str | None:
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            return f"a number, {expected}"
        high_enough = value > above if above is not None else value >= least
        low_enough = value < below if below is not None else value <= most
        return None if high_enough and low_enough else f"{lower} and {upper}"

    return rule


def duration(least: int, *, percent: bool = True) -> Rule:
    """Returns the rule for steps, or text such as "2 epochs" (`r2m.engine.durations`).

    Args:
        least: smallest number of steps.
        percent: whether percentages of a run's steps, such as "10%", are allowed.
    """
    steps = whole(least)

    def rule(value: Any) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool):
            return steps(value)
        try:
            found = to_steps("", value, steps_per_epoch=1, total=100 if percent else None)
        except ValueError:
            also = " or '10%'" if percent else ""
            return f"steps as a whole number, at least {least}, or text such as '2 epochs'{also}"
        return steps(found)

    return rule


def choice(*known: str) -> Rule:
    """Returns the rule for one of several names."""

    def rule(value: Any) -> str | None:
        if value in known:
            return None
        meant = "".join(f"; did you mean {name}?" for name in near(value, known))
        return f"one of {', '.join(known)}{meant}"

    return rule


def switch(value: Any) -> str | None:
    """Accepts True and False."""
    return None if isinstance(value, bool) else "True or False"


def path(value: Any) -> str | None:
    """Accepts a path, which may be empty."""
    return None if isinstance(value, str) else "a path"


def words(value: Any) -> str | None:
    """Accepts text, which may be empty."""
    return None if isinstance(value, str) else "comma-separated words or phrases"


def name(value: Any) -> str | None:
    """Accepts text that is not empty."""
    return None if isinstance(value, str) and value.strip() else "a name"


def address(value: Any) -> str | None:
    """Accepts the address of a data service."""
    try:
        parse_address(value)
    except (TypeError, ValueError):
        return EXPECTED
    return None


def optional(rule: Rule) -> Rule:
    """Returns the rule for None and the values that `rule` accepts."""

    def optional_rule(value: Any) -> str | None:
        expected = None if value is None else rule(value)
        return expected and f"{expected}, or None"

    return optional_rule


def near(found: Any, known: Iterable[str]) -> list[str]:
    """Returns the known name with almost the same spelling as `found`, if any."""
    return difflib.get_close_matches(str(found), list(known), n=1)
