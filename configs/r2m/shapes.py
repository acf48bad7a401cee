"""The embedded data set: a small network that a laptop trains in minutes.

    make demo

or, on records of your own making, r2m-train-curriculum --config=shapes
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs.r2m import base


def get_config(arg: str | None = None) -> ConfigDict:
    """A quarter of the published size, trained with larger steps.

    Args:
        arg: `test` cuts the training to a few seconds: enough to see that everything runs.

    Raises:
        ValueError: another argument.
    """
    common.check_argument(arg, "test")
    config = base.get_config()
    config.name = "shapes"
    config.model.units = 128
    # A quarter of the sentences speak of two of a kind.
    config.data.max_repeats = 2
    sizes = {"xe": (600, 150), "xe_rec": (300, 100), "tri": (50, 25), "tri_rec": (100, 50)}
    for name, (steps, every) in sizes.items():
        stage = config.stages[name]
        stage.batch_size, stage.steps, stage.evaluate_every = 64, steps, every
        stage.max_length = 30
    config.stages.xe.learning_rate = 2e-3
    config.stages.xe_rec.learning_rate = 5e-4
    config.training.log_every = 25
    if arg == "test":
        config.model.units = 32
        for stage in config.stages.values():
            stage.steps, stage.evaluate_every = 4, 2
    return config
