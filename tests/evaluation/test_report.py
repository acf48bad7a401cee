"""Reports: required contents, unavailable metrics, and escaped text."""

from __future__ import annotations

import json
from pathlib import Path

from r2m.evaluation.caption_scores import CaptionScores
from r2m.evaluation.report import Report, report_markdown, versions, write_report


def _report(**changes: object) -> Report:
    scores = CaptionScores(
        scores={"cider": 0.31234, "bleu_4": 0.101},
        per_image={},
        unavailable={"meteor": "Java is not installed | sorry"},
        tokenizer="ptb_python",
        images=1000,
        references=5000,
        empty_predictions=2,
        statistics={"mean_length": 9.512, "novel_captions": 0.8125, "vocabulary_used": 312.0},
    )
    options = {"split": "flickr8k/val", "scores": scores, "decode": {"method": "beam", "size": 3}}
    return Report(**{**options, **changes})  # type: ignore[arg-type]


def test_files_name_everything(tmp_path: Path) -> None:
    made = _report(settings={"checkpoint": Path("best")}, predictions="predictions.json")
    data_path, text_path = write_report(tmp_path / "new", made)
    data = json.loads(data_path.read_text(encoding="utf-8"))
    assert data["split"] == "flickr8k/val" and data["images"] == 1000
    assert data["tokenizer"] == "ptb_python" and data["decode"] == {"method": "beam", "size": 3}
    assert data["scores"] == {"bleu_4": 0.101, "cider": 0.31234}
    assert data["statistics"]["novel_captions"] == 0.8125
    assert list(data["unavailable"]) == ["meteor"] and "meteor" not in data["scores"]
    assert data["settings"] == {"checkpoint": "best"}
    assert {"python", "numpy", "pycocoevalcap"} <= set(data["versions"]) == set(versions())
    text = text_path.read_text(encoding="utf-8")
    assert "| CIDEr | 31.23 |" in text and "| BLEU-4 | 10.10 |" in text
    assert "| METEOR | unavailable: Java is not installed \\| sorry |" in text
    for fact in ("| images | 1000 |", "| tokenizer | ptb_python |", "| decode: size | 3 |",
                 "| split | flickr8k/val |", "| predictions | predictions.json |",
                 "| images without a caption (scored 0) | 2 |",
                 "| mean length in words | 9.512 |", "| distinct words | 312 |",
                 "| captions that are not training captions | 81.2 % |"):  # fmt: skip
        assert fact in text


def test_markdown_cannot_be_broken_out_of() -> None:
    text = report_markdown(_report(split="a|b\n# c <script>", settings={"x": "1\n2"}))
    assert "<script>" not in text and "\n# c" not in text and "| x | 1 2 |" in text
