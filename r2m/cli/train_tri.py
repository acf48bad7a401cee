"""Stage 3 (tri): aligns images with the captions the model gives their concepts."""

from __future__ import annotations

from r2m.cli.curriculum import stage_main

console = stage_main("tri")

if __name__ == "__main__":
    console()
