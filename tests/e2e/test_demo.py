"""`make demo`, with four steps a stage."""

from __future__ import annotations

import json

from configs.r2m import shapes
from r2m.demo import run_demo
from tfrecords.shapes.dataset import ShapesOptions

SMALL = ShapesOptions(train_images=24, val_images=8, test_images=4, sentences=200, image_size=48)


def test_the_demo_reaches_its_summary(tmp_path):
    summary = run_demo(tmp_path, shapes.get_config("test"), SMALL)
    assert summary == json.loads((tmp_path / "demo/summary.json").read_text())
    assert [row["stage"] for row in summary["stages"]] == ["xe", "xe_rec", "tri", "tri_rec"]
    assert all({"loss", "bleu_4", "rouge_l", "cider"} <= set(row) for row in summary["stages"])
    assert (tmp_path / "demo/val/gallery.png").is_file()
