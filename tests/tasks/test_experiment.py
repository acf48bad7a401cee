"""Stages and the curriculum on small real records: training, resume, start, rejected runs."""

from __future__ import annotations

import json
import math
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from gallery_pages import read_items

from pipelines.corpora import open_corpora
from pipelines.images import image_batches, open_images
from pipelines.inputs.spec import InputSpec
from r2m.cli.launch import exit_code
from r2m.engine.distribution import workers
from r2m.engine.errors import TrainingError, TrainingInterrupted
from r2m.engine.options import OptimizerSettings, ScheduleOptions
from r2m.engine.persistence import checkpoints
from r2m.evaluation.caption_statistics import STATISTICS
from r2m.inference.calibration_file import CALIBRATION_FILE
from r2m.inference.caption_files import caption_files
from r2m.inference.concept_oracles import concept_batches, oracle_concepts
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.evaluate_run import evaluate_run
from r2m.inference.r2m_model import concepts_of
from r2m.inference.run import Run
from r2m.tasks.unsupervised_captioning import experiment
from tfrecords.core.errors import InputError

PIXELS = {
    "source": "pixels",
    "resize": 40,
    "crop": 32,
    "backbone": "VGG16",
    "weights": "none",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, corpora, images):
    """A finished curriculum: folder and summaries."""
    from configs.r2m import shapes

    config = shapes.get_config("test")
    config.data.corpora, config.data.images = str(corpora), str(images)
    for stage in config.stages.values():
        stage.batch_size, stage.max_length = 8, 10
    folder = tmp_path_factory.mktemp("runs")
    return folder, experiment.run_curriculum(config, folder), config


def test_the_curriculum_leaves_four_usable_runs(finished):
    folder, summaries, _ = finished
    assert list(summaries) == ["xe", "xe_rec", "tri", "tri_rec"]
    for name, summary in summaries.items():
        assert summary.step == 4
        assert {"loss", "bleu_4", "rouge_l", "cider"} <= set(summary.best_metrics)
        run = folder / name
        assert json.loads((run / "config.json").read_text())["config"]["name"] == "shapes"
        for file in ("vocabulary.txt", "concepts.json", "metrics.jsonl"):
            assert (run / file).stat().st_size
        assert list(run.glob("events.*")), "no TensorBoard events"
        opened = Run.load(run)
        assert opened.model.vocabulary_size == len(opened.vocabulary)


def test_a_stage_starts_from_the_best_weights_of_the_one_before(finished):
    folder, _, _ = finished
    before = Run.load(folder / "tri").model
    after = Run.load(folder / "tri_rec").model
    # Stages 3 and 4 do not train the softmax layer, so it is that of stage 2.
    np.testing.assert_array_equal(before.softmax_weights, after.softmax_weights)
    assert not np.array_equal(before.embedding.embeddings, after.embedding.embeddings)


def test_tensorboard_shows_gates_and_captions_beside_all_references(finished, raw):
    values = {}
    for path in (finished[0] / "tri").glob("events.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            for value in tf.compat.v1.Event.FromString(record).summary.value:
                values[value.tag] = tf.make_ndarray(value.tensor)
    for gate in ("input_gate", "forget_gate"):
        buckets = values[f"evaluation/decoder/{gate}"]  # [left, right, count]
        assert 0 < buckets[0, 0] < buckets[-1, 1] < 1
    assert len(values["evaluation/pictures"]) > 2  # width, height, PNGs
    heading, _, *rows = values["evaluation/captions"].item().decode().splitlines()
    assert heading == "| image | concepts | caption | references |"
    references = json.loads((raw / "captions.json").read_text())
    names = {image["id"]: image["file_name"] for image in references["images"]}
    for row in rows:
        name, *_, shown = (cell.strip() for cell in row.strip("|").split("|"))
        wanted = [a["caption"] for a in references["annotations"] if names[a["image_id"]] == name]
        assert len(wanted) > 1
        assert shown.split("<br>") == wanted


def test_an_interrupted_curriculum_does_not_go_on(config, tmp_path, monkeypatch):
    asked = []

    def interrupted(name, *_, **__):
        asked.append(name)
        raise TrainingInterrupted(name)

    monkeypatch.setattr(experiment, "run_stage", interrupted)
    with pytest.raises(TrainingInterrupted):
        experiment.run_curriculum(config, tmp_path)
    assert asked == ["xe"]


def test_a_finished_curriculum_is_not_trained_again(finished):
    folder, summaries, config = finished
    written = {p: p.stat().st_mtime_ns for p in folder.rglob("checkpoint.json")}
    assert experiment.run_curriculum(config, folder) == summaries
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("checkpoint.json")} == written


