"""Texts and boxes of the contact sheet."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from r2m.evaluation.pages.contact_sheet import drawable, square, wrap


@given(st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_wrapped_captions_fit_their_tile(caption: str) -> None:
    font = ImageFont.load_default(size=17)
    lines = wrap(drawable(caption), font)
    assert 1 <= len(lines) <= 4 and all(font.getlength(line) <= 300 for line in lines)


def test_accents_stay_readable() -> None:
    assert drawable("café naïve 犬 ﬁn") == "cafe naive ? fin"


def test_boxes_are_drawn_where_the_crop_shows_them() -> None:
    picture = Image.new("RGB", (200, 100))
    # The square in the middle begins a quarter from the left; the second box is cropped away.
    tile = square(picture, [("", (0.5, 0.5, 1.0, 0.75)), ("gone", (0.0, 0.0, 1.0, 0.2))])
    rows, columns = np.nonzero(np.asarray(tile)[..., 0] == 214)
    assert np.allclose([rows.min(), rows.max(), columns.min(), columns.max()], [150, 299] * 2, 0, 2)
    assert not (np.asarray(tile) == (31, 119, 180)).all(-1).any()
