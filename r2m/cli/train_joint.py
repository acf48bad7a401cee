"""Trains the losses of stages 2 and 4 at once, from scratch."""

from __future__ import annotations

from r2m.cli.curriculum_training import stage_main

console = stage_main("joint", __doc__ or "")

if __name__ == "__main__":
    console()