def test_an_interrupted_stage_ends_as_an_uninterrupted_one(
    config, raw, build, build_text, small_network, tmp_path
):
    """All losses on crops of pixels, without validation data."""
    corpora = build_text(tmp_path / "corpora", validation_fraction=0.0)
    splits = {"train": raw / "train.txt"}
    images = build(
        tmp_path / "images", corpora=corpora, splits=splits, backbone=None, references=None
    )
    config.data.corpora, config.data.images = str(corpora), str(images)
    config.image.update(PIXELS)
    config.model.update(small_network)
    config.training.log_every = 2
    assert config.model.dropout > 0
    summary = experiment.run_stage("joint", config, tmp_path / "whole")
    assert (summary.step, summary.best_step) == (4, None)
    Run.load(tmp_path / "whole" / "joint")
    for steps in (2, 4):
        config.stages.joint.steps = steps
        experiment.run_stage("joint", config, tmp_path / "parts")
    readers = [
        tf.train.load_checkpoint(
            str(checkpoints.newest(tmp_path / name / "joint" / "checkpoints").folder / "variables")
        )
        for name in ("whole", "parts")
    ]
    names = readers[0].get_variable_to_shape_map()
    assert names == readers[1].get_variable_to_shape_map()
    for name in names:
        np.testing.assert_array_equal(*(reader.get_tensor(name) for reader in readers))
    metrics = [(tmp_path / name / "joint" / "metrics.jsonl") for name in ("whole", "parts")]
    assert metrics[0].read_bytes() == metrics[1].read_bytes()


def test_pixels_without_references_train_but_are_not_scored(finished, config, build, tmp_path):
    folder = build(tmp_path / "records", backbone=None, references=None)
    config.data.images = str(folder)
    before = finished[0] / "xe_rec"
    with pytest.raises(InputError, match="--backbone"):
        experiment.run_stage("tri", config, tmp_path, init_from=before)
    config.image.update(PIXELS)
    summary = experiment.run_stage("tri", config, tmp_path, init_from=before)
    assert np.isfinite(summary.last_metrics["triplet"])
    assert "cider" not in summary.best_metrics
    with pytest.raises(InputError, match="no reference captions"):
        evaluate_run(tmp_path / "tri", folder, "val", tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "val.predictions.json").read_text())) == 8


def test_images_may_be_there_in_some_stages_only(finished, config, images, tmp_path):
    config.data.images = ""
    # The images of the previous stage do not constrain this stage.
    summary = experiment.run_stage("xe_rec", config, tmp_path, init_from=finished[0] / "xe")
    assert summary.step == 4
    assert set(summary.best_metrics) >= {"loss", "cross_entropy"}
    assert "cider" not in summary.best_metrics
    with pytest.raises(InputError, match="--images"):
        experiment.run_stage("tri", config, tmp_path)
    config.data.images = str(images)
    assert experiment.run_stage("tri", config, tmp_path).step == 4


def test_unreadable_and_unseen_images_are_marked(finished, raw, tmp_path):
    (tmp_path / "in").mkdir()
    seen, broken, *_ = sorted((raw / "images").iterdir())
    shutil.copy(seen, tmp_path / "in")
    (tmp_path / "in" / broken.name).write_bytes(broken.read_bytes()[:40])
    (tmp_path / "in" / "empty.png").write_bytes(b"")
    shutil.copy(seen, tmp_path / "in" / "unseen.png")
    rows = caption_files(
        finished[0] / "tri_rec",
        tmp_path / "in",
        tmp_path / "out",
        detections=[str(raw / "detections.json")],
    ).rows
    found = {row["image_id"]: (bool(row["caption"]), row.get("note", "")) for row in rows}
    assert found[seen.name] == (True, "")
    assert found[broken.name][0] is False
    assert "cannot be read" in found[broken.name][1]
    assert "cannot be read" in found["empty.png"][1]
    assert found["unseen.png"] == (True, rows[-1]["note"])
    assert "no concept" in rows[-1]["note"]


def test_a_stage_without_its_predecessor_says_what_to_do(config, tmp_path):
    with pytest.raises(InputError, match=r"stage tri starts from .* xe_rec.*--init_from"):
        experiment.run_stage("tri", config, tmp_path)


def test_no_corpora_says_which_flag(config, tmp_path):
    config.data.corpora = ""
    with pytest.raises(InputError, match="--corpora"):
        experiment.run_stage("xe", config, tmp_path)


