"""Up-down: one LSTM for attention, a second for words (Anderson et al. 2018).

    r2m-train-captioner --config=updown:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/updown

The records have a grid (`--backbone --store_grid`) or regions (`--features`), which
r2m-build-captions makes.
`r2m-recipe flickr8k-captioners DATA WORKSPACE updown` builds the records, trains and scores the
captions; `r2m-recipe flickr8k-efficientnet ...` does so with a better backbone.
On features of MobileNet it reaches CIDEr 0.406, BLEU-4 0.181 and METEOR 0.180 on dev
(RESULTS.md), after 22 minutes of training on two slow cores.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import captioner_sections as sections
from configs import common

# Model settings of each size.
_MODEL: dict[str, dict[str, float]] = {
    "shapes": {"units": 128, "word_size": 128, "attention_units": 128},
    "flickr8k": {"units": 256, "word_size": 256, "attention_units": 256, "dropout": 0.3},
    "flickr8k_pixels": {"units": 256, "word_size": 256, "attention_units": 256, "dropout": 0.5},
    "test": {"units": 16, "word_size": 16, "attention_units": 16},
}


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
            "name": "updown",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": sections.data(captions_per_image=5),
            "image": sections.image(),
            "model": {
                "captioner": "updown",
                "units": 1000,
                "word_size": 1000,
                "attention_units": 512,
                "dropout": 0.5,
            },
            "loss": sections.loss(reduction="words"),
            "reward": sections.reward(reduction="words"),
            "decoding": common.decoding(),
            "training": common.training(),
            "stages": {
                "cross_entropy": common.stage(
                    learning_rate=5e-4,
                    batch_size=10,
                    steps="30 epochs",
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
    # Every entry of the gradient is clipped.
    config.training.update(optimizer="adam", clip_global_norm=None, clip_value=0.1)
    if arg is None:
        # 0.8 times the learning rate every three epochs; every five epochs, 0.05 more of the words
        # fed to the captioner are drawn from it.
        config.training.schedule.update(
            name="step", decay_start=0, decay_every="3 epochs", decay_rate=0.8
        )
        config.loss.sampling_start = 0
    else:
        config.model.update(_MODEL[arg])
        sections.train_at_size(config, arg)
    return config
