"""Contrastive embedding by a softmax over the batch: the preset with the best recall on small data.

    r2m-train-retrieval --config=contrastive:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/contrastive

The records must contain one vector per image (`--backbone`, or `--features`). For regions or grid
cells instead: `--config.model.image_input=regions --config.model.image_pooling=gpo`.

The model has the sentence encoder of VSE-infinity and its image encoder for one vector (Chen et al.
2021). The loss is that of van den Oord et al. 2018 (InfoNCE) and Zhang et al. 2020. It does not
collapse, and it needs no first epoch on the sum of all hinges.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs import retrieval_sections as sections


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns the settings for large data, or a smaller size.

    Args:
        arg: None for large data, or one of `retrieval_sections.SIZES`.

    Raises:
        ValueError: an unknown argument.
    """
    common.check_argument(arg, *sections.SIZES)
    config = sections.preset(
        "contrastive",
        data=sections.data(batching="shuffled", start_marker=True),
        loss=sections.loss(name="softmax"),
        stage={"learning_rate": 5e-4, "steps": "25 epochs", "evaluate_every": "1 epochs"},
        model={"bidirectional": True, "sentence_pooling": "gpo", "image_encoder": "mlp"},
        training={"optimizer": "adam"},
        schedule={"name": "cosine", "warm_up": 1000, "final_fraction": 0.02},
    )
    if arg is not None:
        sections.train_at_size(config, arg)
        if arg == "flickr8k":
            config.stages.ranking.learning_rate = 2e-3
    return config
