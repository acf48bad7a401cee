"""Parsing of a command's flags: `--help`, `--version`, one-line messages for mistakes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from r2m.cli.help import Command, defined_flags, help_text, is_absl, is_required
from r2m.cli.program import program, version_line
from r2m.engine.value_rules import near

# Exit code of a mistake on the command line, the same as for other bad input.
MISTAKE = 1
HELP_WORDS = ("-h", "--help", "-help")
FULL_HELP_WORDS = ("--helpfull", "-helpfull")
VERSION_WORDS = ("--version", "-version")
# Flags of absl that these words replace, because they list flags by module and exit with code 1.
_REPLACED = ("help", "helpshort", "helpfull", "helpxml", "?")


def read_flags(argv: Sequence[str], command: Command) -> list[str]:
    """Parses the command line; returns its first word and the positional arguments.

    Ends the process with exit code 0 if help or version is requested anywhere before `--`, and with
    a message and exit code 1 after a mistake.
    """
    words = list(argv)
    own = words[: words.index("--")] if "--" in words else words
    for word in own:
        if answer := _answer(word, command):
            print(answer)
            sys.exit(0)
    for name in _REPLACED:
        if name in flags.FLAGS:
            delattr(flags.FLAGS, name)
    try:
        rest = flags.FLAGS(words)
    except flags.Error as error:
        sys.exit(print_mistake(_describe(error, command)))
    if len(rest) > 1 and not command.arguments:
        sys.exit(print_mistake(_describe_argument(rest[1])))
    return rest


def _answer(word: str, command: Command) -> str | None:
    """Returns the text that a word requests: help or version, else None."""
    if word in VERSION_WORDS:
        return version_line()
    if word in HELP_WORDS or word in FULL_HELP_WORDS:
        return help_text(command, full=word in FULL_HELP_WORDS)
    return None


def print_mistake(message: str) -> int:
    """Prints a mistake on the command line with a hint to help; returns the exit code."""
    print(f"error: {message}\n{program()} --help lists the flags", file=sys.stderr)
    return MISTAKE


def _describe(error: flags.Error, command: Command) -> str:
    missing = [f for f in defined_flags() if is_required(f) and f.value is None]
    if isinstance(error, flags.UnrecognizedFlagError):
        group = error.flagname.partition(".")[0]
        if "." in error.flagname and any(flag.name == group for flag in missing):
            return f"--{error.flagname} changes a setting of --{group}, which is missing"
        found = near(error.flagname, ["help", "version", *(f.name for f in _own_flags())])
        if found:
            return f"unknown flag --{error.flagname}; did you mean --{found[0]}?"
        behind = command.arguments.startswith("-- ")
        hint = " (flags of the command to run belong after --)" if behind else ""
        return f"unknown flag --{error.flagname}{hint}"
    # Values are checked one by one before missing flags are detected.
    if missing and all(_is_about(flag, error) for flag in missing):
        names = [f"--{flag.name}" for flag in missing]
        listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
        return f"{listed} {'is' if len(names) == 1 else 'are'} required"
    return str(error).replace("Missing value for flag ", "a value is missing after ")


def _is_about(flag: Any, error: flags.Error) -> bool:
    return any(check.message in str(error) for check in flag.validators)


def _own_flags() -> list[Any]:
    return [flag for flag in defined_flags() if not is_absl(flag)]


def _describe_argument(argument: str) -> str:
    name, equals, _ = argument.partition("=")
    names = [flag.name for flag in _own_flags()]
    if equals and name in names:
        return f"unexpected argument {argument!r}; did you mean --{argument}?"
    if argument.lower() in ("true", "false"):
        return f"unexpected argument {argument!r}: a switch is given as --NAME or --noNAME alone"
    return f"unexpected argument {argument!r}: every option is a --FLAG"
