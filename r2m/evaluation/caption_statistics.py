"""Statistics of captions that need no references: length, endings, vocabulary, novelty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from r2m.configuration.decoding_settings import BAD_ENDINGS

# Maps captions to whether each is a training caption, bool[N].
KnownCaptions = Callable[[Sequence[str]], np.ndarray]

STATISTICS = (
    "mean_length",
    "bad_endings",
    "vocabulary_used",
    "distinct_captions",
    "novel_captions",
)
"""Names of the statistics, in the order of reports."""


def caption_statistics(
    captions: Sequence[str], known: np.ndarray | None = None
) -> dict[str, float]:
    """Computes the statistics of a set of captions.

    Args:
        captions: N tokenized captions, words separated by spaces.
        known: bool[N], whether each is a training caption; None if training captions are unknown.

    Returns:
        `mean_length` in words, `bad_endings` (the share of captions that end in one of
        `BAD_ENDINGS`), `vocabulary_used` (the number of distinct words), `distinct_captions` (the
        share of captions left when repetitions are removed) and, with `known`, `novel_captions`
        (the share of captions that are not training captions). Empty without captions.
    """
    if not captions:
        return {}
    words = [caption.split() for caption in captions]
    count = len(captions)
    found = {
        "mean_length": sum(map(len, words)) / count,
        "bad_endings": sum(row[-1] in BAD_ENDINGS for row in words if row) / count,
        "vocabulary_used": float(len({word for row in words for word in row})),
        "distinct_captions": len(set(captions)) / count,
    }
    if known is not None:
        found["novel_captions"] = 1 - float(np.mean(known))
    return found
