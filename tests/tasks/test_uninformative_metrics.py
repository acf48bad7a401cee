"""Warnings about runs whose CIDEr or rewards are uninformative."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from captioner_runs import small

from losses.cider_reward import CiderReward
from pipelines import captions
from r2m.cli.training import print_summaries
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.options import TrainingOptions
from r2m.engine.state import TrainingSummary
from r2m.engine.train import train
from r2m.tasks.captioning.experiment import run_captioner
from r2m.tasks.captioning.self_critical import SelfCritical, SelfCriticalOptions
from r2m.tasks.validation import Validator
from tests.tasks.test_captioner import make_stage
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.pictures.feature_options import BackboneOptions

NO_NGRAMS = ([np.zeros(0, int)] * 4, [np.zeros(0, int)] * 4)


def test_with_one_validation_image_the_lowest_loss_is_the_best(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "val.txt").write_text((pictures / "val.txt").read_text().splitlines()[0] + "\n")
    options = CaptionsOptions(
        folder=tmp_path / "records",
        captions=(PairedSource.parse(f"coco:{pictures / 'captions.json'}"),),
        splits={"train": pictures / "train.txt", "val": tmp_path / "val.txt"},
        images=(pictures / "images",),
        min_count=1,
        backbone=BackboneOptions(name="VGG16", weights="none", image_size=32),
        shards=1,
    )
    config = small(build_captions(options, progress=False).folder, "fc")
    config.stages.cross_entropy.update({"steps": 4, "evaluate_every": 1, "learning_rate": 0.01})
    with caplog.at_level(logging.WARNING, "absl"):
        summary = run_captioner(config, tmp_path)
    found = [
        (row["cider"], row["loss"], row["step"])
        for row in read_metrics(tmp_path / "cross_entropy")
        if row["kind"] == "evaluation"
    ]
    assert [cider for cider, *_ in found] == [0.0] * 4
    assert summary.best_step == min(found)[2] > 1
    text = "\n".join(caplog.messages)
    assert text.count("only one validation image has references") == 1
    assert text.count("cider was 0 at each of the last 3 evaluations") == 1


class OneCaption:
    def caption_batches(self, batches: list[str], progress: object) -> dict[str, str]:
        return dict.fromkeys(batches, "a dog")


def test_one_caption_for_all_images_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary = build_vocabulary({"dog": 1}, min_count=1)
    validator = Validator(OneCaption(), vocabulary, ["a.png", "b.png"])  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "absl"):
        for _ in range(6):
            validator.evaluate()
    (said,) = caplog.messages
    assert "all 2 validation images had the same caption at 3 evaluations" in said


def test_equal_rewards_are_warned_of_once(
    caption_records: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As with document frequencies of a single image, whose weights are all ln 1."""
    objective = SelfCritical(
        SelfCriticalOptions(samples=2, max_length=4),
        CiderReward(*NO_NGRAMS, images=1),
        (0, 1),
    )
    stage = make_stage(captions.open_captions(str(caption_records)), "fc", objective=objective)
    options = TrainingOptions(
        steps=4, log_every=2, evaluate_every=0, checkpoint_every=0, best_metric=None,
        show_progress=False,
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "absl"):
        train(stage, options, tmp_path, strategy=make_strategy("one_device"))
    (said,) = [text for text in caplog.messages if "same reward" in text]
    assert "self_critical, up to step 2: all captions drawn of an image had" in said
    assert "document frequencies of 1 training images" in said
    rows = [row for row in read_metrics(tmp_path) if row["kind"] == "train"]
    assert [row["loss/reward_spread"] for row in rows] == [0.0, 0.0]
    # Different rewards give no warning; equal rewards above 0 have another cause.
    assert objective.remark({"loss/reward_spread": 0.1}) is None
    certain = objective.remark(
        {**dict.fromkeys(("loss/reward_spread", "loss/advantage"), 0.0), "loss/reward": 0.5}
    )
    assert certain is not None and "--config.reward.samples" in certain


def test_a_run_without_a_best_step_has_none_in_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    summary = TrainingSummary(step=8, last_metrics={"loss": 1.0}, best_metrics={}, best_step=None)
    print_summaries({"xe": summary})
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["xe", "8", "-"]
