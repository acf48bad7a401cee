"""The flags of `r2m-extract-features`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from forked_processes import run_forked
from PIL import Image

from tfrecords.core.records import open_records

# Several command lines in one process.
DRIVER = """
import json, sys
from absl import flags
from r2m.cli import extract_features
from tfrecords.core.errors import InputError
for line in json.loads(sys.argv[1]):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["program", "--shards=2", *line])
    try:
        extract_features.main(["program"])
    except InputError as error:
        print("error:", error)
"""


def test_images_and_stored_features_become_records(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    pixels = np.random.RandomState(0).randint(0, 255, (3, 30, 40, 3), np.uint8)
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    for name, image in zip(("a.png", "b.png", "more/c.png"), pixels, strict=True):
        Image.fromarray(image).save(tmp_path / "pictures" / name)
    (tmp_path / "val.txt").write_text("more/c.png\na.png\n")
    network = ["--backbone=VGG16", "--weights=none", "--image_size=32", "--short_side=33"]
    kept = ["--recursive", "--grid=2", "--unit_norm", "--dtype=float32"]
    lines = [
        ["--images=pictures", "--output=first", *network, *kept],
        ["--from=first", "--split=val=val.txt", "--name=again", "--output=second"],
        ["--from=first", "--grid=7", "--output=third"],
    ]
    done = run_forked([sys.executable, "-c", DRIVER, json.dumps(lines)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.strip().splitlines()
    assert [Path(line).name for line in printed[:2]] == ["first: 3 images", "second: 2 val"]
    assert printed[2].startswith(
        "error: grid, crops, short_side and views require a backbone: stored features are not "
        "changed"
    )
    options = open_records(tmp_path / "first", kind="features").manifest["options"]
    assert options["grid_shape"] == [2, 2, 512]
    assert options["feature_dtype"] == "float32"
    assert options["backbone"]["short_side"] == 33
    assert options["unit_norm"] and options["recursive"]
    again = open_records(tmp_path / "second", kind="features")
    assert again.name == "again"
    assert again.manifest["options"]["feature_dtype"] == "float16"
