"""Real images on a small machine: Flickr8k photographs, COCO captions as text, no pairs.

    r2m-recipe flickr8k-r2m DATA WORKSPACE

builds the records and trains the curriculum with the concepts of a COCO detector alone, then merged
with those of an ImageNet classifier, then the two ablations of the paper. One curriculum of this
configuration is

    r2m-train-curriculum --config=flickr8k --corpora=CORPORA --images=IMAGES \\
        --workdir=workspace/runs/flickr8k

What it reaches, and in what time, is in RESULTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs.r2m import base


def get_config(arg: str | None = None) -> ConfigDict:
    """Half the published model size, and fewer, larger steps: under three epochs of the corpus."""
    config = base.get_config(arg)
    config.name = "flickr8k"
    config.model.units = 256
    config.data.max_concepts = 4
    # "A group of people", "two dogs": the number of boxes tells.
    config.data.max_repeats = 3
    for name, rate, steps, every in (
        ("xe", 1e-3, 600, 200),
        # The smaller rate stands in for a schedule: it settles what stage 1 has learnt.
        ("xe_rec", 2e-4, 400, 100),
        ("tri", 1e-5, 50, 10),
        ("tri_rec", 1e-5, 100, 25),
        ("joint", 1e-3, 1_000, 250),
    ):
        stage = config.stages[name]
        stage.learning_rate, stage.batch_size = rate, 128
        stage.steps, stage.evaluate_every, stage.max_length = steps, every, 20
    config.training.log_every = 50
    return config
