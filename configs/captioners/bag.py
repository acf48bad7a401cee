"""The throw-away captioner `bag`.

    r2m-train-captioner --config=bag:test \\
        --captions=workspace/records/captions/shapes --workdir=workspace/runs/bag
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import captioner_sections as sections
from configs import common


def get_config(arg: str | None = None) -> ConfigDict:
    """The settings; `arg` is one of `captioner_sections.SIZES`, which differ in their steps."""
    common.check_argument(arg, *sections.SIZES)
    config = ConfigDict(
        {
            "name": "bag",
            "seed": 0,
            "data": sections.data(captions_per_image=5),
            "image": sections.image(),
            "model": {"captioner": "bag", "units": 64},
            "loss": sections.loss(reduction="words"),
            "reward": sections.reward(),
            "decoding": common.decoding(),
            "training": common.training(),
            "stages": {
                "cross_entropy": common.stage(
                    learning_rate=2e-3, batch_size=10, steps="8 epochs", evaluate_every="1 epochs"
                ),
                "self_critical": common.stage(
                    learning_rate=5e-5, batch_size=10, steps="2 epochs", evaluate_every="1 epochs"
                ),
            },
        }
    )
    if arg == "test":
        config.stages.cross_entropy.update(batch_size=5, steps=4, evaluate_every=2)
        config.stages.self_critical.update(batch_size=5, steps=2, evaluate_every=1)
    return config
