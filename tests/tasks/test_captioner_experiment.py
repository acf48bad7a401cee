"""Captioners from their configuration to captions of image files."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from captioner_runs import small
from PIL import Image
from pycocoevalcap.cider.cider import Cider
from pycocotools.coco import COCO

from models.captioners.registry import captioner_names
from pipelines import captions
from pipelines.inputs.global_vector import MeanOfRows
from pipelines.inputs.regions import Regions
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.train import TrainingSummary, train
from r2m.evaluation.caption_statistics import STATISTICS
from r2m.evaluation.scoring import score_files
from r2m.evaluation.tokenizers import tokenize
from r2m.inference.attention_files import show_attention
from r2m.inference.caption_files import caption_files
from r2m.inference.captioner_inputs import record_inputs
from r2m.inference.captioner_model import build_model
from r2m.inference.evaluate_run import evaluate_run
from r2m.inference.run import Run
from r2m.tasks.captioning import experiment
from r2m.tasks.captioning.experiment import run_captioner
from tfrecords.core.errors import InputError


def test_a_finished_run_is_not_trained_again(att2in2_run: Path, caption_records: Path) -> None:
    before = (att2in2_run / "metrics.jsonl").read_bytes()
    assert run_captioner(small(caption_records), att2in2_run.parent).step == 4
    assert (att2in2_run / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    att2in2_run: Path, caption_records: Path, tmp_path: Path
) -> None:
    config = small(caption_records)
    for steps in (2, 4):
        config.stages.cross_entropy.steps = steps
        run_captioner(config, tmp_path)
    whole, parts = (Run.load(run).model for run in (att2in2_run, tmp_path / "cross_entropy"))
    for ours, theirs in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", sorted(set(captioner_names()) - {"att2in2", "updown"}))
def test_every_configuration_builds_its_model(name: str, caption_records: Path) -> None:
    from r2m.tasks.captioning.data import open_data

    config = small(caption_records, name)
    data = open_data(config, 0)
    model = build_model(
        config, len(data.vocabulary), data.inputs.sizes(data.signature("train")), None
    )
    assert model.name == name


def test_it_is_evaluated_on_records(
    att2in2_run: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    report = evaluate_run(
        att2in2_run,
        caption_records,
        "val",
        tmp_path,
        metrics=("bleu", "cider"),
        tokenizer="ptb_python",
    )
    assert report.scores.images == 4
    # pycocotools reads the references and the predictions without conversion.
    coco = COCO(str(pictures / "captions.json"))
    results = coco.loadRes(str(tmp_path / "val.predictions.json"))
    ids = results.getImgIds()
    assert {coco.imgs[i]["file_name"] for i in ids} == set(report.scores.per_image["cider"])
    cider, _ = Cider().compute_score(
        *(
            {i: tokenize([row["caption"] for row in side.imgToAnns[i]], "ptb_python") for i in ids}
            for side in (coco, results)
        )
    )
    assert cider == pytest.approx(report.scores.scores["cider"], abs=1e-9)
    again = score_files(
        str(tmp_path / "val.predictions.json"),
        str(pictures / "captions.json"),
        metrics=("bleu", "cider"),
        tokenizer="ptb_python",
    )
    assert again.scores.scores == pytest.approx(report.scores.scores)
    assert (tmp_path / "val" / "gallery.png").stat().st_size


def test_image_files_are_captioned_as_their_records_are(
    att2in2_run: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    run = Run.load(att2in2_run)
    records = run.open_records(str(caption_records))
    by_records = run.captioning.caption_batches(run.record_batches(records, "val"))
    (tmp_path / "in").mkdir()
    for name in by_records:
        shutil.copy(pictures / "images" / name, tmp_path / "in")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    rows = caption_files(att2in2_run, tmp_path / "in", tmp_path / "out").rows
    found = {row["image_id"]: row["caption"] for row in rows}
    assert found.pop("broken.png") == ""
    assert found == by_records
    assert "cannot be read" in rows[-1].get("note", rows[0].get("note", ""))


def test_an_ensemble_of_one_model_twice_says_what_it_says(
    att2in2_run: Path, caption_records: Path
) -> None:
    one, two = Run.load(att2in2_run), Run.load([att2in2_run, att2in2_run])
    records = one.open_records(str(caption_records))
    alone, together = (
        run.captioning.caption_batches(run.record_batches(records, "val")) for run in (one, two)
    )
    assert alone == together


def test_an_ensemble_needs_one_vocabulary(att2in2_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(att2in2_run, tmp_path / "other")
    words = (other / "vocabulary.txt").read_text().splitlines()
    (other / "vocabulary.txt").write_text("\n".join([*words[:-2], words[-1], words[-2]]) + "\n")
    with pytest.raises((InputError, TrainingError), match="vocabular"):
        Run.load([att2in2_run, other])


def test_features_made_in_another_way_are_refused(
    att2in2_run: Path, caption_records: Path, tmp_path: Path
) -> None:
    shown = json.loads((att2in2_run / "image_features.json").read_text())

    def changed(name: str, **backbone: Any) -> Path:
        copy = shutil.copytree(att2in2_run, tmp_path / name)
        records = {**shown["records"], "backbone": {**shown["records"]["backbone"], **backbone}}
        (copy / "image_features.json").write_text(json.dumps({**shown, "records": records}))
        return copy

    other = changed("other", weights="other.h5", layer="relu")
    told = "with weights '{}', layer {}.* with weights '{}', layer {}; both must come"
    with pytest.raises(
        InputError, match=f"{caption_records} {told}".format("none", None, "other.h5", "'relu'")
    ):
        evaluate_run(other, caption_records, "val", tmp_path)
    with pytest.raises(
        InputError, match="other " + told.format("other.h5", "'relu'", "none", None)
    ):
        Run.load([att2in2_run, other])
    # The batch size does not affect features.
    alike = changed("alike", batch_size=7)
    assert len(Run.load([att2in2_run, alike]).folders) == 2
    regions = changed("regions")
    (regions / "image_features.json").write_text(
        json.dumps({**shown, "features": ["region_feature"]})
    )
    with pytest.raises(
        InputError,
        match=r"contains global_feature, grid_feature, but no region_feature.*regions was trained",
    ):
        evaluate_run(regions, caption_records, "val", tmp_path)


def test_a_run_starts_from_the_best_weights_of_another(
    att2in2_run: Path, caption_records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[np.ndarray] = []

    def noting(stage: Any, *arguments: Any, init_from: Any, **others: Any) -> TrainingSummary:
        def start() -> None:
            init_from()
            found.extend(stage.model.get_weights())

        return train(stage, *arguments, init_from=start, **others)

    monkeypatch.setattr(experiment, "train", noting)
    config = small(caption_records)
    config.seed = 7
    run_captioner(config, tmp_path, init_from=att2in2_run)
    for ours, best in zip(found, Run.load(att2in2_run).model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, best)
    first, *_ = read_metrics(tmp_path / "cross_entropy")
    assert (first["step"], first["kind"]) == (0, "evaluation")
    of_start = [line for line in read_metrics(att2in2_run) if line["kind"] == "evaluation"]
    assert all(set(STATISTICS) <= set(line) for line in of_start)
    assert first["loss"] in [pytest.approx(line["loss"]) for line in of_start]


def test_words_are_sampled_in_training_from_their_epoch_on(
    caption_records: Path, tmp_path: Path
) -> None:
    """In the graph, with dropout, on one device and on two."""

    def losses(name: str, strategy: str, start: int | None) -> list[float]:
        config = small(caption_records)
        config.model.dropout = 0.5
        config.training.update({"strategy": strategy, "log_every": 1})
        config.stages.cross_entropy.evaluate_every = 0
        config.loss.update({"sampling_start": start, "sampling_every": 1})
        config.loss.update({"sampling_increase": 1.0, "sampling_most": 1.0})
        run_captioner(config, tmp_path / name)
        lines = read_metrics(tmp_path / name / "cross_entropy")
        return [line["loss"] for line in lines if line["kind"] == "train"]

    plain, sampled = losses("plain", "one_device", None), losses("sampled", "one_device", 0)
    # An epoch has two steps; in the first epoch, all words are those of the captions.
    assert len(plain) == len(sampled) == 4
    np.testing.assert_allclose(sampled[:2], plain[:2], rtol=1e-5)
    assert abs(sampled[3] - plain[3]) > 1e-3
    assert np.isfinite(losses("two", "mirrored", 0)).all()


@pytest.mark.parametrize(("drop_worst", "parts"), [(0.0, 2), (0.5, 1)])
def test_cores_are_shared_by_parts_that_are_computed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drop_worst: float, parts: int
) -> None:
    found: list[int] = []
    monkeypatch.setattr(experiment, "configure_threads", found.append)
    config = small(Path())
    config.data.captions = ""
    config.training.update({"micro_batches": 2, "at_once": 2})
    config.loss.drop_worst = drop_worst
    with pytest.raises(InputError, match="--captions"):
        run_captioner(config, tmp_path)
    assert found == [parts]


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("model", "captioner", "gpt", "must be one of att2in, att2in2,"),
        ("image", "source", "sound", "must be one of features, pixels"),
        ("data", "captions_per_image", 0, "must be at least 1"),
        ("loss", "reduction", "letters", "must be one of words, captions"),
        ("loss", "sampling_start", -1, "must be at least 0, or None"),
    ],
)
def test_impossible_settings_name_the_config(
    caption_records: Path, tmp_path: Path, section: str, field: str, value: Any, message: str
) -> None:
    config = small(caption_records)
    config[section][field] = value
    with pytest.raises(InputError, match=rf"--config\.{section}\.{field}={value}: {message}"):
        run_captioner(config, tmp_path)


def test_records_without_what_the_model_needs(
    caption_records: Path, pictures: Path, tmp_path: Path, att2in2_run: Path
) -> None:
    config = small(caption_records)
    config.data.captions = ""
    with pytest.raises(InputError, match="--captions"):
        run_captioner(config, tmp_path)
    shown = json.loads((att2in2_run / "image_features.json").read_text())
    assert shown["records"]["backbone"]["name"] == "VGG16"
    records = Run.load(att2in2_run).open_records(str(caption_records))
    for features, message in (
        ([], "or with --features$"),
        (["image"], "or with --features, or train on their pictures with --config.image.source="),
    ):
        bare = dataclasses.replace(records, manifest={**records.manifest, "features": features})
        with pytest.raises(InputError, match=message):
            record_inputs(small(caption_records), bare)
    copy = shutil.copytree(att2in2_run, tmp_path / "run")
    shown["records"]["backbone"] = None
    (copy / "image_features.json").write_text(json.dumps(shown))
    with pytest.raises(InputError, match="that R2M did not compute"):
        caption_files(copy, pictures / "images", tmp_path)


def test_grids_and_regions_side_by_side(caption_records: Path, att2in2_run: Path) -> None:
    records = Run.load(att2in2_run).open_records(str(caption_records))
    held = {"grid_feature", "region_feature", "global_feature"}
    both = dataclasses.replace(records, manifest={**records.manifest, "features": sorted(held)})
    for captioner, rows, wanted in (
        ("lstm", None, ("grid_feature",)),
        ("att2in2", None, ("region_feature",)),
        ("att2in2", "grid", ("grid_feature",)),
        ("updown", "regions", ("region_feature", "global_feature")),
        ("fc", None, ("global_feature",)),
    ):
        config = small(caption_records, captioner)
        config.data.rows = rows
        assert record_inputs(config, both).columns == wanted
    # The mean of the rows replaces the missing vector.
    rows_only = dataclasses.replace(
        records, manifest={**records.manifest, "features": ["region_feature"]}
    )
    (mean,) = record_inputs(small(caption_records, "fc"), rows_only).inputs
    assert mean == MeanOfRows(Regions())
    config.data.rows = "cells"
    with pytest.raises(InputError, match="unknown rows 'cells'; known: grid, regions"):
        record_inputs(config, both)


def test_attention_is_shown_of_files_and_in_tensorboard(
    att2in2_run: Path, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [
        Path(shutil.copy(file, tmp_path)) for file in sorted((pictures / "images").iterdir())[:2]
    ]
    before = [file.read_bytes() for file in files]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    shown, passed_over = show_attention(
        att2in2_run, [tmp_path / "broken.png", *files], tmp_path, style="grid"
    )
    captions = {image.name: image.caption for image in shown}
    assert list(captions) == [file.name for file in files]
    assert passed_over == {"unreadable": 1}
    assert "left out: " in caplog.text and "broken.png cannot be read" in caplog.text
    for file in files:
        with Image.open(tmp_path / f"{file.stem}.attention.gif") as image:
            # Equal frames are merged.
            assert 2 <= image.n_frames <= 1 + len(captions[file.name].split())
        assert (tmp_path / f"{file.stem}.attention.png").stat().st_size
    assert [file.read_bytes() for file in files] == before
    assert len(list(tmp_path.glob("broken*"))) == 1
    with pytest.raises(InputError, match=r"no image is left to show: .*broken\.png cannot be read"):
        show_attention(att2in2_run, [tmp_path / "broken.png"], tmp_path)
    (events,) = att2in2_run.glob("events.*")
    tags = {
        value.tag
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    assert {"evaluation/attention", "evaluation/pictures", "evaluation/captions"} <= tags


def test_a_beam_is_no_wider_than_the_vocabulary(
    caption_records: Path, att2in2_run: Path, tmp_path: Path
) -> None:
    words = len(captions.open_captions(str(caption_records)).vocabulary())
    # Padding, start, end and <unk> never follow the start of a caption.
    assert (
        Run.load(att2in2_run, decoding={"beam_size": words - 4}).config.decoding.beam_size
        == words - 4
    )
    message = rf"beam_size={words - 3} .*--beam_size\): must be at most {words - 4}, the words"
    with pytest.raises(InputError, match=message):
        Run.load(att2in2_run, decoding={"beam_size": words - 3})
    config = small(caption_records)
    config.decoding.beam_size = words - 3
    with pytest.raises(InputError, match=message):
        run_captioner(config, tmp_path)
