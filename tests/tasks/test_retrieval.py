"""Visual-semantic embeddings from their configuration to vectors of images and sentences."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import r2m
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.evaluation.retrieval import retrieval_metrics
from r2m.inference.retrieval_run import RetrievalRun
from r2m.tasks.retrieval.experiment import run_retrieval
from tfrecords.errors import InputError

PRESETS = ("uvs", "vse0", "vse_plus_plus", "order0", "order_plus_plus", "vse_infinity")
RECALLS = {f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)}


def small(records: Path, preset: str = "vse_plus_plus") -> Any:
    config = importlib.import_module(f"configs.retrieval.{preset}").get_config("test")
    config.data.captions = str(records)
    return config


@pytest.fixture(scope="session")
def retrieval_run(caption_records, tmp_path_factory) -> Path:
    """The run of a small VSE++, to be looked at and copied, never changed."""
    folder = tmp_path_factory.mktemp("vse")
    summary = run_retrieval(small(caption_records), folder)
    assert summary.step == 4 and RECALLS <= summary.best_metrics.keys()
    return folder / "ranking"


def test_a_run_opens_and_encodes_records_images_and_sentences(
    retrieval_run, caption_records, pictures
) -> None:
    run = r2m.load(retrieval_run.parent)
    assert isinstance(run, RetrievalRun)
    assert (run.path, run.similarity, run.size) == (retrieval_run, "cosine", 8)
    names, images, texts = run.encode_records(caption_records, "val")
    assert images.shape == (4, 8) and images.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, rtol=1e-5)
    files = [pictures / "images" / name for name in names]
    # float16 in the records.
    np.testing.assert_allclose(run.encode_images(files, batch_size=3), images, atol=2e-3)
    flat = [text for own in texts for text in own]
    sentences = run.encode_sentences(flat)
    assert sentences.dtype == np.float32 and len(sentences) == len(flat)
    for text, vector in zip(flat[:3], sentences, strict=False):
        np.testing.assert_allclose(run.encode_sentences([text])[0], vector, atol=1e-6)
    # What validation found of the best weights is found again.
    owners = np.repeat(np.arange(4), [len(own) for own in texts])
    found = retrieval_metrics(images, sentences, owners)
    best = max(
        (line for line in read_metrics(retrieval_run) if line["kind"] == "evaluation"),
        key=lambda line: line["recall_sum"],
    )
    assert all(found[name] == pytest.approx(best[name]) for name in RECALLS)
