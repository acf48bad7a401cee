"""Trains stage 3 (tri): aligns images with captions generated from their concepts."""

from __future__ import annotations

from r2m.cli.curriculum_training import stage_main

console = stage_main("tri", __doc__ or "")

if __name__ == "__main__":
    console()
