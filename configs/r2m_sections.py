"""Sections shared by the configurations of R2M, with their defaults."""

from __future__ import annotations

from typing import Any

from configs import captioner_sections, common


def data(*, max_concepts: int, max_repeats: int) -> dict[str, Any]:
    """Returns the records and the settings of the encoder's concepts: `config.data`.

    Args:
        max_concepts: maximum number of concepts of an image that the encoder receives, the
            best-scored ones.
        max_repeats: maximum number of repetitions of a concept, if several such objects were
            detected.
    """
    return {
        "corpora": "",
        "images": "",
        # Captions of the images, only for the stage `reward`.
        "captions": "",
        "max_concepts": max_concepts,
        "max_repeats": max_repeats,
        # Factor of the noise in the concepts of training sentences: missed and false concepts, at
        # the rates of the detector, which its scores indicate. 0: none.
        "concept_noise": 0.0,
        # Probability that the decoder does not see a previous word of a training sentence, so that
        # it relies on the concepts (word dropout, Bowman et al. 2016, arXiv 1511.06349).
        "word_dropout": 0.0,
        # Probability that the decoder reads its own prediction of a previous word of a training
        # sentence, as it does when it captions (scheduled sampling, Bengio et al. 2015, arXiv
        # 1506.03099). Takes one more pass.
        "scheduled_sampling": 0.0,
        # Draws training sentences so that their concepts are as frequent as those of the images, or
        # between the two frequencies. 0: each sentence once per epoch, 1: as in the images.
        "match_images": 0.0,
    }


def reward() -> dict[str, Any]:
    """Rewards of captions of images that people captioned, in the stage `reward`: `config.reward`.

    The longest caption is `stages.reward.max_length`.
    """
    settings = captioner_sections.reward(reduction="captions")
    for name in ("max_length", "cross_entropy_weight"):
        del settings[name]
    return settings


def image() -> dict[str, Any]:
    """Returns the source of image features: `config.image`."""
    return {
        # `features`: vectors stored in the records. `pixels`: crops through a frozen CNN.
        "source": "features",
        "resize": 346,
        "crop": 299,
        # EfficientNetLite0, 1, 2 or any keras.applications name; weights are `imagenet`, a file
        # or `none`.
        "backbone": "InceptionResNetV2",
        "weights": "imagenet",
        # Width multiplier of the MobileNets; 0 for all others.
        "alpha": 0.0,
        # Run folder of a visual-semantic embedding whose vectors replace the stored ones that it
        # reads. It was trained on pairs of images and captions, which R2M does not need.
        "embedding": "",
    }


def stage(
    *, learning_rate: float, batch_size: int, steps: int, evaluate_every: int, max_length: int
) -> dict[str, Any]:
    """Returns the settings of one stage of training; see `common.stage`.

    Args:
        learning_rate: initial learning rate of the schedule.
        batch_size: examples per step, over all replicas.
        steps: number of steps of the optimizer.
        evaluate_every: steps between evaluations, and between checkpoints.
        max_length: maximum number of words of a sentence, end marker included; longer ones are
            truncated.
    """
    own = common.stage(
        learning_rate=learning_rate,
        batch_size=batch_size,
        steps=steps,
        evaluate_every=evaluate_every,
    )
    return {**own, "max_length": max_length}
