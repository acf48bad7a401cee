"""Stage 1 (xe): learns to say concepts in a sentence, from the corpus alone."""

from __future__ import annotations

from r2m.cli.curriculum import stage_main

console = stage_main("xe")

if __name__ == "__main__":
    console()
