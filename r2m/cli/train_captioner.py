"""Trains a supervised captioner on images and the captions people wrote for them.

    r2m-train-captioner --config=updown --workdir=workspace/runs/updown \\
        --captions=workspace/records/captions/flickr8k

The records need what the model reads: a grid (r2m-build-captions --backbone --store_grid) or
regions (--features); for fc a vector (--backbone); with --config.image.source=pixels the pictures
(--images).
"""

from __future__ import annotations

from r2m.cli.captioner_training import stage_main

console = stage_main("cross_entropy", __doc__ or "")

if __name__ == "__main__":
    console()