def test_another_vocabulary_is_refused(finished, config, build_text, tmp_path):
    config.data.corpora = str(build_text(tmp_path / "corpora", min_count=9))
    with pytest.raises(InputError, match="vocabular"):
        experiment.run_stage("xe", config, tmp_path)
    config.data.images = ""
    with pytest.raises(TrainingError, match="vocabulary"):
        experiment.run_stage("xe", config, tmp_path / "run", init_from=finished[0] / "xe")


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("model", "heads", 5),
        ("model", "decoder", "gru"),
        ("data", "max_concepts", 0),
        ("image", "source", "sound"),
        ("decoding", "beam_size", 0),
        ("training", "log_every", 0),
    ],
)
def test_impossible_settings_name_the_config(config, tmp_path, section, field, value):
    config[section][field] = value
    with pytest.raises(InputError, match=rf"--config\.{section}\.{field}={value}: must"):
        experiment.run_stage("xe", config, tmp_path)


def test_a_refused_run_leaves_the_finished_one_usable(finished, config, build_text, tmp_path):
    folder = shutil.copytree(finished[0] / "xe", tmp_path / "xe")
    kept = {path: path.read_bytes() for path in folder.glob("*.json")}
    config.data.corpora = str(build_text(tmp_path / "corpora", label_maps=["detections.json"]))
    config.data.images = ""
    with pytest.raises(InputError, match="contains a run with other records"):
        experiment.run_stage("xe", config, tmp_path)
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == kept
    Run.load(folder)


def test_validation_images_chosen_by_other_rules_are_refused(finished, config, build, tmp_path):
    folder = shutil.copytree(finished[0] / "xe", tmp_path / "xe")
    kept = {path: path.read_bytes() for path in folder.glob("*.json")}
    config.data.images = str(build(tmp_path / "records", concept_order="class_id"))
    with pytest.raises(InputError, match=r"concept_rules\.json differs"):
        experiment.run_stage("xe", config, tmp_path)
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == kept


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("loss", "margin", 0.5, r"loss\.margin 0\.5, was 0\.2"),
        ("data", "max_repeats", 1, r"concepts\.max_repeats 1, was 2"),
        ("stages", "batch_size", 4, r"batch_size 4, was 8"),
    ],
)
def test_a_finished_stage_is_not_passed_off_as_another(
    finished, config, section, field, value, message
):
    (config.stages.xe if section == "stages" else config[section])[field] = value
    with pytest.raises(TrainingError, match=f"settings differ: .*{message}"):
        experiment.run_stage("xe", config, finished[0])


def test_a_stage_notices_that_the_one_before_was_trained_again(finished, config, tmp_path):
    folder = shutil.copytree(finished[0], tmp_path / "runs")
    shutil.rmtree(folder / "xe")
    config.stages.xe.learning_rate = 1e-4
    experiment.run_stage("xe", config, folder)
    with pytest.raises(TrainingError, match="settings differ: start"):
        experiment.run_stage("xe_rec", config, folder)
    shutil.rmtree(folder / "xe")
    # If the previous stage is deleted, nothing is compared and nothing is trained.
    assert experiment.run_stage("xe_rec", config, folder).step == 4


def test_images_without_a_training_split_say_what_to_do(config, build, tmp_path):
    folder = build(tmp_path / "records", splits={}, references=None)
    config.data.images = str(folder)
    with pytest.raises(InputError, match=r"no split 'train'.*--split=train=FILE"):
        experiment.run_stage("joint", config, tmp_path)


