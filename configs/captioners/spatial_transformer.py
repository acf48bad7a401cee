"""Spatial transformer: regions with positions on a grid, X-linear attention to them.

    r2m-train-captioner --config=spatial_transformer:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/spatial

The records have regions with boxes (`--features`, or `--backbone --regions=DETECTIONS`) or a grid
(`--backbone --store_grid`), whose cells have known boxes; r2m-build-captions makes them. The
reference code is sidharth5n/Spatial-Image-Captioning (`spatial_pe`), without published results.
`r2m-recipe flickr8k-efficientnet DATA WORKSPACE spatial_transformer` builds the records, trains
and scores the captions.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import captioner_sections as sections
from configs import common

# Model settings of each size: few layers and much dropout for few captions.
_SMALL: dict[str, Any] = {"encoder_layers": 3, "decoder_layers": 3}
_FLICKR8K = {
    **_SMALL, "units": 256, "heads": 4, "inner_units": 1024, "dropout": 0.2,
    # X-linear attention loses 6 to 7 points of CIDEr here, see RESULTS.md.
    "cross_attention": "dot_product",
}  # fmt: skip
_MODEL: dict[str, dict[str, Any]] = {
    "shapes": {**_SMALL, "units": 128, "heads": 4, "inner_units": 256},
    "flickr8k": _FLICKR8K,
    "flickr8k_pixels": _FLICKR8K,
    "test": {
        "encoder_layers": 1, "decoder_layers": 1, "units": 16, "heads": 2, "inner_units": 32,
    },
}  # fmt: skip


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns the published settings, or a smaller size.

    Args:
        arg: None for the published settings, or one of `captioner_sections.SIZES`.

    Raises:
        ValueError: an unknown argument.
    """
    common.check_argument(arg, *sections.SIZES)
    config = ConfigDict(
        {
            "name": "spatial_transformer",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": sections.data(captions_per_image=5),
            "image": sections.image(),
            "model": {
                "captioner": "spatial_transformer",
                "units": 512,
                "heads": 8,
                "inner_units": 2048,
                "encoder_layers": 6,
                "decoder_layers": 6,
                # Positions of regions: gxg, g2, box-coord, sinusoid or none; on a grid of
                # `grid_size` cells per side.
                "position": "gxg",
                "grid_size": 12,
                # Parts of a box in the cells of the grid: `share` of the box, or `coverage` of the
                # cell. The published formula is unknown.
                "area_norm": "share",
                # Attention of words to regions: xlinear or dot_product.
                "cross_attention": "xlinear",
                # Dropout of encoder and decoder, and of the regions before them; the published code
                # has 0.5 for both.
                "dropout": 0.1,
                "input_dropout": 0.5,
                # layer, rms or unbiased.
                "norm": "layer",
                "activation": "relu",
                # Whether the softmax weights are the word embedding.
                "tie_embeddings": False,
            },
            "loss": sections.loss(reduction="words"),
            "reward": sections.reward(reduction="words"),
            "decoding": common.decoding(),
            "training": common.training(),
            "stages": {
                "cross_entropy": common.stage(
                    # Only for the sizes: the published schedule has none.
                    learning_rate=5e-4,
                    batch_size=15,
                    steps="30 epochs",
                    evaluate_every="1 epochs",
                ),
                "self_critical": sections.self_critical(
                    learning_rate=5.37e-5,
                    batch_size=10,
                    steps="30 epochs",
                    evaluate_every="1 epochs",
                ),
            },
        }
    )
    # Every entry of the gradient is clipped.
    config.training.update(optimizer="adam", clip_global_norm=None, clip_value=0.1)
    if arg is None:
        config.training.optimizer_settings.update(beta_1=0.9, beta_2=0.98, epsilon=1e-9)
        config.training.schedule.update(name="noam", warm_up=10_000, factor=1.0, model_size=512)
        # Learning rate of the relation transformer; the published command keeps 1e-3 to the end, 20
        # times as much.
        config.stages.self_critical.schedule.update(
            name="step", decay_start=0, decay_every="3 epochs", decay_rate=0.8
        )
    else:
        config.model.update(_MODEL[arg])
        sections.train_transformer_at_size(config, arg)
    return config
