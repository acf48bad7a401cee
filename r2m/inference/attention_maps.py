"""Where a captioner looks while it says a caption."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.captioners.pixels import PixelCaptioner
from models.captioners.registry import captioner_names
from pipelines.pixels import PixelOptions
from r2m.evaluation.attention import attention_panels, sheet
from tfrecords.vocabulary import Vocabulary


class Looked(NamedTuple):
    """What was said of an image, and where it was looked at.

    Attributes:
        words: of the caption, end marker left out.
        weights: float[len(words), gh, gw].
    """

    words: list[str]
    weights: np.ndarray


def nothing_to_show(captioner: str, features: Collection[str]) -> str | None:
    """Why there are no maps of where a captioner looks; None where there are.

    Args:
        captioner: its name.
        features: the kinds of stored features that it is shown; none where it looks at pixels.
    """
    with_attention = captioner_names(with_attention=True)
    if captioner not in with_attention:
        return f"captioner {captioner} has no attention; {', '.join(with_attention)} have"
    if "region_feature" in features:
        return "the captioner looks at regions, not at a grid: there is no map to show"
    return None


def looked(
    model: Any,
    vocabulary: Vocabulary,
    inputs: dict[str, tf.Tensor],
    captions: Sequence[str],
    grid_shape: Sequence[int] | None,
) -> list[Looked]:
    """Where a captioner looks while it says given captions.

    Args:
        model: a captioner with something to show, see `nothing_to_show`.
        vocabulary: of it.
        inputs: what its `encode` takes of B images.
        captions: B of its own, words parted by spaces.
        grid_shape: (gh, gw, D) of the stored grids; a captioner that looks at pixels has its own.
    """
    said = [caption.split() for caption in captions]
    # Each word is looked for from the ones before it; the end marker is not shown.
    rows = [[1, *(vocabulary.id_of(word) for word in words)] for words in said]
    tokens = tf.ragged.constant(rows, tf.int32).to_tensor()
    weights = model.attention(model.encode(inputs), tokens).numpy()
    if isinstance(model, PixelCaptioner):
        height, width = model.network.compute_output_shape(inputs["pixels"].shape)[1:3]
    else:
        assert grid_shape is not None, "a captioner with maps to show is shown a grid or pixels"
        height, width = grid_shape[:2]
    maps = weights.reshape(*weights.shape[:2], height, width).astype(np.float32)
    return [Looked(words, maps[i, : len(words)]) for i, words in enumerate(said)]


def seen_part(
    picture: np.ndarray, pixels: PixelOptions | None, backbone: Mapping[str, Any] | None
) -> np.ndarray:
    """What a captioner saw of a picture, which is what its maps lie over.

    Args:
        picture: uint8[H, W, 3].
        pixels: what became of it, of a captioner that looks at pixels.
        backbone: of records, what they were built with: `short_side` and `image_size`; None where
            features were made elsewhere, which are taken to be of the whole picture.

    Returns:
        uint8[h, w, 3], the middle of it, in its own proportions.
    """
    height, width = picture.shape[:2]
    if pixels is not None:
        part = pixels.crop / pixels.resize
        seen = part * height, part * width
    elif backbone is not None and backbone["short_side"] is not None:
        side = min(height, width) * backbone["image_size"] / backbone["short_side"]
        seen = side, side
    else:
        return picture
    rows, columns = (max(1, round(edge)) for edge in seen)
    top, left = (height - rows) // 2, (width - columns) // 2
    return picture[top : top + rows, left : left + columns]


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
