"""Sections shared by the configurations of visual-semantic embeddings, with their defaults."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from configs import captioner_sections, common

# Arguments that every preset accepts: the embedded data set on a laptop, 6,000 photographs on two
# CPU cores, a few seconds of training.
SIZES = ("shapes", "flickr8k", "test")


def data(*, batching: str, start_marker: bool, word_noise: float = 0.0) -> dict[str, Any]:
    """Returns the records and options for reading them: `config.data`.

    Args:
        batching: see below.
        start_marker: see below.
        word_noise: see below.
    """
    return {
        "captions": "",
        # `shuffled`, or `same_length`: all captions of a batch have the same number of words.
        "batching": batching,
        # Above 1: number of captions of each image in a batch. An epoch then contains every image
        # once, and an image is encoded once for all of its captions, which saves most of the time
        # with grids, regions and pixels. Requires loss.mask_same_image.
        "captions_per_image": 1,
        # Maximum number of words of a sentence, end marker included; longer ones are truncated.
        "max_length": 100,
        # Whether sentences begin with the start marker; all end with the end marker.
        "start_marker": start_marker,
        # Fraction of the words that training masks (50 %), replaces (10 %) or removes (40 %).
        "word_noise": word_noise,
        # Rows of images if records contain both: grid or regions. None: regions.
        "rows": common.none_of(str),
        # Whether to divide every row by its L2 norm, and to append the corners and the area of
        # its box.
        "unit_norm": False,
        "use_box": False,
        # Whether training draws the stored views of an image (--views of r2m-build-captions).
        "views": True,
    }


def image() -> dict[str, Any]:
    """Returns the source of image features: `config.image`, with the fields of captioners."""
    return {
        **captioner_sections.image(),
        # Number of initial epochs in which the image network of a model of pixels is frozen.
        "frozen_epochs": 1,
    }


def loss(
    *,
    name: str = "hinges",
    margin: float = 0.2,
    hinges: str = "sum",
    sum_epochs: int = 0,
    temperature: float = 0.05,
) -> dict[str, Any]:
    """Returns the ranking loss, a sum over the batch: `config.loss`.

    Args:
        name: see below.
        margin: see below.
        hinges: see below.
        sum_epochs: see below.
        temperature: see below.
    """
    return {
        # `hinges` of pairs against their negatives, or `softmax` over a pair and all its negatives.
        "name": name,
        # Margin by which the similarity of a pair must exceed that of its negatives.
        "margin": margin,
        # `sum` of the hinges of all negatives in the batch, or `max`: only the hardest negative of
        # each image and each sentence.
        "hinges": hinges,
        # Epochs with `sum` before `max`: with hardest negatives alone, the embedding may collapse.
        "sum_epochs": sum_epochs,
        # Divisor of similarities in the softmax.
        "temperature": temperature,
        # Whether other sentences of an image are excluded from its negatives.
        "mask_same_image": False,
    }


def teacher() -> dict[str, Any]:
    """Returns trained embeddings whose similarities are learned (distillation): `config.teacher`.

    They may read other features than the trained embedding, even those of a larger network.
    """
    return {
        # Their run folders, separated by commas; the mean of their similarities is learned.
        "runs": "",
        # Records with the features that they read, of the same images and captions. Default: those
        # of the training.
        "records": "",
        # Share of the cross entropy with the teacher's probabilities in the loss, 0..1.
        "weight": 0.5,
        # Divisor of similarities in these probabilities.
        "temperature": 0.05,
    }


def preset(
    name: str,
    *,
    data: dict[str, Any],
    loss: dict[str, Any],
    stage: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    schedule: dict[str, Any],
) -> ConfigDict:
    """Returns the published settings of a preset.

    Args:
        name: name of the preset.
        data: result of `data`.
        loss: result of `loss`.
        stage: result of `common.stage`, without the batch size, which all presets share.
        model: settings that differ from those of VSE++, see below.
        training: settings that differ from `common.training`, other than `clip_global_norm`.
        schedule: settings that differ from a constant learning rate.
    """
    config = ConfigDict(
        {
            "name": name,
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": data,
            "image": image(),
            "model": {
                # Size of the vectors of images and sentences.
                "size": 1024,
                "word_size": 300,
                # `gru`, or `bow`: a bag of words, with word_size = size and mean or max pooling.
                "sentence_encoder": "gru",
                "layers": 1,
                "bidirectional": False,
                # Pooling of the outputs of all words: last, mean, max or gpo (generalized).
                "sentence_pooling": "last",
                # Initial weights: torch or kiros.
                "gru_weights": "torch",
                "word_dropout": 0.0,
                # `global`: the vector of an image; `regions`: its regions or the cells of its grid.
                "image_input": "global",
                # `linear`, or `mlp`: with a residual multilayer perceptron.
                "image_encoder": "linear",
                # Pooling of regions or cells: mean, max or gpo.
                "image_pooling": "mean",
                "image_dropout": 0.0,
                # Probability that training removes a region or cell, and whether 80 % of the images
                # draw a separate rate, at most this one.
                "row_dropout": 0.0,
                "row_dropout_varies": False,
                # Whether features are divided by their L2 norm, and when image vectors are
                # normalized: always, in_use (not in training) or never.
                "normalize_features": True,
                "normalize_images": "always",
                # Whether vectors are replaced by their absolute values.
                "absolute": False,
                # cosine or order.
                "similarity": "cosine",
            },
            "loss": loss,
            "teacher": teacher(),
            "training": common.training(),
            "stages": {"ranking": common.stage(batch_size=128, **stage)},
        }
    )
    config.model.update(model)
    config.training.update(clip_global_norm=2.0, **training)
    config.training.schedule.update(schedule)
    return config


def train_at_size(config: ConfigDict, size: str) -> None:
    """Sets model size and training at a size, the same for all presets.

    Args:
        config: configuration of a preset; changed in place.
        size: a key of `SIZES`.
    """
    stage, model = config.stages.ranking, config.model
    # With small data, a batch contains several captions of an image.
    config.loss.mask_same_image = True
    units = {"shapes": 64, "flickr8k": 512, "test": 8}[size]
    words = {"shapes": 64, "flickr8k": 300, "test": 8}[size]
    model.update(size=units, word_size=units if model.sentence_encoder == "bow" else words)
    if size == "shapes":
        stage.update(
            learning_rate=2e-3, batch_size=32, steps="10 epochs", evaluate_every="2 epochs"
        )
    elif size == "test":
        stage.update(learning_rate=2e-3, batch_size=5, steps=4, evaluate_every=2)
    else:
        # Averaged weights and dropout reduce overfitting.
        model.update(word_dropout=0.3, image_dropout=0.3)
        config.training.ema_decay = 0.998
        stage.update(
            learning_rate=1e-3, batch_size=128, steps="10 epochs", evaluate_every="1 epochs"
        )
        if config.loss.sum_epochs:
            # With few images, the embedding collapses early with hardest negatives alone.
            config.loss.sum_epochs = 4
    config.training.schedule = ConfigDict(common.schedule())
    if size == "flickr8k":
        config.training.schedule.update(name="cosine", warm_up=200, final_fraction=0.02)
