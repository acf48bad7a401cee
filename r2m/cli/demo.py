"""Runs every step on the embedded data set: builds, trains four stages, evaluates and captions.

    r2m-demo --home=workspace

The same command reuses existing results and resumes after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.cli.flag_groups import OUTPUT
from r2m.cli.launch import run
from r2m.cli.value_flags import define_text

_HOME = define_text(
    "home",
    "workspace",
    "Working directory; the demo's summary and gallery go to its folder `demo`.",
    group=OUTPUT,
    value="FOLDER",
)


def main(argv: Sequence[str]) -> None:
    """Runs the demo."""
    from r2m.shapes_demo import run_demo

    del argv
    run_demo(Path(_HOME.value))


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
