"""Stage 2 (xe_rec): as stage 1, and reads its sentences back into their concepts."""

from __future__ import annotations

from r2m.cli.curriculum import stage_main

console = stage_main("xe_rec")

if __name__ == "__main__":
    console()
