"""Trains a supervised captioner on images with captions that people wrote.

    r2m-train-captioner --config=updown --workdir=workspace/runs/updown \\
        --captions=workspace/records/captions/flickr8k

The records must contain the inputs of the model: a grid (r2m-build-captions --backbone
--store_grid) or regions (--features); a vector for fc (--backbone); the pictures with
--config.image.source=pixels (--images).
"""

from __future__ import annotations

from r2m.cli.captioner_training import stage_main

console = stage_main("cross_entropy", __doc__ or "")

if __name__ == "__main__":
    console()
