"""Trains stage 1 (xe): generation of sentences from concepts, on the corpus alone."""

from __future__ import annotations

from r2m.cli.curriculum_training import stage_main

console = stage_main("xe", __doc__ or "")

if __name__ == "__main__":
    console()
