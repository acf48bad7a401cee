"""Images scored per second, with prepared references (as in training) and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from r2m.evaluation.caption_scores import CaptionScorer, score_captions


@pytest.fixture(scope="module")
def captions(shared_data: Path) -> tuple[dict[str, str], dict[str, list[str]]]:
    """1,000 predictions and five references of each."""
    folder = shared_data / "metric_oracle_flickr30k"
    names, predictions, texts = (
        (folder / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
        for name in ("images", "predictions_init_1", "references")
    )
    references = {name: texts[5 * i : 5 * i + 5] for i, name in enumerate(names)}
    return dict(zip(names, predictions, strict=True)), references


def test_prepared_references(benchmark: Any, captions: Any) -> None:
    predictions, references = captions
    scorer = CaptionScorer(references)
    benchmark(lambda: scorer.score(predictions))
    # Measured: 0.4 s.
    assert benchmark.stats["min"] < 1.5


def test_references_scored_anew(benchmark: Any, captions: Any) -> None:
    predictions, references = captions
    metrics = ("bleu", "rouge_l", "cider")
    benchmark(
        lambda: score_captions(predictions, references, metrics=metrics, tokenizer="ptb_python")
    )
