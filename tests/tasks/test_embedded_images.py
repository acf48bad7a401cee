"""R2M's alignment of generated captions with the vectors of a trained embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from configs.retrieval import vse_plus_plus
from r2m.engine.persistence import checkpoints
from r2m.tasks.retrieval.experiment import run_retrieval
from r2m.tasks.unsupervised_captioning.experiment import run_stage
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import PairedSource
from tfrecords.pictures.feature_options import BackboneOptions


@pytest.fixture(scope="module")
def embedding(raw, tmp_path_factory) -> Path:
    """The run of an embedding, trained on features of the same kind as the image records."""
    folder = tmp_path_factory.mktemp("embedding")
    options = CaptionsOptions(
        folder=folder / "records",
        captions=(PairedSource.parse(f"coco:{raw / 'captions.json'}"),),
        splits={"train": raw / "val.txt"},
        images=(raw / "images",),
        min_count=1,
        backbone=BackboneOptions(name="VGG16", weights="none", image_size=32),
    )
    config = vse_plus_plus.get_config("test")
    config.data.captions = str(build_captions(options, progress=False).folder)
    config.stages.ranking.update(steps=1, evaluate_every=0)
    run_retrieval(config, folder)
    return folder


def test_the_image_side_is_that_of_the_embedding(config, small_network, embedding, tmp_path):
    config.model.update(small_network)
    config.image.embedding = str(embedding)
    config.stages.joint.update(steps=1, evaluate_every=1)
    summary = run_stage("joint", config, tmp_path)
    assert np.isfinite(summary.last_metrics["loss"])
    newest = checkpoints.newest(tmp_path / "joint" / "checkpoints")
    shapes = tf.train.load_checkpoint(str(newest.folder / "variables")).get_variable_to_shape_map()
    # The input size is that of the embedding's vectors, not that of the stored vectors, 512.
    assert shapes["model/image_map/kernel"][0] == 8
    assert not any("sentence_encoder" in name for name in shapes)


def test_an_embedding_of_other_features_is_refused(config, embedding_run, tmp_path):
    config.image.embedding = str(embedding_run)
    with pytest.raises(InputError, match="image_size 64"):
        run_stage("joint", config, tmp_path)
    config.image.source = "pixels"
    with pytest.raises(InputError, match=r"image\.embedding=.*must be empty"):
        run_stage("joint", config, tmp_path)