def test_a_damaged_record_is_an_error(config, corpora, tmp_path, capsys):
    folder = shutil.copytree(corpora, tmp_path / "corpora")
    shard = next(folder.glob("*train*tfrecord*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    config.data.corpora, config.data.images = str(folder), ""
    # As shown by the scripts; the error of TensorFlow is a page long.
    assert exit_code(lambda _: experiment.run_stage("xe", config, tmp_path), []) == 1
    assert re.fullmatch(
        r"error: a record file is damaged: corrupted record at \d+; to find it, run .*r2m-inspect "
        rf"{folder} --verify.*\. Build those records again with --overwrite",
        capsys.readouterr().err.splitlines()[-1],
    )


def test_evaluation_writes_predictions_report_and_gallery(finished, raw, images, tmp_path):
    folder, _, _ = finished
    report = evaluate_run(
        folder / "tri_rec",
        images,
        "val",
        tmp_path,
        decoding={"beam_size": 2},
        metrics=("bleu", "cider"),
    )
    assert report.scores.images == 8
    assert set(report.scores.statistics) == set(STATISTICS)
    assert report.decode["beam_size"] == 2
    rows = json.loads((tmp_path / "val.predictions.json").read_text())
    numbers = {
        row["id"]: row["file_name"]
        for row in json.loads((raw / "captions.json").read_text())["images"]
    }
    assert len(rows) == 8
    assert all(numbers[row["image_id"]] == row["file_name"] for row in rows)
    assert (tmp_path / "val" / "gallery.png").stat().st_size
    with pytest.raises(InputError, match="no split 'dev'; known: train, val"):
        evaluate_run(folder / "tri_rec", images, "dev", tmp_path)
    with pytest.raises(InputError, match="beam_size=0: must be at least 1"):
        evaluate_run(folder / "xe", images, "val", tmp_path, decoding={"beam_size": 0})
    with pytest.raises(InputError, match="a run of R2M: it was not trained on captions of images"):
        evaluate_run(folder / "xe", images, "val", tmp_path, consensus=ConsensusOptions())


def test_other_concepts_show_what_limits_the_score(finished, images, tmp_path):
    folder, _, _ = finished
    run = folder / "tri_rec"
    loaded = Run.load(run)
    examples = {row["image_id"]: row for row in loaded.examples(open_images(str(images)), "val")}
    detected = {
        name: sorted(np.repeat(row["concepts"], row["concept_counts"]).tolist())
        for name, row in examples.items()
    }

    def ids(concepts):
        return {
            name: sorted(loaded.vocabulary.id_of(word) for word in words)
            for name, words in concepts.items()
        }

    shuffled = ids(oracle_concepts(loaded, examples.values(), "shuffled"))
    assert sorted(shuffled.values()) == sorted(detected.values())
    assert shuffled.keys() == detected.keys() and shuffled != detected
    mentioned = oracle_concepts(loaded, examples.values(), "references")
    # The batches contain these concepts, and the same ones yield the same captions.
    again = {name: [loaded.vocabulary.words[i] for i in own] for name, own in detected.items()}
    batches = list(concept_batches(loaded, again))
    assert sorted(batches[0]["concepts"].numpy().max(1)) == sorted(map(max, detected.values()))
    report = evaluate_run(
        run, images, "val", tmp_path, metrics=("cider",), concepts="references", gallery=8
    )
    assert report.settings["concepts"] == "references" and not report.sections
    rows = json.loads((tmp_path / "val.predictions.json").read_text())
    captions = loaded.captioning.caption_batches(concept_batches(loaded, mentioned))
    assert {row["file_name"]: row["caption"] for row in rows} == captions
    assert not (run / CALIBRATION_FILE).exists()
    for item in read_items(tmp_path / "val" / "index.html"):
        words = dict.fromkeys(mentioned[item["name"]])
        assert item["concepts"] == [[word, 1.0] for word in words]


def test_a_folder_and_a_list_of_images_can_be_captioned(finished, raw, images, tmp_path):
    folder, _, _ = finished
    sources = [str(raw / name) for name in ("detections.json", "tags.json")]
    rows = caption_files(
        folder / "tri_rec", raw / "images", tmp_path / "all", detections=sources
    ).rows
    assert len(rows) == 36
    assert all(row["concepts"] for row in rows)
    batches = image_batches(open_images(str(images)), "val", InputSpec((concepts_of(finished[2]),)))
    by_records = Run.load(folder / "tri_rec").captioning.caption_batches(batches)
    by_files = {row["image_id"]: row["caption"] for row in rows}
    assert by_records == {name: by_files[name] for name in by_records}
    written = json.loads((tmp_path / "all" / "captions.json").read_text())
    assert [row["caption"] for row in written] == [row["caption"] for row in rows]
    listed = tmp_path / "list.txt"
    files = sorted((raw / "images").iterdir())[:3]
    listed.write_text("\n".join(str(file) for file in files))
    some = caption_files(folder / "tri_rec", listed, tmp_path / "some", detections=sources).rows
    for row, own in zip(some, rows[:3], strict=True):
        # With fewer images per batch, the last digit of a score may differ.
        assert row.pop("log_probability") == pytest.approx(own["log_probability"], abs=2e-4)
        assert row.pop("score") == pytest.approx(own["score"], abs=2e-4)
        assert row == {key: own[key] for key in row} and len(row) + 2 == len(own)


def test_captioning_says_what_is_wrong_with_its_input(finished, raw, tmp_path):
    run = finished[0] / "tri_rec"
    sources = [str(raw / "detections.json")]
    with pytest.raises(InputError, match="no such folder"):
        caption_files(run, tmp_path / "nowhere", tmp_path, detections=sources)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"contains no images \(JPEG, PNG"):
        caption_files(run, tmp_path / "empty", tmp_path, detections=sources)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="the list of image files"):
        caption_files(run, tmp_path / "list.txt", tmp_path, detections=sources)
    (tmp_path / "list.txt").write_text("a.png\n")
    with pytest.raises(
        InputError, match=r"none of the 1 images listed exists, the first is .*a\.png"
    ):
        caption_files(run, tmp_path / "list.txt", tmp_path, detections=sources)
    shutil.copy(next((raw / "images").iterdir()), tmp_path / "empty" / "unheard_of.png")
    with pytest.raises(InputError, match="contain none of the 1 images"):
        caption_files(run, tmp_path / "empty", tmp_path, detections=sources)
    with pytest.raises(InputError, match="not the run folder"):
        caption_files(tmp_path, raw / "images", tmp_path, detections=sources)
    with pytest.raises(InputError, match="give files of detections with --detections"):
        caption_files(run, raw / "images", tmp_path)


