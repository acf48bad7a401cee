"""The published setting: MSCOCO images, Shutterstock descriptions, Open Images v4 concepts.

    r2m-train-curriculum --config=coco_shutterstock \\
        --corpora=workspace/records/corpora/shutterstock \\
        --images=workspace/records/images/coco_karpathy --workdir=workspace/runs/coco_shutterstock

Model sizes, losses, learning rates and steps are those of the authors' released code (d 512, two
heads, batch 256, Adam; 5,000 + 6,000 + 50 + 100 steps). Not run here yet: it needs the Shutterstock
corpus, which is not ours to ship.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.r2m import base


def get_config(arg: str | None = None) -> ConfigDict:
    """The base settings as they are: those of the released code."""
    config = base.get_config(arg)
    config.name = "coco_shutterstock"
    return config
