"""Show, attend and tell: an LSTM that attends to the grid before each word (Xu et al. 2015).

    r2m-train-captioner --config=attention_lstm:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/attention_lstm

The records have a grid, which r2m-build-captions makes (`--backbone --store_grid`).
`r2m-recipe flickr8k-captioners DATA WORKSPACE attention_lstm` builds the records, trains and scores
the captions. This captioner reaches CIDEr 0.355, BLEU-4 0.167 and METEOR 0.173 on dev (RESULTS.md),
after 11 minutes of training on two cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import captioner_sections as sections
from configs import common

# Model settings of each size.
_MODEL: dict[str, dict[str, float]] = {
    "shapes": {"units": 128, "word_size": 128},
    "flickr8k": {"units": 256, "word_size": 256, "dropout": 0.3},
    "flickr8k_pixels": {"units": 256, "word_size": 256, "dropout": 0.5},
    "test": {"units": 16, "word_size": 16},
}


def get_config(arg: str | None = None) -> ConfigDict:
    """Returns the settings of the EECS 498 course, or a smaller size.

    The course trains its network too: `image.source=pixels`, `image.trained_from=all`.

    Args:
        arg: None for the course's settings, or one of `captioner_sections.SIZES`.

    Raises:
        ValueError: an unknown argument.
    """
    common.check_argument(arg, *sections.SIZES)
    config = ConfigDict(
        {
            "name": "attention_lstm",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            # Pairs: each image comes with one caption.
            "data": sections.data(captions_per_image=1),
            "image": sections.image(),
            "model": {
                "captioner": "attention_lstm",
                "units": 512,
                "word_size": 256,
                "dropout": 0.0,
            },
            "loss": sections.loss(reduction="captions"),
            "reward": sections.reward(reduction="captions"),
            "decoding": common.decoding(),
            "training": common.training(),
            "stages": {
                "cross_entropy": common.stage(
                    learning_rate=1e-3,
                    batch_size=256,
                    steps="60 epochs",
                    evaluate_every="1 epochs",
                ),
                "self_critical": sections.self_critical(
                    learning_rate=5e-5,
                    batch_size=10,
                    steps="20 epochs",
                    evaluate_every="1 epochs",
                ),
            },
        }
    )
    config.training.update(optimizer="adamw", weight_decay=0.01, clip_global_norm=None)
    if arg is None:
        return config
    # Smaller sizes use images with five captions each.
    config.data.captions_per_image = 5
    config.model.update(_MODEL[arg])
    sections.train_at_size(config, arg)
    return config
