"""Captioners from their configuration to captions of image files."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from models.captioners import CAPTIONERS, build_captioner
from models.pixel_captioner import PixelCaptioner
from r2m.engine.errors import TrainingError
from r2m.stages.attention import show_attention
from r2m.stages.caption_files import caption_files
from r2m.stages.captioning import evaluate_run, open_run
from r2m.stages.paired.experiment import run_captioner, take_weights
from r2m.stages.paired.looking import looked
from r2m.stages.paired.model import build_model, open_network
from tfrecords.errors import InputError

BACKBONE = {"backbone": "MobileNet", "weights": "none", "alpha": 0.25, "resize": 40, "crop": 32}


def small(records: Path, captioner: str = "att2in2") -> Any:
    config = importlib.import_module(f"configs.captioners.{captioner}").get_config()
    config.data.captions = str(records)
    config.model.units = config.model.word_size = 16
    own = config.stages.cross_entropy
    own.batch_size, own.steps, own.evaluate_every = 5, 4, 2
    return config


@pytest.fixture(scope="module")
def finished(caption_records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("att2in2")
    summary = run_captioner(small(caption_records), folder)
    assert summary.step == 4
    assert {"loss", "bleu_4", "rouge_l", "cider"} <= set(summary.best_metrics)
    return folder / "cross_entropy"


def test_a_finished_run_is_not_trained_again(finished: Path, caption_records: Path) -> None:
    before = (finished / "metrics.jsonl").read_bytes()
    assert run_captioner(small(caption_records), finished.parent).step == 4
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    finished: Path, caption_records: Path, tmp_path: Path
) -> None:
    config = small(caption_records)
    for steps in (2, 4):
        config.stages.cross_entropy.steps = steps
        run_captioner(config, tmp_path)
    whole, parts = (open_run(run).model for run in (finished, tmp_path / "cross_entropy"))
    for ours, theirs in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(set(CAPTIONERS) - {"att2in2", "updown"}))
def test_every_configuration_builds_its_model(name: str, caption_records: Path) -> None:
    from r2m.stages.paired.data import open_data
    from r2m.stages.paired.model import feature_sizes

    config = small(caption_records, name)
    data = open_data(config, 0)
    model = build_model(config, len(data.vocabulary), feature_sizes(data.signature("train")), None)
    assert model.name == name


def test_it_is_evaluated_on_records(finished: Path, caption_records: Path, tmp_path: Path) -> None:
    report = evaluate_run(finished, caption_records, "val", tmp_path, metrics=("bleu", "cider"))
    assert report.scores.images == 4
    assert (tmp_path / "val" / "gallery.png").stat().st_size


def test_image_files_are_captioned_as_their_records_are(
    finished: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    run = open_run(finished)
    records = run.open_records(str(caption_records))
    by_records = run.captioning.caption_batches(run.batches(records, "val"))
    (tmp_path / "in").mkdir()
    for name in by_records:
        shutil.copy(pictures / "images" / name, tmp_path / "in")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    rows = caption_files(finished, tmp_path / "in", tmp_path / "out")
    found = {row["image_id"]: row["caption"] for row in rows}
    assert found.pop("broken.png") == ""
    assert found == by_records
    assert "cannot be read" in rows[-1].get("note", rows[0].get("note", ""))


def test_an_ensemble_of_one_model_twice_says_what_it_says(
    finished: Path, caption_records: Path
) -> None:
    one, two = open_run(finished), open_run([finished, finished])
    records = one.open_records(str(caption_records))
    alone, together = (
        run.captioning.caption_batches(run.batches(records, "val")) for run in (one, two)
    )
    assert alone == together


def test_an_ensemble_needs_one_vocabulary(finished: Path, tmp_path: Path) -> None:
    other = shutil.copytree(finished, tmp_path / "other")
    words = (other / "vocabulary.txt").read_text().splitlines()
    (other / "vocabulary.txt").write_text("\n".join([*words[:-2], words[-1], words[-2]]) + "\n")
    with pytest.raises((InputError, TrainingError), match="vocabular"):
        open_run([finished, other])


def test_pixels_train_the_part_of_the_network_that_is_asked_for(
    caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    config = small(caption_records, "updown")
    config.image.update({**BACKBONE, "source": "pixels", "trained_from": "conv_pw_13"})
    config.stages.cross_entropy.evaluate_every = 0
    start = open_network(config)
    assert start is not None
    before = {layer.name: layer.get_weights() for layer in start.model.layers}
    run_captioner(config, tmp_path)
    run = open_run(tmp_path / "cross_entropy")
    moved = {
        layer.name
        for layer in run.model.network.layers
        if layer.get_weights()
        and any(map(np.any, map(np.subtract, layer.get_weights(), before[layer.name])))
    }
    # Random weights fade out: hardly any gradient may be left for the kernel.
    assert "conv_pw_13_bn" in moved <= {"conv_pw_13", "conv_pw_13_bn"}
    rows = caption_files(tmp_path / "cross_entropy", pictures / "images", tmp_path / "out")
    records = run.open_records(str(caption_records))
    by_records = run.captioning.caption_batches(run.batches(records, "val"))
    found = {row["image_id"]: row["caption"] for row in rows}
    assert by_records == {name: found[name] for name in by_records}


def test_pixels_may_start_from_a_captioner_of_stored_features(
    finished: Path, caption_records: Path
) -> None:
    before = open_run(finished)
    config = small(caption_records)
    sizes = {"global_size": None, "region_size": 1024, "grid_cells": 4}
    captioner = build_model(config, len(before.vocabulary), sizes, None)
    network = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Conv2D(1024, 32, 32)])
    kernel = network.get_weights()[0]
    pixels = PixelCaptioner(
        captioner, network, lambda x: x, trained_from="all", wants_global=False, name="att2in2"
    )
    take_weights(pixels, finished, {"vocabulary": before.vocabulary.sha256})
    for ours, theirs in zip(captioner.get_weights(), before.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(network.get_weights()[0], kernel)


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("model", "captioner", "gpt", "unknown captioner 'gpt'"),
        ("model", "pool", "average", r"config\.model: .*pool"),
        ("image", "source", "sound", "unknown source 'sound'"),
        ("data", "captions_per_image", 0, r"config\.data: captions_per_image"),
        ("loss", "reduction", "letters", r"config\.loss"),
    ],
)
def test_impossible_settings_name_the_config(
    caption_records: Path, tmp_path: Path, section: str, field: str, value: Any, message: str
) -> None:
    config = small(caption_records)
    config[section][field] = value
    with pytest.raises(InputError, match=message):
        run_captioner(config, tmp_path)


def test_records_without_what_the_model_needs(
    caption_records: Path, pictures: Path, tmp_path: Path, finished: Path
) -> None:
    config = small(caption_records)
    config.data.captions = ""
    with pytest.raises(InputError, match="--captions"):
        run_captioner(config, tmp_path)
    shown = json.loads((finished / "image_features.json").read_text())
    assert shown["records"]["backbone"]["name"] == "DenseNet121"
    copy = shutil.copytree(finished, tmp_path / "run")
    shown["records"]["backbone"] = None
    (copy / "image_features.json").write_text(json.dumps(shown))
    with pytest.raises(InputError, match="made elsewhere"):
        caption_files(copy, pictures / "images", tmp_path)


def test_attention_is_shown_of_files_and_in_tensorboard(
    finished: Path, pictures: Path, tmp_path: Path
) -> None:
    files = sorted((pictures / "images").iterdir())[:2]
    captions = show_attention(finished, files, tmp_path, style="grid")
    assert list(captions) == [file.name for file in files]
    for file in files:
        with Image.open(tmp_path / f"{file.stem}.gif") as image:
            # Frames that are equal become one.
            assert 2 <= image.n_frames <= 1 + len(captions[file.name].split())
        assert (tmp_path / f"{file.stem}.png").stat().st_size
    (events,) = finished.glob("events.*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {"evaluation/attention", "evaluation/pictures", "evaluation/captions"} <= tags


def test_no_attention_to_show(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    for files, message in (
        ([], "no images were given"),
        ([tmp_path / "b.png"], "no such image: .*b.png"),
        ([tmp_path / "a.png"], "an image cannot be read: .*a.png"),
    ):
        with pytest.raises(InputError, match=message):
            show_attention(finished, files, tmp_path)
    fc = build_captioner(
        "fc", vocabulary_size=9, global_size=4, region_size=None, grid_cells=None, units=8
    )
    with pytest.raises(InputError, match="fc has no attention"):
        looked(fc, open_run(finished).vocabulary, {"global": tf.ones([1, 4])}, ["a"])
