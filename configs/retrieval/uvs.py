"""Images and sentences in one space, by all hinges of a batch (Kiros et al. 2014).

    r2m-train-retrieval --config=uvs:flickr8k \\
        --captions=workspace/records/captions/flickr8k --workdir=workspace/runs/uvs

Vectors of images are divided by their norms in use, but not in training, as in the released code.
Published: VGG-19's fc7 features of unit norm, and words as they stand between white space:
`r2m-build-captions --vocabulary_rule=kiros --captions=kiros:FOLDER`.
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
            "name": "uvs",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": sections.data(batching="same_length", start_marker=False),
            "image": sections.image(),
            "model": {
                # Size of the vectors of images and sentences.
                "size": 1024,
                "word_size": 300,
                # `gru`, or `bow`: a bag of words, with word_size = size and mean or max pooling.
                "sentence_encoder": "gru",
                "layers": 1,
                "bidirectional": False,
                # Of the outputs for all words: last, mean, max or gpo (generalized pooling).
                "sentence_pooling": "last",
                # Initial weights: torch or kiros.
                "gru_weights": "kiros",
                "word_dropout": 0.0,
                # `global`: the vector of an image; `regions`: its regions or the cells of its grid.
                "image_input": "global",
                # `linear`, or `mlp`: with a residual multilayer perceptron.
                "image_encoder": "linear",
                # Of regions or cells: mean, max or gpo.
                "image_pooling": "mean",
                "image_dropout": 0.0,
                # Probability that training removes a region or cell, and whether 80 % of the images
                # have a rate of their own, up to this one.
                "row_dropout": 0.0,
                "row_dropout_varies": False,
                # Whether features are divided by their L2 norm, and when vectors of images are:
                # always, in_use (not in training) or never.
                "normalize_features": True,
                "normalize_images": "in_use",
                # Whether vectors are replaced by their absolute values.
                "absolute": False,
                # cosine or order.
                "similarity": "cosine",
            },
            "loss": sections.loss(margin=0.2, hinges="sum"),
            "training": common.training(),
            "stages": {
                "ranking": common.stage(
                    learning_rate=2e-4,
                    batch_size=128,
                    steps="15 epochs",
                    evaluate_every=100,
                ),
            },
        }
    )
    config.training.update(optimizer="kiros_adam", clip_global_norm=2.0)
    if arg is not None:
        # Its first steps are several times the learning rate.
        config.training.optimizer = "adam"
        sections.train_at_size(config, arg)
    return config
