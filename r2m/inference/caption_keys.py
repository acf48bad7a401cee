"""Captions of an image in the form of JSON files and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from r2m.inference.captioning import Hypothesis

_DIGITS = 4  # decimals of logarithms, scores and confidences


def caption_keys(hypotheses: Sequence[Hypothesis], decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the best caption with its scores and, if there are several, all in `captions`.

    Args:
        hypotheses: captions of an image, best first; an image without captions gets no keys.
        decoding: decoding settings.
    """
    penalty = {name: decoding[name] for name in ("length_penalty", "length_normalization")}
    found = [_scored(one, penalty) for one in hypotheses]
    if len(found) > 1:
        return {**found[0], "captions": found}
    return found[0] if found else {}


def _scored(found: Hypothesis, penalty: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a caption with its scores."""
    scored = {
        "caption": found.caption,
        "log_probability": round(found.log_probability, _DIGITS),
        "score": round(found.score, _DIGITS),
        **penalty,
    }
    if found.confidence is not None:
        scored["confidence"] = round(found.confidence, _DIGITS)
    if found.reranked is not None:
        scored["consensus_score"] = round(found.reranked, _DIGITS)
    return scored
