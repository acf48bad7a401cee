"""Features of other code bases through `r2m-build-captions` and `r2m-extract-features`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from forked_processes import run_forked

from tfrecords.core.records import open_records
from tfrecords.formats.features.opening import open_feature_store

sys.path.insert(0, str(Path(__file__).parents[1] / "tfrecords" / "formats" / "features"))
import feature_layouts as layouts

# One command per process, as flags are defined when it is imported.
DRIVER = """
import importlib, json, sys
from absl import flags
from tfrecords.core.errors import InputError
command = importlib.import_module("r2m.cli." + sys.argv[1])
for line in json.loads(sys.argv[2]):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["program", "--workers=1", "--shards=1", *line])
    try:
        command.main(["program"])
    except InputError as error:
        print("error:", error)
"""


def run(command: str, lines: list[list[str]], folder: Path) -> list[str]:
    root = str(Path(__file__).resolve().parents[2])
    done = run_forked(
        [sys.executable, "-c", DRIVER, command, json.dumps(lines)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_every_layout_becomes_records(tmp_path: Path):
    layouts.karpathy(tmp_path / "dataset.json")
    for name, layout in layouts.LAYOUTS.items():
        layout(tmp_path / f"{name}.hdf5")
    names = list(layouts.LAYOUTS)
    captions = ["--captions=dataset.json", "--min_count=1"]
    printed = run(
        "build_captions",
        [[*captions, f"--features={name}.hdf5", f"--output=captions/{name}"] for name in names]
        # Caption records with features can be used as a feature store.
        + [[*captions, "--features=records:captions/dlct", "--output=captions/again"]],
        tmp_path,
    )
    assert [Path(line).name for line in printed] == [
        f"{n}: 6 train, 2 val" for n in [*names, "again"]
    ]
    printed = run(
        "extract_features",
        [[f"--from={name}.hdf5", f"--output=features/{name}"] for name in names],
        tmp_path,
    )
    assert [Path(line).name for line in printed] == [f"{name}: 8 images" for name in names]
    for name in [*names, "again"]:
        records = open_records(tmp_path / "captions" / name, kind="captions")
        kinds = {"dlct", "again", "grids_only"} & {name}
        assert ("grid_feature" in records.feature_names) == bool(kinds)
        assert ("boxes" in records.feature_names) == (name in (*layouts.WITH_BOXES, "again"))
        if name == "grids_only":
            continue
        store = open_feature_store(f"records:{records.folder}")
        for i in layouts.IDS:
            found = store.get(f"COCO_val2014_{i:012}.jpg").region_feature
            np.testing.assert_array_equal(found, layouts.REGIONS[i].astype(np.float16))


def test_other_images_are_named(tmp_path: Path):
    layouts.karpathy(tmp_path / "dataset.json", ids=(11, 12))
    layouts.zero_padded(tmp_path / "x.h5")
    flags = ["--captions=dataset.json", "--features=x.h5", "--min_count=1", "--output=out"]
    (line,) = run("build_captions", [[*flags, "--vocabulary_splits=val"]], tmp_path)
    assert "error: split 'val' of " in line and "would be empty" in line
    assert "no image named '11' or 'COCO_val2014_000000000011.jpg'" in line
    assert "The feature store contains 8 images ('000000000001', '000000000002', ...)" in line
