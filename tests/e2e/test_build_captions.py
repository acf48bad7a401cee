"""The flags of `r2m-build-captions`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import h5py
import numpy as np
from forked_processes import run_forked
from PIL import Image

from tfrecords.core.records import open_records

# Several command lines in one process.
DRIVER = """
import json, sys
from absl import flags
from r2m.cli import build_captions
from tfrecords.core.errors import InputError
for line in json.loads(sys.argv[1]):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(["program", "--workers=1", *line])
    try:
        build_captions.main(["program"])
    except InputError as error:
        print("error:", error)
"""


def test_captions_pictures_and_stored_features_become_records(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.delenv("R2M_HOME", raising=False)
    images = [
        {"id": number, "file_name": f"{number}.png", "captions": ["A dog runs", f"Dog {number}"]}
        for number in range(4)
    ]
    (tmp_path / "dataset_labels.json").write_text(json.dumps({"images": images}))
    for split, numbers in (("train", (0, 1, 2)), ("val", (3,))):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}.txt").write_text("\n".join(f"{n}.png" for n in numbers))
        for number in numbers:
            image = Image.new("RGB", (20, 10), (number, 0, 0))
            image.save(tmp_path / split / f"{number}.png")
    with h5py.File(tmp_path / "fc.h5", "w") as file:
        for number in range(4):
            file[str(number)] = np.full(5, number, np.float32)
    captions = "--captions=dataset_labels.json"
    lists = ["--split=train=train.txt", "--split=val=val.txt"]
    words = "--vocabulary=workspace/records/captions/both"
    lines = [
        [captions, *lists, "--images=train", "--images=val", "--features=h5:fc.h5", "--name=both"],
        ["--captions=val=karpathy:dataset_labels.json", words, "--max_length=1", "--output=text"],
        [captions, "--output=none"],
    ]
    done = run_forked([sys.executable, "-c", DRIVER, json.dumps(lines)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.strip().splitlines()
    assert [Path(line).name for line in printed[:2]] == ["both: 3 train, 1 val", "text: 4 val"]
    assert printed[2].startswith("error: dataset_labels.json:1: images[0]: the split of")
    both = open_records(tmp_path / "workspace/records/captions/both", kind="captions")
    assert {"image", "global_feature"} <= set(both.feature_names)
    assert [Path(entry["path"]).name for entry in both.manifest["sources"]] == [
        *("dataset_labels.json", "train.txt", "val.txt", "train", "val", "fc.h5"),
    ]
    text = open_records(tmp_path / "text", kind="captions")
    assert text.vocabulary_sha256 == both.vocabulary_sha256
    assert text.manifest["options"]["cut_sentences"] == 8
