"""Trains stage 1 (xe): from concepts to a sentence, on the corpus alone."""

from __future__ import annotations

from r2m.cli.curriculum_training import stage_main

console = stage_main("xe", __doc__ or "")

if __name__ == "__main__":
    console()
