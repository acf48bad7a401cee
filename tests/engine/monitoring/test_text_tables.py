"""Formatting of numbers as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2m.engine.monitoring.text_tables import four_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8.057e-15, "0"),
        (-8.057e-15, "0"),
        (0.0, "0"),
        (5e-5, "0.00005"),
        (0.30651, "0.3065"),
        (99.999, "100"),
        (12345.6, "12346"),
        (-2.5, "-2.5"),
        (1e30, "1e+30"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_four_digits(value: float, text: str) -> None:
    assert four_digits(value) == text


@given(st.floats(-9e8, 9e8))
def test_numbers_are_read_as_they_were(value: float) -> None:
    text = four_digits(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=5.001e-4, abs=5.001e-8)
