"""The whole job on the embedded data set: build, train the four stages, evaluate, show.

r2m-demo --home=workspace
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from r2m.cli.common import run

_HOME = flags.DEFINE_string(
    "home",
    "workspace",
    "Working directory; the demo's summary and gallery go to its folder `demo`. What is there "
    "already is reused, and an interrupted demo goes on.",
)


def main(argv: Sequence[str]) -> None:
    """Runs the demo."""
    from r2m.demo import run_demo

    del argv
    run_demo(Path(_HOME.value))


def console() -> None:
    """Entry of the console script."""
    run(main)


if __name__ == "__main__":
    console()
