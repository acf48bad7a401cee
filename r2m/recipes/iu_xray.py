"""R2M on reports of chest X-rays: sentences or reports from findings, without pictures and pairs.

The findings of a study, its entries in the column `Problems`, take the place of detected objects.
Training reads training reports only; the reports of the validation studies are their references.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r2m.recipes.steps import Command, Recipe

# Run -> the training text, and words of the longest sentence.
_TEXTS = {"sentences": ("train_reports.json", 30), "reports": ("train_reports.csv", 60)}
# Reports are longer and fewer than sentences.
_OVERRIDES = {
    "sentences": ("--config.stages.xe.steps=300", "--config.stages.xe_rec.steps=200"),
    "reports": (
        "--config.stages.xe.steps=400", "--config.stages.xe_rec.steps=200",
        "--config.stages.xe.batch_size=64", "--config.stages.xe_rec.batch_size=64",
        "--config.decoding.length_normalization=0.7",
    ),
}  # fmt: skip


def _commands(data: Path, workspace: Path, run: str) -> Iterator[Command]:
    tables = workspace / "raw/iu_xray_tables"
    corpora = workspace / f"records/corpora/iu_xray_{run}"
    images = workspace / f"records/images/iu_xray_{run}"
    workdir = workspace / f"runs/iu_xray_{run}"
    text, longest = _TEXTS[run]

    yield ["python", "-m", "r2m.recipes.iu_xray_tables", f"{data}/iu_xray", f"{tables}"]
    yield [
        # Reports repeat sentences, and their frequencies are learned.
        "r2m-build-corpora", f"--source={tables / text}", f"--label_map={tables}/labels.csv",
        f"--synonyms={tables}/classes.tsv", f"--synonyms={tables}/words.tsv", "--nodeduplicate",
        "--min_words=3", "--min_count=3", "--validation_fraction=0.05", "--workers=2",
        f"--output={corpora}",
    ]  # fmt: skip
    yield [
        "r2m-build-images", f"--detections={tables}/labels.csv", f"--corpora={corpora}",
        "--min_concept_count=5", "--max_concepts=5",
        *[f"--split={split}={tables}/{split}.txt" for split in ("train", "val", "test")],
        f"--references={tables}/references.csv", "--workers=2", f"--output={images}",
    ]  # fmt: skip
    for stage in ("xe", "xe_rec"):
        yield [
            f"r2m-train-{stage.replace('_', '-')}", "--config=flickr8k", f"--corpora={corpora}",
            f"--images={images}", "--config.data.max_concepts=5", *_OVERRIDES[run],
            *[f"--config.stages.{name}.max_length={longest}" for name in ("xe", "xe_rec")],
            f"--config.decoding.max_length={longest}", f"--workdir={workdir}",
        ]  # fmt: skip
        yield [
            "r2m-evaluate", f"--run={workdir / stage}", f"--records={images}", "--split=val",
            "--gallery=12", "--gallery_seed=1",
        ]  # fmt: skip


RECIPE = Recipe(
    summary="R2M on findings and reports of IU X-ray, without pictures and pairs; stages 1 and 2.",
    data="iu_xray/ (annotation.json of R2Gen, indiana_reports.csv)",
    runs={
        "sentences": "learns single sentences of the reports",
        "reports": "learns whole reports",
    },
    commands=_commands,
)
