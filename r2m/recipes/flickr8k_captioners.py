"""Supervised captioners on Flickr8k, from raw data to scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2m.recipes.flickr8k_commands import build_captions, evaluate, train
from r2m.recipes.steps import Command, Recipe

_MODELS = ("fc", "rnn", "lstm", "attention_lstm", "att2in2", "updown")


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    network = data / "models/mobilenet_v1_0.75_224_notop.weights.h5"
    records = workspace / "records/captions/flickr8k"
    runs = workspace / "runs"
    features = runs / "flickr8k_updown"
    pixels = runs / "flickr8k_pixels_updown"

    yield build_captions(
        data, records, "--backbone=MobileNet", "--alpha=0.75", f"--weights={network}",
        "--store_grid",
    )  # fmt: skip
    if run != "ensemble":
        yield train(run, "flickr8k", records, runs / f"flickr8k_{run}")
        yield evaluate(records, f"--run={runs}/flickr8k_{run}/cross_entropy")
        return
    yield train("updown", "flickr8k", records, features)
    yield train(
        "updown", "flickr8k_pixels", records, pixels, f"--config.image.weights={network}",
        f"--init_from={features}/cross_entropy",
    )  # fmt: skip
    yield evaluate(records, f"--run={pixels}/cross_entropy")
    both = (f"--run={pixels}/cross_entropy", f"--run={features}/cross_entropy")
    yield evaluate(records, *both, f"--output={runs}/flickr8k_ensemble")
    yield evaluate(
        records, *both, "--neighbors=60", "--beam_size=20", f"--output={runs}/flickr8k_consensus"
    )


RECIPE = Recipe(
    summary="Supervised captioners on Flickr8k.",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt) and models/ "
    "(mobilenet_v1_0.75_224_notop.weights.h5)",
    runs={
        **{model: f"{model} on stored features of MobileNet" for model in _MODELS},
        "ensemble": "updown, then updown with fine-tuned last blocks of MobileNet, and both "
        "together, with and without the consensus of similar photographs",
    },
    commands=_commands,
)
