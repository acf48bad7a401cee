"""Runs any command of R2M by name, and lists all commands.

    r2m caption dog.jpg --run=workspace/runs/updown/cross_entropy --output=workspace/captions

is the same as `r2m-caption dog.jpg ...`.
"""

from __future__ import annotations

import importlib
import sys
import textwrap

from r2m.cli.commands import by_purpose, find_commands, module_of
from r2m.cli.help import terminal_width
from r2m.cli.launch import print_any_text, writable_output
from r2m.cli.program import named_by_two_words, version_line
from r2m.cli.usage import HELP_WORDS, MISTAKE, VERSION_WORDS
from r2m.engine.value_rules import near

_ABOUT = "R2M: image captioning without image-caption pairs, and supervised captioners."


def console() -> None:
    """Runs the command as a console script."""
    words = sys.argv[1:]
    if words[:1] == ["help"] and len(words) > 1:
        words = [words[1], "--help"]
    if not words or words[0] in (*HELP_WORDS, "help"):
        _print(listing())
    elif words[0] in VERSION_WORDS:
        _print(version_line())
    elif words[0] in (commands := find_commands()):
        sys.argv[1:] = words
        named_by_two_words()
        importlib.import_module(module_of(words[0])).console()
    else:
        meant = "".join(f"; did you mean {name}?" for name in near(words[0], commands))
        print(f"error: r2m has no command {words[0]!r}{meant}", file=sys.stderr)
        print("r2m --help lists the commands", file=sys.stderr)
        sys.exit(MISTAKE)


def listing() -> str:
    """Returns the list of all commands by purpose, with their descriptions."""
    commands = find_commands()
    column = max(map(len, commands)) + 4
    blocks = [_ABOUT, "Usage: r2m COMMAND [FLAGS]    (the same as r2m-COMMAND [FLAGS])"]
    for purpose, names in by_purpose(commands).items():
        lines = [
            textwrap.fill(
                commands[name],
                terminal_width(),
                initial_indent=f"  {name}".ljust(column),
                subsequent_indent=" " * column,
                break_on_hyphens=False,
            )
            for name in names
        ]
        blocks.append("\n".join([f"{purpose}:", *lines]))
    blocks.append("r2m COMMAND --help describes a command; r2m --version shows versions.")
    return "\n\n".join(blocks)


def _print(text: str) -> None:
    print_any_text()
    with writable_output():
        print(text)


if __name__ == "__main__":
    console()
