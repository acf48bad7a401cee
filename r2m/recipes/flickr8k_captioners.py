"""Supervised captioners on Flickr8k, from raw data to scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2m.recipes.steps import Command, Recipe

_MODELS = ("fc", "rnn", "lstm", "attention_lstm", "att2in2", "updown")


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    network = data / "models/mobilenet_v1_0.75_224_notop.weights.h5"
    records = workspace / "records/captions/flickr8k"
    runs = workspace / "runs"

    def train(model: str, argument: str, *flags: str) -> Command:
        return [
            "r2m-train-captioner", f"--config={model}:{argument}", f"--captions={records}",
            f"--workdir={runs / f'{argument}_{model}'}", *flags,
        ]  # fmt: skip

    def evaluate(*flags: str) -> Command:
        return ["r2m-evaluate", f"--records={records}", "--gallery=12", "--gallery_seed=1", *flags]

    yield [
        "r2m-build-captions", "--name=flickr8k", f"--captions={data}/flickr8k/captions.token.txt",
        f"--split=train={data}/flickr8k/train_images.txt",
        f"--split=val={data}/flickr8k/dev_images.txt",
        f"--images={data}/flickr8k/images", "--backbone=MobileNet", "--alpha=0.75",
        f"--weights={network}", "--store_grid", "--workers=2", f"--output={records}",
    ]  # fmt: skip
    if run != "ensemble":
        yield train(run, "flickr8k")
        yield evaluate(f"--run={runs}/flickr8k_{run}/cross_entropy")
        return
    features = runs / "flickr8k_updown/cross_entropy"
    pixels = runs / "flickr8k_pixels_updown/cross_entropy"
    yield train("updown", "flickr8k")
    yield train(
        "updown", "flickr8k_pixels", f"--config.image.weights={network}", f"--init_from={features}"
    )
    yield evaluate(f"--run={pixels}")
    both = (f"--run={pixels}", f"--run={features}")
    yield evaluate(*both, f"--output={runs}/flickr8k_ensemble")
    yield evaluate(
        *both, "--neighbours=60", "--beam_size=20", f"--output={runs}/flickr8k_consensus"
    )


RECIPE = Recipe(
    summary="Supervised captioners on Flickr8k.",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt) and models/ "
    "(mobilenet_v1_0.75_224_notop.weights.h5)",
    runs={
        **{model: f"{model} on stored features of MobileNet" for model in _MODELS},
        "ensemble": "updown, then updown with the last blocks of MobileNet trained along, and both "
        "together, with and without the consensus of similar photographs",
    },
    commands=_commands,
)
