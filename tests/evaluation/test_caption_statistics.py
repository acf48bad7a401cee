"""Statistics of captions, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from r2m.configuration.decoding_settings import BAD_ENDINGS
from r2m.evaluation.caption_scores import score_captions
from r2m.evaluation.caption_statistics import caption_statistics


def test_statistics_of_a_few_captions() -> None:
    captions = ["a dog runs", "a dog runs", "two men on a", "a man on the", "a cat", ""]
    known = np.array([True, True, False, False, False, False])
    assert caption_statistics(captions, known) == pytest.approx(
        {
            "mean_length": (3 + 3 + 4 + 4 + 2) / 6,
            "bad_endings": 2 / 6,
            "vocabulary_used": 9,
            "distinct_captions": 5 / 6,
            "novel_captions": 4 / 6,
        }
    )
    assert "novel_captions" not in caption_statistics(captions)
    assert caption_statistics([]) == {}


def test_bad_endings_are_those_of_the_reference_code() -> None:
    listed = "a an the in for at of with before after on upon near to is are am"
    assert set(listed.split()) == set(BAD_ENDINGS) and len(BAD_ENDINGS) == 17


def test_scores_come_with_statistics_of_the_tokens() -> None:
    """The full stop is neither a word nor an ending."""
    found = score_captions(
        {"a": "A dog runs on the.", "b": "A cat."},
        {"a": ["A dog runs"], "b": ["A cat sits"]},
        metrics=("bleu",),
        tokenizer="ptb_python",
        known=lambda captions: np.array([caption == "A cat." for caption in captions]),
    )
    assert found.statistics == pytest.approx(
        {
            "mean_length": 3.5,
            "bad_endings": 0.5,
            "vocabulary_used": 6,
            "distinct_captions": 1.0,
            "novel_captions": 0.5,
        }
    )
