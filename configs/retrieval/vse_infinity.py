"""VSE-infinity: generalized pooling of regions or grid cells, and of words (Chen et al. 2021).

    r2m-train-retrieval --config=vse_infinity:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/vse_infinity

The records must contain regions (`--features`, or `--regions` with `--backbone`) or a grid
(`--store_grid`). For a grid, the published setting is `--config.model.row_dropout_varies=True`. To
train the image network as well, as published: `--config.image.source=pixels
--config.image.trained_from=LAYER --config.image.learning_rate_factor=0.01`.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import common
from configs import retrieval_sections as sections


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns the published settings, or a smaller size.

    Args:
        arg: None for the published settings, or one of `retrieval_sections.SIZES`.

    Raises:
        ValueError: an unknown argument.
    """
    common.check_argument(arg, *sections.SIZES)
    config = sections.preset(
        "vse_infinity",
        data=sections.data(batching="shuffled", start_marker=True, word_noise=0.2),
        loss=sections.loss(margin=0.2, hinges="max", sum_epochs=1),
        stage={"learning_rate": 5e-4, "steps": "25 epochs", "evaluate_every": "1 epochs"},
        model={
            "bidirectional": True,
            "sentence_pooling": "gpo",
            "image_input": "regions",
            "image_encoder": "mlp",
            "image_pooling": "gpo",
            "row_dropout": 0.2,
            "normalize_features": False,
        },
        training={"optimizer": "adamw", "weight_decay": 1e-4},
        schedule={"name": "step", "decay_every": "60%", "decay_rate": 0.1},
    )
    if arg is not None:
        sections.train_at_size(config, arg)
    return config
