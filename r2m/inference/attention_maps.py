"""Attention maps of captioners: the weights of the cells of an image, per word of a caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from models.captioners.pixels import PixelCaptioner
from models.captioners.registry import captioner_names
from pipelines.inputs.pixels import Pixels
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from r2m.evaluation.attention_pictures import attention_panels, sheet
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.run_folder import RunFolder
from r2m.inference.run_kinds import kind_of
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import Vocabulary


class AttentionMaps(NamedTuple):
    """Attention of a captioner over an image, word by word.

    Attributes:
        words: words of the caption, end marker left out.
        weights: float[len(words), gh, gw], each map of sum 1.
    """

    words: list[str]
    weights: np.ndarray


def why_no_maps(captioner: str, inputs: InputSpec) -> str | None:
    """Returns the reason why a captioner has no attention maps; None if it has them.

    Args:
        captioner: name of the captioner.
        inputs: inputs that it reads.
    """
    with_attention = captioner_names(with_attention=True)
    if captioner not in with_attention:
        return f"captioner {captioner} has no attention, unlike {', '.join(with_attention)}"
    if inputs.find(Regions) is not None:
        return "its attention covers regions, not a grid: it has no maps to show"
    return None


def inputs_with_maps(folder: RunFolder) -> TrainedInputs:
    """Returns the inputs of a run; raises `InputError` if it has no attention maps."""
    if kind_of(folder).name != "captioning":
        *others, last = captioner_names(with_attention=True)
        raise InputError(
            f"{folder.path} is a run of R2M, which has no attention over images: give "
            f"the run of {', '.join(others)} or {last}, for example "
            "workspace/runs/updown/cross_entropy"
        )
    captioner = folder.config.model.captioner
    trained_on = TrainedInputs.read(folder)
    why = why_no_maps(captioner, trained_on.inputs)
    if why is not None:
        raise InputError(f"{folder.path}: {why}")
    return trained_on


def attention_maps(
    model: Any,
    vocabulary: Vocabulary,
    inputs: dict[str, tf.Tensor],
    captions: Sequence[str],
    grid_shape: Sequence[int] | None,
) -> list[AttentionMaps]:
    """Computes the attention of a captioner over images, for given captions.

    Args:
        model: a captioner with attention over a grid, see `why_no_maps`.
        vocabulary: the model's vocabulary.
        inputs: inputs of the model's `encode`, of B images.
        captions: B captions, words separated by spaces.
        grid_shape: (gh, gw, D) of the stored grids; a captioner of pixels does not need it.
    """
    sentences = [caption.split() for caption in captions]
    # The attention for a word depends on the words before it; the end marker is not shown.
    rows = [[1, *(vocabulary.id_of(word) for word in words)] for words in sentences]
    tokens = tf.ragged.constant(rows, tf.int32).to_tensor()
    weights = model.attention(model.encode(inputs), tokens).numpy()
    if isinstance(model, PixelCaptioner):
        height, width = model.network.compute_output_shape(inputs["pixels"].shape)[1:3]
    else:
        assert grid_shape is not None, "a captioner with maps reads a grid or pixels"
        height, width = grid_shape[:2]
    maps = weights.reshape(*weights.shape[:2], height, width).astype(np.float32)
    return [AttentionMaps(words, maps[i, : len(words)]) for i, words in enumerate(sentences)]


def visible_part(
    picture: np.ndarray, pixels: Pixels | None, backbone: Mapping[str, Any] | None
) -> np.ndarray:
    """Returns the part of a picture that a captioner reads, and that its maps cover.

    Args:
        picture: uint8[H, W, 3].
        pixels: crop of a captioner of pixels; None for stored features.
        backbone: backbone options of the records, with `short_side` and `image_size`; None for
            features that R2M did not compute, which are assumed to cover the whole picture.

    Returns:
        uint8[h, w, 3], the center of the picture, in its aspect ratio.
    """
    shape = picture.shape[0], picture.shape[1]
    top, left, height, width = visible_box(*shape, pixels, backbone)
    whole = (height, width) == shape
    return picture if whole else picture[top : top + height, left : left + width]


def visible_box(
    height: int, width: int, pixels: Pixels | None, backbone: Mapping[str, Any] | None
) -> tuple[int, int, int, int]:
    """Returns top, left, height and width of the part of a picture that a captioner reads.

    Args:
        height: height of the picture, in pixels.
        width: width of the picture, in pixels.
        pixels: see `visible_part`.
        backbone: see `visible_part`.
    """
    if pixels is not None:
        part = pixels.crop / pixels.resize
        size = part * height, part * width
    elif backbone is not None and backbone["short_side"] is not None:
        side = min(height, width) * backbone["image_size"] / backbone["short_side"]
        size = side, side
    else:
        return 0, 0, height, width
    rows, columns = (max(1, round(edge)) for edge in size)
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def visible_fractions(
    height: int, width: int, pixels: Pixels | None, backbone: Mapping[str, Any] | None
) -> tuple[float, float, float, float]:
    """Returns `visible_box` as fractions of the picture's height and width."""
    top, left, rows, columns = visible_box(height, width, pixels, backbone)
    return top / height, left / width, rows / height, columns / width


def attention_sheets(
    pictures: Sequence[np.ndarray], captions: Sequence[str], maps: Sequence[AttentionMaps]
) -> np.ndarray:
    """Draws a sheet of panels per image, padded with white to one size: uint8[N, H, W, 3].

    Args:
        pictures: uint8[height, width, 3] each.
        captions: captions of the pictures.
        maps: attention maps of the captions.
    """
    sheets = [
        np.asarray(sheet(attention_panels(picture, own.words, own.weights), caption))
        for picture, caption, own in zip(pictures, captions, maps, strict=True)
    ]
    height, width = np.max([each.shape[:2] for each in sheets], axis=0)
    whole = np.full((len(sheets), height, width, 3), 255, np.uint8)
    for place, each in zip(whole, sheets, strict=True):
        place[: each.shape[0], : each.shape[1]] = each
    return whole
