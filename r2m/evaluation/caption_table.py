"""Captions of images as a table for spreadsheets, and as JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from r2m.evaluation.output_files import write_parts

COLUMNS = (
    "image_id",
    "rank",
    "caption",
    "log_probability",
    "score",
    "length_penalty",
    "length_normalization",
    "confidence",
    "consensus_score",
    "note",
)
"""Columns of the table; the last three may be empty."""


def write_caption_table(
    path: Path | str, rows: Iterable[Mapping[str, Any]], more: Sequence[str] = ()
) -> Path:
    """Writes captions as CSV (RFC 4180), one line per caption.

    The text is UTF-8 with a byte-order mark, without which Excel assumes another encoding.

    Args:
        path: file to write; replaced atomically.
        rows: one per image with the keys of `COLUMNS` that apply, `rank` left out; several captions
            of an image are in `captions`, best first.
        more: keys of `rows` that become further columns at the end.

    Returns:
        The path.

    Raises:
        InputError: the disk is full.
    """
    return write_parts(path, _lines(rows, [*COLUMNS, *more]))


def write_caption_lines(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Writes captions as JSON Lines, one object per image; see `write_caption_table`."""
    return write_parts(
        path, (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    )


def _lines(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    line = io.StringIO(newline="")
    writer = csv.DictWriter(line, columns, extrasaction="ignore")
    line.write("\ufeff")
    writer.writeheader()
    for row in rows:
        for rank, found in enumerate(row.get("captions", [{}]), 1):
            # An image that could not be read has no captions to rank.
            ranked = {"rank": rank} if "reason" not in row else {}
            writer.writerow({**row, **found, **ranked})
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    yield line.getvalue()
