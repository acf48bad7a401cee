"""Where a captioner looks while it says a caption."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from r2m.evaluation.attention import attention_panels, sheet
from tfrecords.errors import InputError
from tfrecords.vocabulary import Vocabulary


class Looked(NamedTuple):
    """What was said of an image, and where it was looked at.

    Attributes:
        words: of the caption, end marker left out.
        weights: float[len(words), gh, gw].
    """

    words: list[str]
    weights: np.ndarray


def looked(
    model: Any, vocabulary: Vocabulary, inputs: dict[str, tf.Tensor], captions: Sequence[str]
) -> list[Looked]:
    """Where a captioner looks while it says given captions.

    Args:
        model: a captioner with attention.
        vocabulary: of it.
        inputs: what its `encode` takes of B images.
        captions: B of its own, words parted by spaces.

    Raises:
        InputError: it has no attention, or not over a square grid.
    """
    said = [caption.split() for caption in captions]
    # Each word is looked for from the ones before it; the end marker is not shown.
    rows = [[1, *(vocabulary.id_of(word) for word in words)] for words in said]
    tokens = tf.ragged.constant(rows, tf.int32).to_tensor()
    try:
        weights = model.attended(model.encode(inputs), tokens).numpy()
    except ValueError as error:
        raise InputError(str(error)) from error
    side = isqrt(weights.shape[-1])
    if side * side != weights.shape[-1] or "region_lengths" in inputs:
        raise InputError(
            f"the captioner looks at {weights.shape[-1]} regions, not at a square grid: there is "
            "no map to show"
        )
    maps = weights.reshape(*weights.shape[:2], side, side).astype(np.float32)
    return [Looked(words, maps[i, : len(words)]) for i, words in enumerate(said)]


def attention_sheets(
    pictures: Sequence[np.ndarray], captions: Sequence[str], found: Sequence[Looked]
) -> np.ndarray:
    """A sheet of panels for each image, on white where one is smaller: uint8[N, H, W, 3].

    Args:
        pictures: uint8[height, width, 3] each.
        captions: what was said of each.
        found: where it was looked at.
    """
    sheets = [
        np.asarray(sheet(attention_panels(picture, own.words, own.weights), caption))
        for picture, caption, own in zip(pictures, captions, found, strict=True)
    ]
    height, width = np.max([each.shape[:2] for each in sheets], axis=0)
    whole = np.full((len(sheets), height, width, 3), 255, np.uint8)
    for place, each in zip(whole, sheets, strict=True):
        place[: each.shape[0], : each.shape[1]] = each
    return whole
