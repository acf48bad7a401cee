"""Evaluation of embeddings on records, alone and as an ensemble."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from retrieval_examples import embedding

from r2m.evaluation.retrieval import Member, metrics_of_ranks, retrieval_metrics, retrieval_ranks
from r2m.inference import retrieval_evaluation
from r2m.inference.retrieval_evaluation import evaluate_retrieval_runs
from tfrecords.core.errors import InputError


class StoredEmbedding:
    """Embedding with fixed vectors, for images in any order."""

    similarity = "cosine"

    def __init__(self, path, seed, order=None):
        self.path = path
        self.folder = SimpleNamespace(name=str(path), checkpoint=SimpleNamespace(step=3))
        self.images, self.captions, self.owners = embedding(12, [2, 3] * 6, seed=seed, noise=2.0)
        self.order = np.arange(12) if order is None else order
        self.texts = {f"image {i} caption {j}": j for j, i in enumerate(self.owners)}

    def encode_records(self, records, split):
        captions = [[t for t, j in self.texts.items() if self.owners[j] == i] for i in self.order]
        return [f"{i}.jpg" for i in self.order], self.images[self.order], captions

    def encode_sentences(self, texts):
        return self.captions[[self.texts[text] for text in texts]]


@pytest.fixture(autouse=True)
def folders(monkeypatch):
    def opened(path):
        return SimpleNamespace(
            folder=path, name="tiny", splits=("train", "val"), digest=f"digest of {path}"
        )

    monkeypatch.setattr(retrieval_evaluation, "open_records", opened)


def test_one_embedding(tmp_path):
    run = StoredEmbedding("runs/a", 0, np.random.default_rng(0).permutation(12))
    report = evaluate_retrieval_runs([run], ["records"], "val", tmp_path)
    assert report.rows[0].metrics == retrieval_metrics(run.images, run.captions, run.owners)
    data = json.loads((tmp_path / "val.retrieval.json").read_text())
    assert data["settings"] == {"run": "runs/a", "step": "3", "records": "digest of records"}
    assert data["protocol"].startswith("tiny val: N = 12 images, 30 captions (2 to 3 per image)")


def test_an_ensemble_matches_images_by_name(tmp_path):
    runs = [
        StoredEmbedding("runs/a", 0),
        StoredEmbedding("runs/b", 1, np.random.default_rng(0).permutation(12)),
    ]
    report = evaluate_retrieval_runs(runs, ["one", "two"], "val", tmp_path)
    members = [Member(run.images, run.captions) for run in runs]
    expected = metrics_of_ranks(retrieval_ranks(members, runs[0].owners))
    assert report.rows[0].metrics == expected
    assert "2 embeddings" in report.protocol
    assert report.settings["records"] == "digest of one, digest of two"


def test_members_with_other_records_are_refused(tmp_path):
    first, second = StoredEmbedding("runs/a", 0), StoredEmbedding("runs/b", 1, np.arange(11))
    with pytest.raises(InputError, match=r"two has other images than one, for example 11\.jpg"):
        evaluate_retrieval_runs([first, second], ["one", "two"], "val", tmp_path)
    second = StoredEmbedding("runs/b", 1)
    second.texts = {f"{text}!": row for text, row in second.texts.items()}
    with pytest.raises(InputError, match="two has other captions than one"):
        evaluate_retrieval_runs([first, second], ["one", "two"], "val", tmp_path)
    with pytest.raises(InputError, match="2 folders of records for 3 runs"):
        evaluate_retrieval_runs([first] * 3, ["one", "two"], "val", tmp_path)
    with pytest.raises(InputError, match="no split 'test'; known: train, val"):
        evaluate_retrieval_runs([first], ["one"], "test", tmp_path)
