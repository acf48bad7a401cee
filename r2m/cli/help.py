"""Text of `--help`: description, usage, required flags, the other flags in groups, examples."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from absl import flags

from r2m.cli.flag_groups import GROUPS, OTHER, place_of
from r2m.cli.program import program

# Longer lines are hard to read, and shorter ones are too narrow for a flag.
_WIDEST, _NARROWEST = 100, 40
_INDENT = 2
_DESCRIPTION_INDENT = 6
# Longer lists of choices move from the flag to its description.
_LONGEST_CHOICES = 40
# absl marks required flags by a check with this message.
_REQUIRED = "must have a value other than None"
_OWN_FLAGS = {
    "-h, --help": "Show this help. --helpfull also shows the flags of absl for logging and "
    "debugging.",
    "--version": "Show the versions of R2M, TensorFlow, Keras and Python.",
}


@dataclass(frozen=True)
class Command:
    """Description and usage of a command.

    Attributes:
        description: its docstring. Indented paragraphs are examples; a preceding paragraph that
            ends with a colon belongs to them.
        arguments: positional arguments, as in "IMAGE ..."; empty for none.
    """

    description: str
    arguments: str = ""


def help_text(command: Command, *, full: bool = False) -> str:
    """Returns the help, wrapped to the width of the terminal.

    Args:
        command: command to describe.
        full: includes the flags that absl defines for every command.
    """
    width = terminal_width()
    (summary, *details), examples = split_description(command.description)
    own = [flag for flag in defined_flags() if not is_absl(flag)]
    required = [flag for flag in own if is_required(flag)]
    usage = [f"--{flag.name}={_value_name(flag)}" for flag in required]
    words = [program(), *filter(None, [command.arguments]), *usage, "[FLAGS]"]
    if command.arguments.startswith("--"):  # the words after it are not flags of this command
        words = [program(), *usage, "[FLAGS]", command.arguments]
    blocks = [
        _fill(summary, width),
        _fill(" ".join(words), width, hanging="Usage: "),
        *(_fill(text, width) for text in details),
        _section("Required", map(_entry, required), width),
    ]
    for group in GROUPS:
        entries = [_entry(f) for f in own if f not in required and place_of(f).group == group]
        if group == OTHER:
            entries += _OWN_FLAGS.items()
        blocks.append(_section(group, entries, width))
    if full:
        others = [flag for flag in defined_flags() if is_absl(flag)]
        blocks.append(_section("Logging and debugging (absl)", map(_entry, others), width))
    if examples:
        title = "Examples:" if len(examples) > 1 else "Example:"
        blocks.append("\n\n".join([title, *(_example(text, width) for text in examples)]))
    return "\n\n".join(filter(None, blocks))


def split_description(description: str) -> tuple[list[str], list[str]]:
    """Returns the paragraphs of a command's docstring, and its examples with introductions."""
    paragraphs = description.strip("\n").split("\n\n")
    details: list[str] = []
    examples: list[str] = []
    for index, paragraph in enumerate(paragraphs):
        after = paragraphs[index + 1] if index + 1 < len(paragraphs) else ""
        leads = index > 0 and paragraph.rstrip().endswith(":") and after.startswith(" ")
        (examples if leads or paragraph.startswith(" ") else details).append(paragraph)
    return details, examples


def is_required(flag: Any) -> bool:
    """Returns whether a flag is required."""
    return any(_REQUIRED in check.message for check in flag.validators)


def defined_flags() -> Iterator[Any]:
    """Yields the flags of this process in the order of their definition, without aliases."""
    for name in flags.FLAGS:
        flag: Any = flags.FLAGS[name]
        if name == flag.name and not (flag.help or "").startswith("Alias for --"):
            yield flag


def is_absl(flag: Any) -> bool:
    """Returns whether absl defines a flag, for every program."""
    return str(flags.FLAGS.find_module_defining_flag(flag.name)).startswith("absl.")


def _entry(flag: Any) -> tuple[str, str]:
    """Returns a flag as typed on the command line, and its description with range and default."""
    if flag.boolean:
        heading = f"--{flag.name}" if flag.default is False else f"--[no]{flag.name}"
    else:
        heading = f"--{flag.name}={_value_name(flag)}"
    text = " ".join(flag.help.split())
    choices = _choices(flag)
    if choices and "|".join(choices) != _value_name(flag):
        text = f"{text} One of {', '.join(choices)}."
    notes = [
        "repeatable" if isinstance(flag, flags.MultiFlag) else "",
        # Without "a whole number", which the placeholder already states.
        flag.parser.syntactic_help.partition(", ")[2] if _is_number(flag) else "",
        _default(flag),
    ]
    shown = "; ".join(filter(None, notes))
    return heading, f"{text} ({shown})" if shown else text


def _value_name(flag: Any) -> str:
    """Returns the placeholder of a flag's value."""
    choices = "|".join(_choices(flag))
    if place_of(flag).value:
        return str(place_of(flag).value)
    if _is_number(flag):
        return "N" if flag.flag_type() == "int" else "X"
    return choices if 0 < len(choices) <= _LONGEST_CHOICES else "CHOICE" if choices else "TEXT"


def _choices(flag: Any) -> list[str]:
    return flag.parser.enum_values if isinstance(flag.parser, flags.EnumParser) else []


def _is_number(flag: Any) -> bool:
    return flag.flag_type() in ("int", "float")


def _default(flag: Any) -> str:
    value = flag.default
    if value is None or value is False or value in ("", [], ()):
        return ""
    if value is True:
        return "default: on"
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    return f"default: {value:g}" if isinstance(value, float) else f"default: {value}"


def _section(title: str, entries: Iterable[tuple[str, str]], width: int) -> str:
    """Returns a heading and its entries; empty without entries."""
    lines = [f"{title}:"]
    for heading, text in entries:
        lines.append(" " * _INDENT + heading)
        wrapped = _fill(text, width - _DESCRIPTION_INDENT)
        lines.append(textwrap.indent(wrapped, " " * _DESCRIPTION_INDENT))
    return "\n".join(lines) if len(lines) > 1 else ""


def _example(text: str, width: int) -> str:
    """Returns an example: its commands unchanged, its text wrapped."""
    return text.rstrip() if text.startswith(" ") else _fill(text, width)


def _fill(text: str, width: int, *, hanging: str = "") -> str:
    """Wraps text; its later lines are indented by the length of `hanging`."""
    return textwrap.fill(
        " ".join(text.split()),
        width,
        initial_indent=hanging,
        subsequent_indent=" " * len(hanging),
        break_long_words=False,
        break_on_hyphens=False,  # names of commands and flags stay whole
    )


def terminal_width() -> int:
    """Returns the number of columns: the terminal's, within limits; 80 without a terminal."""
    return max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
