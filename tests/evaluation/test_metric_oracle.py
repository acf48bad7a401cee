"""Independent check: published scores of captions that others released.

The folder contains the captions of four systems for 1,000 Flickr30k images. The published scores
were computed after PTB tokenization without punctuation. With this tokenization, all our scores
differ by at most 0.0015. On the raw text (the references have capitals and " .") BLEU-1 is 0.04 to
0.055 lower and ROUGE-L is 0.08 lower; with lower-casing alone, ROUGE-L is 0.025 lower.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from r2m.evaluation.caption_scores import CaptionScorer, score_captions
from r2m.evaluation.meteor import session
from r2m.evaluation.tokenizers import tokenize

NAMES = {
    "bleu_1": "Bleu_1",
    "bleu_2": "Bleu_2",
    "bleu_3": "Bleu_3",
    "bleu_4": "Bleu_4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE_L",
    "cider": "CIDEr",
}
SYSTEMS = ("init_1", "merge_1", "par_2", "pre_3")


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> Path:
    folder = shared_data / "metric_oracle_flickr30k"
    if not (folder / "published_scores.json").is_file():
        pytest.skip(f"no published scores at {folder}")
    return folder


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def _references(folder: Path) -> dict[str, list[str]]:
    texts = _lines(folder / "references.txt")
    return {name: texts[5 * i : 5 * i + 5] for i, name in enumerate(_lines(folder / "images.txt"))}


def _predictions(folder: Path, system: str) -> dict[str, str]:
    images, texts = _lines(folder / "images.txt"), _lines(folder / f"predictions_{system}.txt")
    return dict(zip(images, texts, strict=True))


def _check(scores: dict[str, float], folder: Path, system: str) -> None:
    published = json.loads((folder / "published_scores.json").read_text())[system]
    for name, score in scores.items():
        tolerance = 0.01 if name == "cider" else 0.003
        assert score == pytest.approx(published[NAMES[name]], abs=tolerance), name


@pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH")
def test_published_scores_are_reproduced(oracle: Path) -> None:
    references = _references(oracle)
    tokens = tokenize([text for texts in references.values() for text in texts], "ptb")
    tokenized = [tokens[start : start + 5] for start in range(0, len(tokens), 5)]
    # One METEOR process for all systems, because it takes ten seconds to load.
    with session(timeout=600) as meteor:
        for system in SYSTEMS:
            predictions = _predictions(oracle, system)
            result = score_captions(predictions, references, metrics=("bleu", "rouge_l", "cider"))
            assert result.tokenizer == "ptb" and not result.unavailable
            captions = tokenize(list(predictions.values()), "ptb")
            scores = {**result.scores, "meteor": meteor(captions, tokenized)[0]}
            assert set(scores) == set(NAMES)
            _check(scores, oracle, system)


def test_the_training_scorer_reproduces_them(oracle: Path) -> None:
    scorer = CaptionScorer(_references(oracle))
    for system in SYSTEMS:
        _check(scorer.score(_predictions(oracle, system)), oracle, system)
