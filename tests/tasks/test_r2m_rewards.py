"""Self-critical training of R2M on images with human captions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipelines import captions, images
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs.spec import InputSpec
from pipelines.paired_references import PairedReferences
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.inference.r2m_model import concepts_of
from r2m.inference.run import Run
from r2m.tasks.unsupervised_captioning.experiment import run_stage
from r2m.tasks.unsupervised_captioning.rewards import previous_stage
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import PairedSource


def build_pairs(raw: Path, folder: Path, vocabulary: Path | None, split: str = "train") -> Path:
    options = CaptionsOptions(
        folder=folder,
        captions=(PairedSource.parse(f"coco:{raw / 'captions.json'}"),),
        splits={split: raw / "train.txt"},
        vocabulary=vocabulary,
        min_count=None if vocabulary else 1,
        shards=1,
    )
    return build_captions(options, progress=False).folder


@pytest.fixture(scope="module")
def pairs(raw: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions of the training images, with the vocabulary of the corpus."""
    return build_pairs(raw, tmp_path_factory.mktemp("pairs") / "records", corpora)


def test_references_are_those_of_the_image(config: Any, pairs: Path) -> None:
    own, people = images.open_images(config.data.images), captions.open_captions(str(pairs))
    references = PairedReferences(own, people, "train", CaptionOptions(max_length=30))
    written = {row["image_id"]: row["texts"] for row in captions.examples(people, "train")}
    vocabulary = own.vocabulary()
    batches = images.training_batches(
        own, InputSpec((concepts_of(config),)), batch_size=8, seed=0,
        more=lambda rows: {**references(rows), "image_id": rows["image_id"]},
    )  # fmt: skip
    for batch in batches.take(2):
        for row, name in enumerate(batch["image_id"].numpy()):
            lengths = batch["reference_lengths"][row].numpy()
            texts = written[name.decode()]
            assert (lengths > 0).sum() == len(texts)
            first = batch["references"][row, 0, : lengths[0]].numpy().tolist()
            assert first[-1] == 2
            shown = vocabulary.decode(first).replace("<unk>", ".+")
            assert re.match(shown.replace(" ", r"\W*"), texts[0].lower())


def test_r2m_goes_on_by_rewards(
    config: Any, small_network: Any, pairs: Path, tmp_path: Path
) -> None:
    config.model.update(small_network)
    config.training.log_every = 1
    run_stage("xe", config, tmp_path)
    with pytest.raises(InputError, match=r"pass --captions=FOLDER, made by r2m-build-captions"):
        run_stage("reward", config, tmp_path)
    config.data.captions = str(pairs)
    config.reward.baseline = "greedy"
    before = Run.load(tmp_path / "xe").model
    # Starts from the last stage of the workdir.
    summary = run_stage("reward", config, tmp_path)
    assert summary.step == 4 and "cider" in summary.best_metrics
    rows = [row for row in read_metrics(tmp_path / "reward") if row["kind"] == "train"]
    assert {"loss/policy", "loss/reward", "loss/baseline", "loss/entropy"} <= rows[0].keys()
    run = Run.load(tmp_path / "reward")
    moved = [
        variable.path
        for variable, old in zip(run.model.variables, before.variables, strict=True)
        if "seed" not in variable.path
        and not np.array_equal(tf.convert_to_tensor(variable), tf.convert_to_tensor(old))
    ]
    assert moved
    assert not [path for path in moved if "reconstructor" in path or "image_map" in path]
    # The same command resumes.
    config.stages.reward.steps = 5
    assert run_stage("reward", config, tmp_path).step == 5


def test_captions_that_do_not_belong_to_the_images_are_refused(
    config: Any, raw: Path, corpora: Path, pairs: Path, tmp_path: Path
) -> None:
    own, options = images.open_images(config.data.images), CaptionOptions()
    other = captions.open_captions(str(build_pairs(raw, tmp_path / "words", None)))
    with pytest.raises(InputError, match="sha256"):
        PairedReferences(own, other, "train", options)
    people = captions.open_captions(str(build_pairs(raw, tmp_path / "val", corpora, "val")))
    with pytest.raises(InputError, match=r"no split 'train' with captions of the images, only val"):
        PairedReferences(own, people, "train", options)
    with pytest.raises(InputError, match=r"no image of split 'val' .* has a caption in"):
        PairedReferences(own, people, "val", options)


def test_the_stage_before_rewards(tmp_path: Path) -> None:
    assert previous_stage(tmp_path) == "tri_rec"
    for name in ("joint", "xe", "tri"):
        (tmp_path / name).mkdir()
        assert previous_stage(tmp_path) == name
