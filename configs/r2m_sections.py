"""Sections that configurations of R2M share, with their defaults."""

from __future__ import annotations

from typing import Any

from configs import captioner_sections, common


def data(*, max_concepts: int, max_repeats: int) -> dict[str, Any]:
    """Records, and how concepts are shown to the encoder: `config.data`.

    Args:
        max_concepts: number of concepts of an image that the encoder is shown, the best-scored
            ones.
        max_repeats: how often one concept may be repeated where several such objects were detected.
    """
    return {
        "corpora": "",
        "images": "",
        # Captions of the images, of the stage `reward` only.
        "captions": "",
        "max_concepts": max_concepts,
        "max_repeats": max_repeats,
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
    """Source of image features: `config.image`."""
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
        # Run folder of a visual-semantic embedding whose vectors take the place of the stored ones
        # that it reads. It learned from pairs of images and captions, which R2M does without.
        "embedding": "",
    }


def stage(
    *, learning_rate: float, batch_size: int, steps: int, evaluate_every: int, max_length: int
) -> dict[str, Any]:
    """Settings of one stage of training; see `common.stage`.

    Args:
        learning_rate: initial learning rate of the schedule.
        batch_size: examples per step, over all replicas.
        steps: number of steps of the optimizer.
        evaluate_every: steps between evaluations, and between checkpoints.
        max_length: words of a sentence, the end marker included; longer ones are cut.
    """
    own = common.stage(
        learning_rate=learning_rate,
        batch_size=batch_size,
        steps=steps,
        evaluate_every=evaluate_every,
    )
    return {**own, "max_length": max_length}
