"""Training on sentences drawn by the concepts of images, with noise and hidden words."""

from __future__ import annotations

import json
import logging
import re

import numpy as np
import pytest
import tensorflow as tf

from r2m.engine.errors import TrainingError
from r2m.engine.persistence import checkpoints
from r2m.tasks.unsupervised_captioning import experiment
from tfrecords.core.errors import InputError


def variables(folder):
    newest = checkpoints.newest(folder / "checkpoints").folder
    reader = tf.train.load_checkpoint(str(newest / "variables"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def metrics(folder, kind):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_an_interrupted_stage_ends_as_an_uninterrupted_one(config, small_network, tmp_path, caplog):
    config.model.update(small_network)
    config.data.update(
        match_images=1.0, concept_noise=1.0, word_dropout=0.3, scheduled_sampling=0.5
    )
    config.training.log_every = 2
    with caplog.at_level(logging.INFO, "absl"):
        assert experiment.run_stage("xe", config, tmp_path / "whole").step == 4
    (line,) = {message for message in caplog.messages if "drawn by the concepts" in message}
    effective, count = map(
        int, re.findall(r"varied as (\d+) equally frequent ones of (\d+)", line)[0]
    )
    assert 1 < effective < count
    assert len(re.findall(r"\w+ \d+\.\d% -> \d+\.\d%", line)) > 1
    for steps in (2, 4):
        config.stages.xe.steps = steps
        experiment.run_stage("xe", config, tmp_path / "parts")
    whole, parts = (variables(tmp_path / name / "xe") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(value, parts[name])
    files = [tmp_path / name / "xe" / "metrics.jsonl" for name in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()

    config.data.match_images = 0.0
    experiment.run_stage("xe", config, tmp_path / "plain")
    drawn, plain = (tmp_path / name / "xe" for name in ("whole", "plain"))
    assert metrics(drawn, "train")[0]["loss"] != metrics(plain, "train")[0]["loss"]

    with pytest.raises(TrainingError, match=r"settings differ: .*match_images"):
        experiment.run_stage("xe", config, tmp_path / "whole")
    config.data.match_images = 0.5
    with pytest.raises(TrainingError, match=r"settings differ: .*match_images\.share 0\.5, was 1"):
        experiment.run_stage("xe", config, tmp_path / "whole")
    config.data.update(match_images=1.0, word_dropout=0.1)
    with pytest.raises(TrainingError, match=r"settings differ: word_dropout 0\.1, was 0\.3"):
        experiment.run_stage("xe", config, tmp_path / "whole")


def test_it_requires_images(config, build, tmp_path):
    config.data.match_images, config.data.images = 0.5, ""
    with pytest.raises(InputError, match=r"config\.data\.match_images .* pass --images=FOLDER"):
        experiment.run_stage("xe", config, tmp_path)
    config.data.images = str(build(tmp_path / "records", splits={}, references=None))
    with pytest.raises(InputError, match=r"match_images.*|only .*--split=train=FILE"):
        experiment.run_stage("xe", config, tmp_path)


@pytest.mark.parametrize("share", [-0.1, 1.5, "x"])
def test_values_outside_their_range_name_the_field(config, tmp_path, share):
    config.data.unlock()
    with config.data.ignore_type():
        config.data.match_images = share
    with pytest.raises(InputError, match=r"--config\.data\.match_images=.*: must"):
        experiment.run_stage("xe", config, tmp_path)
