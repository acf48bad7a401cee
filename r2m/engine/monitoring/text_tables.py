"""Tables and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

# Numbers below half of the last decimal place are shown as 0: scores of captions that share no
# n-gram with their references are about 1e-15.
_MOST_DECIMALS = 7
_MOST_PLAIN = 1e9


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Returns rows of cells as aligned columns; those in `right` are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def four_digits(value: float) -> str:
    """Formats a number with four significant digits and no exponent: 0.00005, 0.3065, 12346, nan.

    Numbers below 5e-8 become 0; only numbers from 1e9 on have an exponent.
    """
    if not math.isfinite(value) or abs(value) >= _MOST_PLAIN:
        return f"{value:.4g}"
    if value == 0:
        return "0"
    decimals = 3 - math.floor(math.log10(abs(value)))
    text = f"{value:.{min(max(decimals, 0), _MOST_DECIMALS)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
