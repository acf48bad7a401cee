"""VSE-infinity: generalized pooling of regions or cells, and of words (Chen et al. 2021).

    r2m-train-retrieval --config=vse_infinity:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/vse_infinity

The records have regions (`--features`, or `--regions` with `--backbone`) or a grid
(`--store_grid`). With a grid, as published: `--config.model.row_dropout_varies=True`. A network
that is trained along, as published: `--config.image.source=pixels
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
    config = ConfigDict(
        {
            "name": "vse_infinity",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": sections.data(batching="shuffled", start_marker=True, word_noise=0.2),
            "image": sections.image(),
            "model": {
                # Size of the vectors of images and sentences.
                "size": 1024,
                "word_size": 300,
                # `gru`, or `bow`: a bag of words, with word_size = size and mean or max pooling.
                "sentence_encoder": "gru",
                "layers": 1,
                "bidirectional": True,
                # Of the outputs for all words: last, mean, max or gpo (generalized pooling).
                "sentence_pooling": "gpo",
                # Initial weights: torch or kiros.
                "gru_weights": "torch",
                "word_dropout": 0.0,
                # `global`: the vector of an image; `regions`: its regions or the cells of its grid.
                "image_input": "regions",
                # `linear`, or `mlp`: with a residual multilayer perceptron.
                "image_encoder": "mlp",
                # Of regions or cells: mean, max or gpo.
                "image_pooling": "gpo",
                "image_dropout": 0.0,
                # Probability that training removes a region or cell, and whether 80 % of the images
                # have a rate of their own, up to this one.
                "row_dropout": 0.2,
                "row_dropout_varies": False,
                # Whether features are divided by their L2 norm, and when vectors of images are:
                # always, in_use (not in training) or never.
                "normalize_features": False,
                "normalize_images": "always",
                # Whether vectors are replaced by their absolute values.
                "absolute": False,
                # cosine or order.
                "similarity": "cosine",
            },
            "loss": sections.loss(margin=0.2, hinges="max", sum_epochs=1),
            "training": common.training(),
            "stages": {
                "ranking": common.stage(
                    learning_rate=5e-4,
                    batch_size=128,
                    steps="25 epochs",
                    evaluate_every="1 epochs",
                ),
            },
        }
    )
    config.training.update(optimizer="adamw", weight_decay=1e-4, clip_global_norm=2.0)
    config.training.schedule.update(name="step", decay_every="60%", decay_rate=0.1)
    if arg is not None:
        sections.train_at_size(config, arg)
    return config
