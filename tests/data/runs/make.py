"""Makes run folders like those in this directory: tiny, with records and expected captions.

    python tests/data/runs/make.py OUTPUT

The runs here are older than `r2m/tasks` and `r2m/inference`: the version of this script that made
them imported `r2m.stages`. They are not made again: `tests/inference/test_old_runs.py` opens and
resumes them with the settings in `settings.json`. All paths in them are relative to OUTPUT.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from ml_collections import ConfigDict

import tfrecords
from r2m.inference.run import Run
from r2m.tasks.captioning.experiment import run_captioner
from r2m.tasks.unsupervised_captioning.experiment import run_stage
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.builders.images.build import ImagesOptions, build_images
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.formats.text.reading import parse_source
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions
from tfrecords.shapes.dataset import ShapesOptions, make_shapes

RUNS = json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8"))
NETWORK = Path("network.weights.h5")


def config_of(run: dict[str, Any], **changes: Any) -> ConfigDict:
    """Returns the configuration of a run, with its overrides and `changes` by dotted name."""
    config: ConfigDict = importlib.import_module(run["config"]).get_config(run["argument"])
    config.update_from_flattened_dict({**run["overrides"], **changes})
    return config


def make_records() -> None:
    """The shapes data set as sentences, images and captions."""
    raw, records = Path("raw"), Path("records")
    options = ShapesOptions(
        train_images=8, val_images=3, test_images=1, sentences=60, image_size=32
    )
    make_shapes(raw, options)
    build_corpora(
        CorporaOptions(
            folder=records / "corpora",
            name="shapes",
            sources=[parse_source(str(raw / "corpus.txt"))],
            label_maps=[raw / "detections.json", raw / "tags.json"],
            min_count=1,
            validation_fraction=0.1,
            shards=1,
        ),
        progress=False,
    )
    # The manifest contains absolute paths of this machine to word lists of the project.
    manifest = records / "corpora" / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    root = str(Path(tfrecords.__file__).parents[1])
    manifest.write_text(text.replace(f"{root}/", ""), encoding="utf-8")
    splits = {split: raw / f"{split}.txt" for split in ("train", "val")}
    network: dict[str, Any] = {
        "backbone": BackboneOptions(weights="none", image_size=32, alpha=0.25, layer="conv_pw_2"),
        "features": FeatureOptions(grid=2, unit_norm=True),
    }
    build_images(
        ImagesOptions(
            folder=records / "images",
            name="shapes",
            images=raw / "images",
            detections=tuple(
                DetectionSource(path=raw / name) for name in ("detections.json", "tags.json")
            ),
            corpora=records / "corpora",
            splits=splits,
            references=raw / "captions.json",
            reference_splits=("val",),
            shards=1,
            **network,
        ),
        progress=False,
    )
    build_captions(
        CaptionsOptions(
            folder=records / "captions",
            captions=(PairedSource.parse(f"coco:{raw / 'captions.json'}"),),
            splits=splits,
            images=(raw / "images",),
            min_count=1,
            store_grid=True,
            shards=1,
            **network,
        ),
        progress=False,
    )


def make_network() -> None:
    """Writes weights of a narrow MobileNet, normalized on the pictures so that signals persist."""
    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNet((32, 32, 3), 0.05, include_top=False, weights=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one batch sets the statistics
    pictures = [
        keras.utils.img_to_array(keras.utils.load_img(path))
        for path in sorted(Path("raw", "images").glob("train_*"))
    ]
    model(keras.applications.mobilenet.preprocess_input(np.stack(pictures)), training=True)
    model.save_weights(NETWORK)


def main(output: Path) -> None:
    """Trains the runs, writes what they find, and packs everything."""
    output.mkdir(parents=True)
    os.chdir(output)
    make_records()
    make_network()
    found = {}
    for name, run in RUNS.items():
        experiment, stage = name.split("/")
        workdir = Path("runs", experiment)
        config = config_of(run)
        if run["config"].startswith("configs.r2m"):
            run_stage(stage, config, workdir)
        else:
            run_captioner(config, workdir, name=stage)
        # Event files contain the name of the machine, and are not read by tests.
        for file in (workdir / stage).rglob("events.out*"):
            file.unlink()
        if run["records"] is not None:
            found[name] = captions_of(workdir / stage, run["records"])
    Path("expected.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for part in ("records", *sorted(path.name for path in Path("runs").iterdir())):
        folder = Path("records") if part == "records" else Path("runs", part)
        more = [NETWORK] if part == "pixels" else []
        with tarfile.open(f"{part}.tar.xz", "w:xz") as archive:
            for path in (folder, *more):
                archive.add(path, filter=_anonymous)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def captions_of(folder: Path, records: str) -> dict[str, Any]:
    """Captions of the validation images, best first, each with its log p."""
    run = Run.load(folder)
    opened = run.open_records(records)
    captions = {}
    for batch in run.record_batches(opened, "val"):
        names = [name.decode() for name in batch.pop("image_id").numpy()]
        for name, best in zip(names, run.captioning.returning(3).hypotheses(batch), strict=True):
            captions[name] = [[one.caption, one.log_probability] for one in best]
    return captions


if __name__ == "__main__":
    main(Path(sys.argv[1]))
