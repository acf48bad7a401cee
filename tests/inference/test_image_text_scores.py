"""Scores of captions without references, in the report of an evaluation."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from retrieval_runs import WordEmbedding

from r2m.inference.evaluate_run import evaluate_run
from r2m.inference.image_text_scores import image_text_section, score_images_and_texts
from r2m.inference.retrieval_run import load_embedding
from tfrecords.core.errors import InputError


class Described(WordEmbedding):
    """Embedding whose image vectors are those of given descriptions."""

    def encode_records(self, records, split):
        names = {"1.jpg": "a dog on a beach", "2.jpg": "two cat", "3.jpg": "city night"}
        texts = [["a dog", "Hund"], ["cat"], ["Stadt"]]
        return list(names), self.encode_sentences(list(names.values())), texts


def test_scores_are_similarities_of_pairs(tmp_path):
    run = Described(tmp_path)
    captions = {"3.jpg": "city night", "1.jpg": "a street", "2.jpg": "Katze"}
    found = score_images_and_texts(run, None, "val", captions)
    assert found.captions["3.jpg"] == pytest.approx(1) and found.missing == 1
    street, beach = run.encode_sentences(["a street", "a dog on a beach"])
    assert found.captions["1.jpg"] == pytest.approx(float(street @ beach))
    assert found.captions.keys() == {"3.jpg", "1.jpg"}
    assert found.references.keys() == {"1.jpg", "2.jpg"}  # others have no known word
    section = image_text_section(found, {"1.jpg": 0.1, "3.jpg": 2.0, "2.jpg": 0.0}, run)
    assert section.content["correlation_with_cider"]["spearman"] == pytest.approx(1)
    assert "| captions with only unknown words | 1 |" in section.lines
    assert image_text_section(found, {}, run).content["correlation_with_cider"] is None


def test_an_evaluation_reports_them(
    att2in2_run: Path, embedding_run: Path, caption_records: Path, tmp_path: Path
) -> None:
    report = evaluate_run(
        att2in2_run,
        caption_records,
        "val",
        tmp_path,
        metrics=("cider",),
        tokenizer="ptb_python",
        retrieval_run=embedding_run,
    )
    section = json.loads((tmp_path / "val.report.json").read_text())["image_text_score"]
    assert -1 <= section["mean"] <= 1 and section["run"].endswith("/ranking")
    assert section["correlation_with_cider"]["captions"] == 4
    rows = json.loads((tmp_path / "val.predictions.json").read_text())
    run = load_embedding(embedding_run)
    names, images, _ = run.encode_records(caption_records, "val")
    for row in rows:
        own = images[names.index(row["file_name"])] @ run.encode_sentences([row["caption"]])[0]
        assert row["image_text_score"] == pytest.approx(float(own), abs=1e-5)
    assert math.isfinite(np.mean([row["image_text_score"] for row in rows]))
    assert "## Image-text score" in "\n".join(report.sections[-1].lines)


def test_other_runs_are_no_embeddings(
    att2in2_run: Path, caption_records: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="stage cross_entropy: expected that of a visual-semantic"):
        evaluate_run(att2in2_run, caption_records, "val", tmp_path, retrieval_run=att2in2_run)
