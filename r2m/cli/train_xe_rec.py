"""Trains stage 2 (xe_rec): stage 1, and reconstruction of the concepts from the sentence."""

from __future__ import annotations

from r2m.cli.curriculum_training import stage_main

console = stage_main("xe_rec", __doc__ or "")

if __name__ == "__main__":
    console()
