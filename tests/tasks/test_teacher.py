"""Embeddings that learn the similarities of trained embeddings."""

from __future__ import annotations

import importlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import r2m
from pipelines import captions
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.tasks.retrieval import teacher as teacher_module
from r2m.tasks.retrieval.experiment import run_retrieval
from r2m.tasks.retrieval.teacher import open_teacher
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import PairedSource


@pytest.fixture(scope="module")
def teacher(embedding_run, caption_records):
    records = captions.open_captions(str(caption_records))
    return open_teacher([str(embedding_run)], str(caption_records), records)


def test_the_vectors_are_those_of_the_run_for_each_image_and_caption(
    teacher, embedding_run, caption_records
) -> None:
    run = r2m.load(embedding_run)
    names, images, texts = run.encode_records(caption_records, "train")
    place = 3
    found = teacher.vectors(tf.constant([names[place], names[0]]), tf.constant([[1, 0], [0, 0]]))
    np.testing.assert_allclose(found["teacher_images"], images[[place, 0]], atol=2e-3)
    of_image = run.encode_sentences([texts[place][1], texts[place][0]])
    np.testing.assert_allclose(found["teacher_sentences"][0], of_image, atol=2e-3)
    one = teacher.vectors(tf.constant([names[place]]), tf.constant([[1]]))
    np.testing.assert_allclose(one["teacher_sentences"][0], of_image[:1], atol=2e-3)
    assert teacher.size == run.size


@pytest.mark.parametrize("several", [1, 5])
def test_a_student_approaches_the_similarities_of_its_teacher(
    several, embedding_run, caption_records, tmp_path
) -> None:
    config = importlib.import_module("configs.retrieval.contrastive").get_config("test")
    config.data.captions = str(caption_records)
    config.data.captions_per_image = several
    config.teacher.update(runs=f"{embedding_run}, {embedding_run}", weight=1.0, temperature=0.1)
    config.training.log_every = 1
    config.stages.ranking.update(steps=30, batch_size=20, evaluate_every=0, learning_rate=0.02)
    run_retrieval(config, tmp_path)
    lines = read_metrics(tmp_path / "ranking")
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_records_with_other_captions_are_refused(
    embedding_run, caption_records, pictures, tmp_path
) -> None:
    found = json.loads((pictures / "captions.json").read_text())
    changed = (pictures / "train.txt").read_text().split()[1]
    ids = {image["file_name"]: image["id"] for image in found["images"]}
    for annotation in found["annotations"]:
        if annotation["image_id"] == ids[changed]:
            annotation["caption"] += " again"
    (tmp_path / "captions.json").write_text(json.dumps(found))
    options = CaptionsOptions(
        folder=tmp_path / "records",
        captions=(PairedSource.parse(f"coco:{tmp_path / 'captions.json'}"),),
        splits={"train": pictures / "train.txt"},
        min_count=1,
    )
    other = build_captions(options, progress=False).folder
    records = captions.open_captions(str(caption_records))
    with pytest.raises(
        InputError, match=rf"^config.teacher.records: 1 training images .*{changed}"
    ):
        open_teacher([str(embedding_run)], str(other), records)


def test_a_teacher_of_order_similarity_is_refused(
    caption_records, embedding_run, monkeypatch
) -> None:
    ensemble = SimpleNamespace(similarity="order")
    monkeypatch.setattr(teacher_module.EmbeddingEnsemble, "load", lambda _: ensemble)
    records = captions.open_captions(str(caption_records))
    with pytest.raises(InputError, match=r"config.teacher.runs: .* by order similarity"):
        open_teacher([str(embedding_run)], str(caption_records), records)
