"""Trains a captioner further by rewards: CIDEr-D of captions that it draws itself.

    r2m-train-self-critical --config=updown --workdir=workspace/runs/updown \\
        --captions=workspace/records/captions/flickr8k

Starts from the best weights of <workdir>/cross_entropy, which r2m-train-captioner trained.
"""

from __future__ import annotations

from r2m.cli.captioner_training import stage_main

console = stage_main("self_critical", __doc__ or "")

if __name__ == "__main__":
    console()
