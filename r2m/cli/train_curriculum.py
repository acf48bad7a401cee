"""Trains the four stages in order, each from the best checkpoint of the one before."""

from __future__ import annotations

from absl import flags

from r2m.cli.common import run
from r2m.cli.training import curriculum_main


def console() -> None:
    """Entry of the console script."""
    flags.mark_flag_as_required("config")
    run(curriculum_main)


if __name__ == "__main__":
    console()
