"""Reports of retrieval, which always name the protocol and N."""

import json

import numpy as np
import pytest
from retrieval_examples import embedding

from r2m.evaluation import retrieval_report
from r2m.evaluation.retrieval import Member, retrieval_metrics
from r2m.evaluation.retrieval_report import (
    evaluate_retrieval,
    retrieval_markdown,
    write_retrieval_report,
)


def report(images, **changes):
    vectors, captions, owners = embedding(images, 2)
    return evaluate_retrieval(
        [Member(vectors, captions)], owners, split="tiny val", settings={"run": "a/b"}, **changes
    )


def test_files_name_protocol_and_number_of_images(tmp_path):
    made = report(20)
    data_path, text_path = write_retrieval_report(tmp_path / "new", made, "val.retrieval")
    data = json.loads(data_path.read_text())
    line = "tiny val: N = 20 images, 40 captions (2 per image), cosine similarity"
    assert data["protocol"].startswith(line) and data["images"] == 20
    vectors, captions, owners = embedding(20, 2)
    assert data["metrics"]["all"]["metrics"] == retrieval_metrics(vectors, captions, owners)
    assert [name for name, row in data["metrics"].items() if row["uses_all_queries"]] == [
        "csls",
        "inverted_softmax",
    ]
    text = text_path.read_text()
    assert line in text and "| all 20 images at once | 20 |" in text
    assert text.count("uses all queries at once") == 2 and "| run | a/b |" in text


def test_folds_are_averaged(monkeypatch):
    for module in (retrieval_report, retrieval_report.split_folds.__globals__):
        monkeypatch.setitem(getattr(module, "__dict__", module), "FOLD_IMAGES", 4)
    monkeypatch.setattr(retrieval_report.split_folds, "__kwdefaults__", {"images": 4, "folds": 5})
    made = report(22)
    vectors, captions, owners = embedding(22, 2)
    expected = np.mean(
        [
            retrieval_metrics(
                vectors[i : i + 4], captions[2 * i : 2 * i + 8], owners[2 * i : 2 * i + 8] - i
            )["recall_sum"]
            for i in range(0, 20, 4)
        ]
    )
    folds = next(row for row in made.rows if row.name == "folds")
    assert folds.metrics["recall_sum"] == pytest.approx(expected) and folds.images == 4
    assert "mean of 5 folds of 4 images" in retrieval_markdown(made)


def test_several_embeddings_are_named():
    vectors, captions, owners = embedding(12, [1, 3] * 6)
    made = evaluate_retrieval([Member(vectors, captions)] * 2, owners, split="x val")
    assert "(1 to 3 per image)" in made.protocol
    assert "mean similarities of 2 embeddings" in made.protocol
