"""Stages and the curriculum on real (small) records: training, resuming, starting, refusing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from r2m.engine.errors import TrainingError
from r2m.stages import experiment
from r2m.stages.captioning import caption_files, evaluate_run
from tfrecords.errors import InputError
from tfrecords.readers.detections import DetectionSource


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
        model, vocabulary, _ = experiment.load_captioner(run)
        assert model.vocabulary_size == len(vocabulary)


def test_a_stage_starts_from_the_best_weights_of_the_one_before(finished):
    folder, _, _ = finished
    before, _, _ = experiment.load_captioner(folder / "tri")
    after, _, _ = experiment.load_captioner(folder / "tri_rec")
    # Stages 3 and 4 do not reach the softmax: it is what stage 2 left.
    np.testing.assert_array_equal(before.softmax_weights, after.softmax_weights)
    assert not np.array_equal(before.embedding.embeddings, after.embedding.embeddings)


def test_a_finished_curriculum_is_not_trained_again(finished):
    folder, summaries, config = finished
    written = {p: p.stat().st_mtime_ns for p in folder.rglob("checkpoint.json")}
    assert experiment.run_curriculum(config, folder) == summaries
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("checkpoint.json")} == written


def test_an_interrupted_stage_ends_as_an_uninterrupted_one(finished, config, tmp_path):
    folder, _, _ = finished
    config.stages.xe.steps = 2
    experiment.run_stage("xe", config, tmp_path)
    config.stages.xe.steps = 4
    experiment.run_stage("xe", config, tmp_path)
    first, again = (
        experiment.checkpoints.newest(run / "xe" / "checkpoints") for run in (folder, tmp_path)
    )
    import tensorflow as tf

    readers = [tf.train.load_checkpoint(str(c.folder / "variables")) for c in (first, again)]
    names = readers[0].get_variable_to_shape_map()
    assert names == readers[1].get_variable_to_shape_map()
    for name in names:
        np.testing.assert_array_equal(*(reader.get_tensor(name) for reader in readers))


def test_joint_training_reports_all_four_terms(config, tmp_path):
    summary = experiment.run_stage("joint", config, tmp_path)
    assert {
        "cross_entropy", "sentence_reconstruction", "triplet", "image_reconstruction"
    } <= set(summary.last_metrics)  # fmt: skip


@pytest.mark.parametrize(
    "overrides",
    [
        {"decoder": "lstm"},
        {"fusion": "concat"},
        {"reconstructor": "lstm", "tie_embeddings": True, "image_projection": "frozen"},
    ],
    ids=str,
)
def test_the_ablations_train(config, tmp_path, overrides):
    config.model.update(overrides)
    for name in ("xe", "xe_rec", "tri", "tri_rec"):
        config.stages[name].steps = 2
        assert experiment.run_stage(name, config, tmp_path).step == 2


def test_pixels_can_take_the_place_of_stored_features(config, build, tmp_path):
    folder = build(tmp_path / "records", backbone=None)
    config.data.images = str(folder)
    with pytest.raises(InputError, match="--backbone"):
        experiment.run_stage("joint", config, tmp_path)
    config.image.update(
        {"source": "pixels", "resize": 40, "crop": 32, "backbone": "DenseNet121", "weights": "none"}
    )
    summary = experiment.run_stage("joint", config, tmp_path)
    assert np.isfinite(summary.last_metrics["triplet"])


def test_text_alone_trains_and_images_can_come_later(config, images, tmp_path):
    config.data.images = ""
    for name in ("xe", "xe_rec"):
        summary = experiment.run_stage(name, config, tmp_path)
        assert set(summary.best_metrics) >= {"loss", "cross_entropy"}
        assert "cider" not in summary.best_metrics
    with pytest.raises(InputError, match="--images"):
        experiment.run_stage("tri", config, tmp_path)
    config.data.images = str(images)
    assert experiment.run_stage("tri", config, tmp_path).step == 4


def test_images_without_references_are_captioned_but_not_scored(config, build, tmp_path):
    folder = build(tmp_path / "records", references=None, backbone=None)
    config.data.images = str(folder)
    summary = experiment.run_stage("xe", config, tmp_path)
    assert "cider" not in summary.best_metrics
    with pytest.raises(InputError, match="no reference captions"):
        evaluate_run(tmp_path / "xe", folder, "val", tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "val.predictions.json").read_text())) == 8


def test_a_stage_without_its_predecessor_says_what_to_do(config, tmp_path):
    with pytest.raises(InputError, match=r"stage tri starts from .* xe_rec.*--init_from"):
        experiment.run_stage("tri", config, tmp_path)


def test_no_corpora_says_which_flag(config, tmp_path):
    config.data.corpora = ""
    with pytest.raises(InputError, match="--corpora"):
        experiment.run_stage("xe", config, tmp_path)


def test_another_vocabulary_is_refused(finished, config, raw, images, tmp_path):
    from tfrecords.corpora import CorporaOptions, build_corpora
    from tfrecords.readers.text import parse_source

    build_corpora(
        CorporaOptions(
            folder=tmp_path / "corpora",
            name="other",
            sources=[parse_source(str(raw / "corpus.txt"))],
            label_maps=[raw / "detections.json", raw / "tags.json"],
            min_count=9,
        ),
        progress=False,
    )
    config.data.corpora = str(tmp_path / "corpora")
    with pytest.raises(InputError, match="vocabular"):
        experiment.run_stage("xe", config, tmp_path)
    config.data.images = ""
    with pytest.raises(TrainingError, match="vocabulary"):
        experiment.run_stage("xe", config, tmp_path / "run", init_from=finished[0] / "xe")


def test_impossible_settings_name_the_config(config, tmp_path):
    config.model.heads = 5
    with pytest.raises(InputError, match=r"config\.model: .*divisible"):
        experiment.run_stage("xe", config, tmp_path)


def test_evaluation_writes_predictions_report_and_gallery(finished, images, tmp_path):
    folder, _, _ = finished
    report = evaluate_run(
        folder / "tri_rec", images, "val", tmp_path, overrides={"beam_size": 2}, metrics=("bleu", "cider")
    )  # fmt: skip
    assert report.scores.images == 8
    assert report.decode["beam_size"] == 2
    assert len(json.loads((tmp_path / "val.predictions.json").read_text())) == 8
    assert (tmp_path / "val" / "gallery.png").stat().st_size
    with pytest.raises(InputError, match="no split 'dev'; known: train, val"):
        evaluate_run(folder / "tri_rec", images, "dev", tmp_path)
    with pytest.raises(InputError, match="decoding: beam_size"):
        evaluate_run(folder / "xe", images, "val", tmp_path, overrides={"beam_size": 0})


def test_a_folder_and_a_list_of_images_can_be_captioned(finished, raw, tmp_path):
    folder, _, _ = finished
    sources = [DetectionSource(path=raw / name) for name in ("detections.json", "tags.json")]
    rows = caption_files(folder / "tri_rec", raw / "images", sources, tmp_path / "all")
    assert len(rows) == 36
    assert all(row["concepts"] for row in rows)
    written = json.loads((tmp_path / "all" / "captions.json").read_text())
    assert [row["caption"] for row in written] == [row["caption"] for row in rows]
    listed = tmp_path / "list.txt"
    files = sorted((raw / "images").iterdir())[:3]
    listed.write_text("\n".join(str(file) for file in files))
    some = caption_files(folder / "tri_rec", listed, sources, tmp_path / "some")
    assert some == rows[:3]


def test_captioning_says_what_is_wrong_with_its_input(finished, raw, tmp_path):
    run = finished[0] / "tri_rec"
    sources = [DetectionSource(path=raw / "detections.json")]
    with pytest.raises(InputError, match="no such folder"):
        caption_files(run, tmp_path / "nowhere", sources, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image files"):
        caption_files(run, tmp_path / "empty", sources, tmp_path)
    (tmp_path / "list.txt").write_text("a.png\n")
    with pytest.raises(InputError, match=r"1 of the 1 images listed do not exist"):
        caption_files(run, tmp_path / "list.txt", sources, tmp_path)
    shutil.copy(next((raw / "images").iterdir()), tmp_path / "empty" / "unheard_of.png")
    with pytest.raises(InputError, match="know none of the 1 images"):
        caption_files(run, tmp_path / "empty", sources, tmp_path)
    with pytest.raises(InputError, match="not the run folder"):
        caption_files(tmp_path, raw / "images", sources, tmp_path)
