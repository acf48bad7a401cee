"""Trains stage 4 (tri_rec): stage 3, and reconstruction of the concepts from the caption."""

from __future__ import annotations

from r2m.cli.curriculum_training import stage_main

console = stage_main("tri_rec", __doc__ or "")

if __name__ == "__main__":
    console()
