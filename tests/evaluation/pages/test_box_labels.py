"""Labels of boxes stay apart, inside the picture, at every width of the page."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from r2m.evaluation.pages.box_labels import place_labels

FRACTION = st.floats(0, 1)
BOXES = st.lists(st.tuples(FRACTION, FRACTION, FRACTION, FRACTION), max_size=20)


@given(BOXES, st.floats(1, 4))
def test_labels_do_not_overlap_in_any_larger_picture(
    boxes: list[tuple[float, ...]], scale: float
) -> None:
    sizes = [(20.0 + 15 * (number % 5), 18.0) for number in range(len(boxes))]
    places = place_labels(boxes, sizes, (280, 210))
    shown = [
        (scale * left, scale * top, scale * left + width, scale * top + height)
        for (left, top), (width, height) in (
            (place, size) for place, size in zip(places, sizes, strict=True) if place is not None
        )
    ]
    assert bool(shown) == bool(boxes)
    for number, (left, top, right, bottom) in enumerate(shown):
        assert left >= 0 and top >= 0
        assert right <= 280 * scale + 1e-6 and bottom <= 210 * scale + 1e-6
        for other in shown[:number]:
            apart = right <= other[0] + 1e-6 or other[2] <= left + 1e-6
            assert apart or bottom <= other[1] + 1e-6 or other[3] <= top + 1e-6


def test_a_label_is_at_its_box_or_left_out() -> None:
    box = (0.5, 0.5, 1.0, 1.0)
    assert place_labels([box], [(40, 18)], (280, 210)) == [(140.0, 105.0)]
    places = place_labels([box] * 50, [(40, 18)] * 50, (280, 210))
    found = [place for place in places if place is not None]
    assert 5 < len(found) < 50
    assert all(abs(left - 140) <= 45 and abs(top - 105) <= 45 for left, top in found)
