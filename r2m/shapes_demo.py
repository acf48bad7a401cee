"""Demo of all steps on the embedded data set, up to a gallery of captions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from absl import logging

from configs.r2m import shapes
from r2m.engine.train import TrainingSummary
from r2m.evaluation.output_files import write_whole
from r2m.evaluation.report import report_markdown
from r2m.inference.evaluate_run import evaluate_run
from r2m.tasks.unsupervised_captioning.experiment import run_curriculum
from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.formats.text.reading import parse_source
from tfrecords.pictures.feature_options import BackboneOptions
from tfrecords.shapes.dataset import ShapesOptions, make_shapes

_COLUMNS = ("loss", "bleu_4", "rouge_l", "cider")


def run_demo(
    home: Path, config: Any = None, options: ShapesOptions | None = None
) -> dict[str, Any]:
    """Builds records, trains and evaluates; reuses finished results of earlier calls.

    Args:
        home: working directory; results are written to `<home>/demo`.
        config: configuration of the experiment; `configs/r2m/shapes.py` by default.
        options: sizes of the data set.

    Returns:
        The contents of `<home>/demo/summary.json`.
    """
    config = config if config is not None else shapes.get_config()
    raw = home / "raw" / "shapes"
    make_shapes(raw, options or ShapesOptions())
    config.data.corpora = str(home / "records" / "corpora" / "shapes")
    config.data.images = str(home / "records" / "images" / "shapes")
    _build_records(raw, Path(config.data.corpora), Path(config.data.images))
    runs = home / "runs" / "shapes"
    summaries = run_curriculum(config, runs)
    last = list(summaries)[-1]
    report = evaluate_run(runs / last, config.data.images, "val", home / "demo", gallery=24)
    summary = {"stages": [_row(name, stage) for name, stage in summaries.items()]}
    write_whole(home / "demo" / "summary.json", json.dumps(summary, indent=1) + "\n")
    logging.info("final evaluation:\n%s", report_markdown(report))
    print(_table(summary["stages"]))
    print(
        f"\nsummary:  {home / 'demo' / 'summary.json'}"
        f"\ngallery:  {home / 'demo' / 'val' / 'index.html'}"
        f"\npicture:  {home / 'demo' / 'val' / 'gallery.png'}"
        f"\ncurves:   tensorboard --logdir {runs}"
    )
    return summary


def _build_records(raw: Path, corpora: Path, images: Path) -> None:
    detections, tags = raw / "detections.json", raw / "tags.json"
    build_corpora(
        CorporaOptions(
            folder=corpora,
            name="shapes",
            sources=[parse_source(str(raw / "corpus.txt"))],
            label_maps=[detections, tags],
            min_count=2,
            validation_fraction=0.05,
        )
    )
    build_images(
        ImagesOptions(
            folder=images,
            name="shapes",
            images=raw / "images",
            detections=(DetectionSource(path=detections), DetectionSource(path=tags)),
            corpora=corpora,
            splits={split: raw / f"{split}.txt" for split in ("train", "val", "test")},
            references=raw / "captions.json",
            # Random weights need no download, and distinguish shapes and colors well enough.
            backbone=BackboneOptions(name="DenseNet121", weights="none", image_size=96),
        )
    )


def _row(name: str, summary: TrainingSummary) -> dict[str, Any]:
    metrics = summary.best_metrics or summary.last_metrics
    return {"stage": name, **{column: metrics[column] for column in _COLUMNS}}


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'stage':<10}{'loss':>10}{'BLEU-4':>10}{'ROUGE-L':>10}{'CIDEr':>10}"]
    for row in rows:
        scores = "".join(f"{100 * row[column]:>10.1f}" for column in _COLUMNS[1:])
        lines.append(f"{row['stage']:<10}{row['loss']:>10.4f}{scores}")
    return "\n".join([*lines, "Validation: the stage's own loss; scores x 100, beam 3."])
