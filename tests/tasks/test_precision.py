"""Training in half precision and compiled by XLA, against plain float32."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.tasks.unsupervised_captioning import experiment
from r2m.tasks.unsupervised_captioning.curriculum import STAGES
from tfrecords.core.errors import InputError


@pytest.fixture
def losses(config, raw, build, build_text, tmp_path, monkeypatch):
    """Returns a function that trains a stage with changed settings and returns its loss terms.

    Each term has one value per step, of four steps.
    """
    config.model.dropout = 0.0
    config.training.log_every = 1
    corpora = build_text(tmp_path / "corpora", validation_fraction=0.0)
    splits = {"train": raw / "train.txt"}
    images = build(tmp_path / "images", corpora=corpora, splits=splits, references=None)
    config.data.corpora, config.data.images = str(corpora), str(images)

    def run(stage: str, name: str, **changes) -> dict[str, np.ndarray]:
        config.training.update(changes)
        monkeypatch.setitem(STAGES, stage, dataclasses.replace(STAGES[stage], previous=None))
        experiment.run_stage(stage, config, tmp_path / name)
        lines = [x for x in read_metrics(tmp_path / name / stage) if x["kind"] == "train"]
        return {key: np.array([x[key] for x in lines]) for key in lines[0] if "loss" in key}

    return run


def test_xla_follows_what_is_not_compiled(losses, config):
    # A single length, so that few programs are compiled, which takes most of the time.
    config.stages.xe_rec.max_length = 4
    plain = losses("xe_rec", "plain")
    compiled = losses("xe_rec", "compiled", jit=True)
    assert plain.keys() == compiled.keys() == {
        "loss", "loss/cross_entropy", "loss/sentence_reconstruction",
    }  # fmt: skip
    for name, values in plain.items():
        np.testing.assert_allclose(compiled[name], values, rtol=1e-5, err_msg=name)


def test_half_precision_follows_float32(losses, config, small_network):
    config.model.update(small_network)
    plain, half = losses("joint", "plain"), losses("joint", "half", precision="mixed_bfloat16")
    assert len(plain) == 1 + 4
    for name, values in plain.items():
        # For images, the model soon generates other words, on which it is trained.
        steps = 4 if name in ("loss/cross_entropy", "loss/sentence_reconstruction") else 1
        np.testing.assert_allclose(half[name][:steps], values[:steps], rtol=0.02, err_msg=name)
        assert not np.array_equal(half[name], values), name


def test_unknown_precision_lists_the_known_ones(config, tmp_path):
    config.training.precision = "float16"
    with pytest.raises(
        InputError, match="precision=float16: must be one of float32, mixed_bfloat16"
    ):
        experiment.run_stage("xe", config, tmp_path)
