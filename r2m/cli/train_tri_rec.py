"""Stage 4 (tri_rec): as stage 3, and reads the captions back into their concepts."""

from __future__ import annotations

from r2m.cli.curriculum import stage_main

console = stage_main("tri_rec")

if __name__ == "__main__":
    console()
