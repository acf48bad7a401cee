"""Model cards name data, settings, metrics with their protocol, and limits."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from r2m.serving.model_card import CardFacts, model_card
from r2m.serving.signatures import ServedModel, Signature
from tfrecords.core.vocabulary import END, PAD, START, UNK, Vocabulary

REPORT = {
    "split": "flickr8k val",
    "images": 1000,
    "references": 5000,
    "tokenizer": "ptb",
    "decode": {"beam_size": 3, "max_length": 20},
    "scores": {"bleu_4": 0.21, "cider": 0.5432},
    "settings": {"step": "12"},
}
RETRIEVAL = {
    "protocol": "lite2 val: N = 1000 images",
    "metrics": {"all": {"protocol": "all 1000 images at once", "metrics": {"i2t_r1": 6.7}}},
}


def facts(folder: Path, kind: str = "captioner", **changes: Any) -> CardFacts:
    (folder / "predictions").mkdir(exist_ok=True)
    words = (PAD, START, END, "dog", UNK)
    run = SimpleNamespace(
        path=folder,
        name="updown/cross_entropy",
        config=ConfigDict(
            {
                "data": {"captions": "/data/records/flickr8k/"},
                "model": {"units": 9},
                "image": {"embedding": "/data/runs/vse"},
            }
        ),
        checkpoint=SimpleNamespace(step=12, digest="abc"),
        vocabulary=Vocabulary(words, (1,) * len(words)),
    )
    signature = Signature(None, {"images": np.array([b""])})
    left_out = {"from_features": "no <b>features</b>"}
    served = ServedModel(kind, {"serving_default": signature}, left_out, notes=("It is small.",))
    tensors = {"captions": {"dtype": "string", "shape": [None, 3]}}
    described = {"serving_default": {"inputs": {}, "outputs": tensors}}
    own = CardFacts("mine", 3, served, [run], {"beam_size": 5}, described, 10_000_000)
    return own._replace(**changes)


def test_metrics_are_those_of_the_reports_with_their_protocol(tmp_path: Path) -> None:
    own = facts(tmp_path)
    assert "None were measured before the export (r2m-evaluate" in model_card(own)
    (tmp_path / "predictions" / "val.report.json").write_text(json.dumps(REPORT))
    (tmp_path / "predictions" / "test.report.json").write_text("{damaged")
    (tmp_path / "predictions" / "val.retrieval.json").write_text(json.dumps(RETRIEVAL))
    card = model_card(own)
    assert "flickr8k val: 1000 images with 5000 references, tokenizer ptb" in card
    assert "decoding: beam_size 3, max_length 20. Step 12." in card
    assert "| CIDEr | 54.32 |" in card and "| BLEU-4 | 21.00 |" in card
    assert "test.report.json of the run is damaged" in card
    header = card.split("\n---\n")[0]
    assert '\nmodel-index:\n- name: "mine"\n  results:\n  - task: {type: image-to-text}\n' in header
    assert '    dataset: {name: "flickr8k val", type: image-captions}\n    metrics:\n' in header
    assert '    - {type: "cider", value: 54.32}' in header
    assert "| protocol | i2t_r1 |" in card and "| all 1000 images at once | 6.7 |" in card


def test_the_card_names_data_settings_and_limits_and_runs_nothing(tmp_path: Path) -> None:
    card = model_card(facts(tmp_path))
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: tensorflow\n")
    assert "pipeline_tag: image-to-text\n" in card
    for text in (
        "| captions records | flickr8k |", "| model.units | 9 |",
        "| image.embedding | vse |", "| decoding.beam_size | 5 |",
        "`captions` string[?, 3]", "at most 10 megapixels", "- It is small.", "mine/3",
    ):  # fmt: skip
        assert text in card
    assert "/data" not in card and "<b>" not in card and "&lt;b>features" in card


def test_no_text_of_a_run_folder_is_html_or_a_link(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> [x](javascript:alert(2)) | `y`"
    report = {
        **REPORT, "split": evil, "images": evil, "tokenizer": evil, "decode": {evil: evil},
        "scores": {evil: 0.5}, "settings": {"step": evil},
    }  # fmt: skip
    ranks = {"protocol": evil, "metrics": {"a": {"protocol": evil, "metrics": {evil: 1.0}}}}
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "val.report.json").write_text(json.dumps(report))
    (tmp_path / "predictions" / "val.retrieval.json").write_text(json.dumps(ranks))
    own = facts(tmp_path, name=evil)
    own.folders[0].config = ConfigDict({"data": {"captions": evil}, "model": {evil: evil}})
    text = model_card(own._replace(folders=own.folders)).partition("\n---\n")[2]
    code = 'tf.saved_model.load("<script>'
    assert text.count("<script>") == text.count(code) == 1
    assert "[x]" not in text.replace("\\[x\\]", "").replace(code, "").split("```")[2]
