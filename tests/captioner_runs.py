"""Small captioners of the embedded data set, for several files of tests."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

BACKBONE = {"backbone": "MobileNet", "weights": "none", "alpha": 0.25, "resize": 40, "crop": 32}


def small(records: Path, captioner: str = "att2in2") -> Any:
    config = importlib.import_module(f"configs.captioners.{captioner}").get_config()
    config.data.captions = str(records)
    config.model.update({size: 16 for size in ("units", "word_size") if size in config.model})
    own = config.stages.cross_entropy
    own.batch_size, own.steps, own.evaluate_every = 5, 4, 2
    return config
