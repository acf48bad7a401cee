"""Stages, evaluation and pages with `images` records that have neither pixels nor features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.images import examples, open_images
from r2m.evaluation.pages.records_page import write_records_page
from r2m.inference.evaluate_run import evaluate_run
from r2m.tasks.unsupervised_captioning import experiment
from tfrecords.core.errors import InputError


@pytest.fixture
def without_files(build: Any, config: Any, small_network: Any, tmp_path: Path) -> Path:
    """Records of the same images, which `config` reads."""
    folder: Path = build(tmp_path / "records", images=None, backbone=None)
    config.data.images = str(folder)
    config.model.update(small_network)
    return folder


def test_records_have_the_same_concepts(without_files: Path, images: Path) -> None:
    mine, other = (
        {
            row["image_id"]: (row["concepts"].tolist(), row["texts"])
            for row in examples(open_images(str(folder)), "val")
        }
        for folder in (without_files, images)
    )
    assert mine == other
    assert all(row["image"] == b"" for row in examples(open_images(str(without_files)), "val"))


def test_two_stages_are_trained_and_evaluated(
    without_files: Path, config: Any, tmp_path: Path
) -> None:
    for stage in ("xe", "xe_rec"):
        summary = experiment.run_stage(stage, config, tmp_path)
        assert summary.step == 4 and "cider" in summary.best_metrics
    out = tmp_path / "out"
    evaluate_run(tmp_path / "xe_rec", without_files, "val", out, metrics=("cider",))
    assert len(json.loads((out / "val.predictions.json").read_text())) == 8
    assert (out / "val" / "index.html").stat().st_size
    assert not list((out / "val").rglob("*.jpg"))
    shown = (out / "val" / "index.files" / "items.js").read_text()
    assert shown.count('"pictured":false') == 8
    with pytest.raises(
        InputError,
        match=r"stage tri is trained on images: .*records have no global_feature; build them with "
        r"--images=FOLDER and --backbone\. Stages xe and xe_rec are trained on sentences alone",
    ):
        experiment.run_stage("tri", config, tmp_path)
    config.image.source = "pixels"
    config.image.update({"backbone": "VGG16", "weights": "none", "resize": 40, "crop": 32})
    with pytest.raises(
        InputError,
        match="contain no pictures, which image.source=pixels needs; build them with "
        r"--images=FOLDER and --store_pixels\. Stages",
    ):
        experiment.run_stage("tri", config, tmp_path)


def test_pages_require_the_files(without_files: Path, raw: Path, tmp_path: Path) -> None:
    records = open_images(str(without_files))
    options: dict[str, Any] = {"split": "val", "pictures": 3}
    with pytest.raises(InputError, match=r"contains no pictures: give the folder .* --images"):
        write_records_page(records, tmp_path / "page", images=None, **options)
    page = write_records_page(records, tmp_path / "page", images=raw / "images", **options)
    assert len(list(page.parent.rglob("*.jpg"))) == 3
