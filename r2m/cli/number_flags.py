"""Flags with numbers: each states its range and rejects NaN and infinity."""

from __future__ import annotations

from typing import Any

from absl import flags

from r2m.cli.flag_groups import OTHER, put_flag
from r2m.engine.value_rules import LARGEST_FLOAT, LARGEST_INT, Rule, number, whole

# A flag belongs to the module that calls these functions: absl rejects the same flag in two
# modules.
flags.disclaim_key_flags()


class _NumberParser(flags.ArgumentParser):
    """Parser of numbers that checks them against a rule."""

    def __init__(self, kind: type, rule: Rule) -> None:
        self._kind, self._rule = kind, rule
        # Generic description of a valid value, for --help.
        self.syntactic_help = rule(None) or ""

    def parse(self, argument: Any) -> Any:
        """Returns the number; raises a ValueError that names the valid range."""
        try:
            value = self._kind(argument)
        except (ValueError, OverflowError):
            value = None
        if expected := self._rule(value):
            raise ValueError(f"must be {expected}")
        return value

    def flag_type(self) -> str:
        """Returns the kind of value, for --help."""
        return self._kind.__name__


def define_whole(
    name: str,
    default: int | None,
    description: str,
    *,
    least: int,
    most: int = LARGEST_INT,
    group: str = OTHER,
) -> flags.FlagHolder[Any]:
    """Defines a flag with a whole number from `least` to `most`, in a group of `--help`."""
    return _define(name, default, description, group, _NumberParser(int, whole(least, most)))


def define_number(
    name: str,
    default: float | None,
    description: str,
    *,
    least: float = 0,
    above: float | None = None,
    most: float = LARGEST_FLOAT,
    below: float | None = None,
    group: str = OTHER,
) -> flags.FlagHolder[Any]:
    """Defines a flag with a finite number in a range; `value_rules.number` has the range."""
    rule = number(least=least, above=above, most=most, below=below)
    return _define(name, default, description, group, _NumberParser(float, rule))


def _define(
    name: str, default: Any, description: str, group: str, parser: _NumberParser
) -> flags.FlagHolder[Any]:
    holder: flags.FlagHolder[Any] = flags.DEFINE(
        parser, name, default, description, serializer=flags.ArgumentSerializer()
    )
    put_flag(name, group)
    return holder
