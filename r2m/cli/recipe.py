"""Runs a recipe: the commands of an experiment of RESULTS.md, from raw data to scores.

    r2m-recipe                                                lists the recipes and their runs
    r2m-recipe flickr8k-captioners --dry_run                  prints the commands of one
    r2m-recipe flickr8k-captioners DATA WORKSPACE             runs them, one after the other
    r2m-recipe flickr8k-captioners DATA WORKSPACE fc updown   runs those of two of its runs

DATA is the folder of the raw data, WORKSPACE the working directory. After an error or Ctrl-C, the
same command resumes: finished steps are reused. The exit code is that of the command that failed.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from r2m.cli.flag_groups import OUTPUT
from r2m.cli.launch import COMMAND_VARIABLE, run, this_command
from r2m.cli.value_flags import define_switch
from r2m.engine.value_rules import near
from r2m.recipes.known import RECIPES
from r2m.recipes.running import run_steps
from r2m.recipes.steps import Command, Recipe, list_steps
from tfrecords.core.errors import InputError

_WIDTH = 100
_DRY_RUN = define_switch(
    "dry_run", False, "Print the commands as a shell script and exit.", group=OUTPUT
)


def main(argv: Sequence[str]) -> int:
    """Lists the recipes, prints one, or runs one."""
    if len(argv) == 1:
        print("\n\n".join(_described(name, recipe) for name, recipe in RECIPES.items()))
        return 0
    name, *rest = argv[1:]
    _check_names("recipe", [name], RECIPES)
    recipe = RECIPES[name]
    if _DRY_RUN.value:
        data, workspace, *runs = rest + ["DATA", "WORKSPACE"][len(rest) :]
    elif len(rest) < 2:
        raise InputError(
            f"give two folders: r2m-recipe {name} DATA WORKSPACE\n{_described(name, recipe)}"
        )
    else:
        data, workspace, *runs = rest
    _check_names("run", runs, recipe.runs)
    steps = list_steps(recipe, Path(data), Path(workspace), runs)
    if _DRY_RUN.value:
        print("set -e\n\n" + "\n\n".join(_wrapped(step) for step in steps))
        return 0
    if not Path(data).is_dir():
        raise InputError(f"{data}: no such folder; DATA is the folder with {recipe.data}")
    return run_steps(steps, {COMMAND_VARIABLE: this_command()})


def _check_names(kind: str, found: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in found:
        if name not in known:
            meant = "".join(f"; did you mean {other}?" for other in near(name, known))
            raise InputError(f"unknown {kind} {name!r}{meant or ';'} known: {', '.join(known)}")


def _described(name: str, recipe: Recipe) -> str:
    """Returns the usage of a recipe, the raw data it needs, and its runs."""
    width = max(map(len, recipe.runs)) + 2
    paragraphs = [(recipe.summary, ""), (f"DATA contains {recipe.data}.", "")]
    paragraphs += [(f"{run:<{width}}{text}", " " * width) for run, text in recipe.runs.items()]
    lines = [
        textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="  " + indent)
        for text, indent in paragraphs
    ]
    return "\n".join([f"{name} DATA WORKSPACE [RUN ...]", *lines])


def _wrapped(command: Command) -> str:
    """Returns a command in lines of at most `_WIDTH` columns, if its arguments permit."""
    lines = [command[0]]
    for word in map(shlex.quote, command[1:]):
        if len(lines[-1]) + len(word) + 3 > _WIDTH:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}"
    return "\n".join(lines)


console = partial(run, main, arguments="[RECIPE [DATA WORKSPACE [RUN ...]]]")

if __name__ == "__main__":
    console()