def test_a_worker_lost_while_a_stage_is_built_is_reported(config, monkeypatch, tmp_path):
    def lost(*_):
        raise tf.errors.UnavailableError(None, None, "Socket closed")

    monkeypatch.setattr(workers, "this_worker", lambda _: workers.Worker(1, 2))
    monkeypatch.setattr(experiment, "build_model", lost)
    with pytest.raises(TrainingError, match=r"1 of 2 lost the connection .* \(Socket closed\)"):
        experiment.run_stage("xe", config, tmp_path)


def test_training_settings_reach_the_engine(config, corpora, monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(
        experiment, "train", lambda stage, options, *_, **__: given.update({stage.name: options})
    )
    config.stages.joint.update({"steps": "1.5 epochs", "evaluate_every": "50%"})
    config.stages.tri.update({"steps": "2 epochs", "evaluate_every": 0})
    config.training.update({"optimizer": "sgd", "log_every": "1 epochs", "ema_decay": 0.9})
    config.training.update({"clip_global_norm": None, "clip_value": 0.1})
    config.training.optimizer_settings.update({"momentum": 0.9, "nesterov": True})
    config.training.schedule.update({"name": "step", "warm_up": "10%", "decay_every": "2 epochs"})
    config.training.update({"jit": True, "micro_batches": 2})
    (tmp_path / "xe_rec").mkdir()
    for name in ("xe", "joint", "tri"):
        experiment.run_stage(name, config, tmp_path)

    # An epoch of `joint` is that of its sentences; one of `tri` has 24 images in batches of 8.
    epoch = math.ceil(open_corpora(corpora).count("train") / 8)
    assert epoch > 3
    joint, tri = given["joint"], given["tri"]
    assert (joint.log_every, tri.log_every) == (epoch, 3)
    assert (joint.steps, tri.steps) == (round(1.5 * epoch), 6)
    assert (joint.evaluate_every, tri.evaluate_every) == (round(joint.steps / 2), 0)
    assert joint.checkpoint_every == joint.evaluate_every
    assert tri.schedule == ScheduleOptions(name="step", warm_up=1, decay_every=6)
    assert (tri.optimizer, tri.ema_decay) == ("sgd", 0.9)
    assert tri.optimizer_settings == OptimizerSettings(momentum=0.9, nesterov=True)
    assert (tri.clip_global_norm, tri.clip_value) == (None, 0.1)
    # Options that a stage with comparisons of images does not support do not stop a curriculum.
    ways = {name: (options.jit, options.micro_batches) for name, options in given.items()}
    assert ways == {"xe": (True, 2), "joint": (False, 1), "tri": (False, 1)}


def test_training_settings_are_the_published_ones(config, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(experiment, "train", lambda stage, options, *_, **__: given.append(options))
    experiment.run_stage("xe", config, tmp_path)
    expected = {"optimizer": "adam", "clip_global_norm": 5.0, "weight_decay": 0.0}
    # None: options at their defaults, as in versions without these options.
    expected |= dict.fromkeys(["schedule", "optimizer_settings", "clip_value", "ema_decay"])
    assert expected.items() <= given[0].fixed().items()


def test_a_percentage_of_the_steps_cannot_be_the_steps(config, tmp_path):
    config.stages.xe.steps = "10%"
    with pytest.raises(
        InputError, match=r"--config\.stages\.xe\.steps=10%: must be steps as a whole number"
    ):
        experiment.run_stage("xe", config, tmp_path)
