"""Recipes and their commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

# A console script of this package and its arguments.
Command = Sequence[str]


class Recipe(NamedTuple):
    """An experiment: one or more runs on the same raw data.

    Attributes:
        summary: what it trains.
        data: required contents of the folder of raw data.
        runs: name -> description of the run, in the order of training.
        commands: yields all commands of a run, given the folder of raw data, the working directory
            and the name of the run. They reuse finished results.
    """

    summary: str
    data: str
    runs: Mapping[str, str]
    commands: Callable[[Path, Path, str], Iterable[Command]]


def list_steps(recipe: Recipe, data: Path, workspace: Path, runs: Sequence[str]) -> list[Command]:
    """Returns the commands of some runs in order, each command once.

    Args:
        recipe: the recipe.
        data: folder of the raw data.
        workspace: working directory, for records and runs.
        runs: names of runs; empty selects all.
    """

    def found() -> Iterator[tuple[str, ...]]:
        for run in runs or recipe.runs:
            for command in recipe.commands(data, workspace, run):
                yield tuple(command)

    return list(dict.fromkeys(found()))
