"""Attention panels: one per word, bright at attended cells."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from r2m.evaluation.attention_pictures import STYLES, animation, attention_panels, png, sheet

PICTURE = np.full((60, 80, 3), 120, np.uint8)


def one_cell(row: int, column: int) -> np.ndarray:
    weights = np.zeros((7, 7), np.float32)
    weights[row, column] = 1.0
    return weights


@pytest.mark.parametrize("style", STYLES)
def test_the_cell_that_was_looked_at_is_bright(style: str) -> None:
    weights = np.stack([one_cell(0, 0), one_cell(6, 3)])
    whole, first, second = attention_panels(PICTURE, ["a", "dog"], weights, style=style)
    assert whole.size == first.size == second.size
    banner = whole.height - round(whole.width * 60 / 80)
    for panel, (row, column) in ((first, (0, 0)), (second, (6, 3))):
        light = np.asarray(panel, float)[banner:].mean(axis=-1)
        height, width = light.shape
        cells = light[: height // 7 * 7, : width // 7 * 7]
        cells = cells.reshape(7, height // 7, 7, width // 7).mean(axis=(1, 3))
        assert np.unravel_index(cells.argmax(), cells.shape) == (row, column)
        assert cells.max() > 2 * np.median(cells)


def test_uniform_attention_is_not_black() -> None:
    uniform = np.full((1, 4, 4), 1 / 16, np.float32)
    _, panel = attention_panels(PICTURE, ["a"], uniform, style="grid")
    assert np.asarray(panel)[-20:].mean() >= 120


def test_sheet_and_animation_have_a_panel_a_word() -> None:
    words = [f"word{i}" for i in range(9)]
    panels = attention_panels(PICTURE, words, np.stack([one_cell(i % 7, 2) for i in range(9)]))
    width, height = panels[0].size
    with Image.open(io.BytesIO(png(sheet(panels, "nine words")))) as image:
        assert image.width >= 6 * width and image.height >= 2 * height
    with Image.open(io.BytesIO(animation(panels))) as image:
        assert image.n_frames == 10
        assert image.info["loop"] == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown style 'rough'; known: grid, smooth"):
        attention_panels(PICTURE, [], np.zeros((0, 7, 7)), style="rough")
    with pytest.raises(ValueError, match="2 words and 1 attention maps"):
        attention_panels(PICTURE, ["a", "dog"], np.ones((1, 7, 7)))
