"""Flags with text, choices and switches; `r2m.cli.number_flags` has those with numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import flags

from r2m.cli.flag_groups import put_flag
from r2m.engine.value_rules import choice

# A flag belongs to the module that calls these functions: absl rejects the same flag in two
# modules.
flags.disclaim_key_flags()

# Placeholder in `--help` for a value of no particular kind.
_TEXT = "TEXT"


class _ChoiceParser(flags.EnumParser):
    """Parser of one of several words; suggests the nearest one."""

    def parse(self, argument: str) -> str:
        """Returns the word; raises a ValueError that lists the choices for any other."""
        if expected := choice(*self.enum_values)(argument):
            raise ValueError(f"must be {expected}")
        return argument


class _SwitchParser(flags.BooleanParser):
    """Parser of true and false, as in --NAME=true."""

    def parse(self, argument: Any) -> bool:
        """Returns the value; raises ValueError for any other word."""
        try:
            return super().parse(argument)
        except ValueError:
            raise ValueError("must be true or false") from None


def define_text(
    name: str,
    default: str | None,
    description: str,
    *,
    group: str,
    value: str = _TEXT,
    required: bool = False,
    allow_overwrite: bool = True,
) -> flags.FlagHolder[Any]:
    """Defines a text flag.

    Args:
        name: name of the flag, without dashes.
        default: value if the flag is not given.
        description: text for `--help`.
        group: one of `r2m.cli.flag_groups.GROUPS`.
        value: placeholder in `--help`, such as FOLDER.
        required: whether the flag must be given.
        allow_overwrite: whether it may be given twice; the last one counts.
    """
    holder: flags.FlagHolder[Any] = flags.DEFINE_string(
        name, default, description, required=required, allow_overwrite=allow_overwrite
    )
    put_flag(name, group, value)
    return holder


def define_texts(
    name: str,
    default: Sequence[str] | str | None,
    description: str,
    *,
    group: str,
    value: str = _TEXT,
    required: bool = False,
) -> flags.FlagHolder[Any]:
    """Defines a repeatable flag whose value is the list of its texts; see `define_text`."""
    holder: flags.FlagHolder[Any] = flags.DEFINE_multi_string(
        name, default, description, required=required
    )
    flags.FLAGS[name].help = description  # absl adds that the flag may be repeated
    put_flag(name, group, value)
    return holder


def define_list(
    name: str, default: list[str] | None, description: str, *, group: str, value: str
) -> flags.FlagHolder[Any]:
    """Defines a flag with comma-separated texts; see `define_text`."""
    holder: flags.FlagHolder[Any] = flags.DEFINE_list(name, default, description)
    put_flag(name, group, value)
    return holder


def define_choice(
    name: str, default: str | None, choices: Sequence[str], description: str, *, group: str
) -> flags.FlagHolder[Any]:
    """Defines a flag with one of several words; see `define_text`."""
    holder: flags.FlagHolder[Any] = flags.DEFINE(
        _ChoiceParser(choices), name, default, description, serializer=flags.ArgumentSerializer()
    )
    put_flag(name, group)
    return holder


def define_switch(
    name: str, default: bool | None, description: str, *, group: str
) -> flags.FlagHolder[Any]:
    """Defines a flag that is given as --NAME or --noNAME; see `define_text`."""
    holder: flags.FlagHolder[Any] = flags.DEFINE_bool(name, default, description)
    flags.FLAGS[name].parser = _SwitchParser()
    put_flag(name, group)
    return holder
