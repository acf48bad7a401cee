"""Real images on a small machine: Flickr8k photographs, COCO captions as text, no pairs.

    r2m-train-curriculum --config=configs/r2m/flickr8k.py --corpora=CORPORA --images=IMAGES \\
        --workdir=workspace/runs/flickr8k
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.r2m import base


def get_config(arg: str | None = None) -> ConfigDict:
    """Half the published model size, and fewer, larger steps."""
    config = base.get_config(arg)
    config.name = "flickr8k"
    config.model.units = 256
    for name, steps, every in (("xe", 2_000, 250), ("xe_rec", 750, 250)):
        stage = config.stages[name]
        stage.learning_rate, stage.batch_size = 1e-3, 128
        stage.steps, stage.evaluate_every, stage.max_length = steps, every, 20
    return config
