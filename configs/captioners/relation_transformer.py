"""Object relation transformer: regions attend by their geometry (Herdade et al. 2019).

    r2m-train-captioner --config=relation_transformer:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/relation

The records have regions with boxes (`--features`, or `--backbone --regions=DETECTIONS`) or a grid
(`--backbone --store_grid`), whose cells have known boxes; r2m-build-captions makes them.
`r2m-recipe flickr8k-efficientnet DATA WORKSPACE relation_transformer` builds the records, trains
and scores the captions.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import captioner_sections as sections
from configs import common

# Model settings of each size: few layers and much dropout for few captions.
_SMALL: dict[str, float] = {"encoder_layers": 3, "decoder_layers": 3}
_FLICKR8K = {**_SMALL, "units": 256, "heads": 4, "inner_units": 1024, "dropout": 0.2}
_MODEL: dict[str, dict[str, float]] = {
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
            "name": "relation_transformer",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": sections.data(captions_per_image=5),
            "image": sections.image(),
            "model": {
                "captioner": "relation_transformer",
                "units": 512,
                "heads": 8,
                "inner_units": 2048,
                "encoder_layers": 6,
                "decoder_layers": 6,
                # Whether the geometry of a pair of regions is 64 sines and cosines, or 4 numbers.
                "box_trigonometric_embedding": True,
                # Whether the encoder's attention adds its input before its last map, as in the
                # published self-critical model.
                "legacy_extra_skip": False,
                # Dropout of encoder and decoder, and of the regions before them.
                "dropout": 0.1,
                "input_dropout": 0.5,
                # layer, rms, or unbiased as in the published model.
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
        # Value of 5e-4 in epoch 30 after a factor of 0.8 every three epochs.
        config.stages.self_critical.schedule.update(
            name="step", decay_start=0, decay_every="3 epochs", decay_rate=0.8
        )
    else:
        config.model.update(_MODEL[arg])
        sections.train_transformer_at_size(config, arg)
    return config
