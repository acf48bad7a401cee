"""Captioned images as rows of result files, and rows as items of pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r2m.evaluation.pages.gallery_items import GalleryItem, WordMaps, captions_of_row
from r2m.inference.caption_keys import caption_keys
from r2m.inference.run import CaptionedImage


def caption_row(image: CaptionedImage, decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an image with its captions as a row of JSON files and of the table.

    Args:
        image: captioned image.
        decoding: decoding settings.
    """
    row: dict[str, Any] = {"image_id": image.source.name, "caption": ""}
    row.update(caption_keys(image.hypotheses, decoding))
    if image.concepts is not None:
        row["concepts"] = [
            {"word": c.word, "score": round(c.score, 4), "count": c.count}
            for c in reversed(image.concepts)
        ]
    if image.fault is not None:
        row["reason"] = image.fault.reason
        row["note"] = f"cannot be read: {image.fault.detail[:200]}"
    elif image.concepts is not None and not image.concepts:
        row["note"] = "no concept was detected: the caption names nothing in the image"
    return row


def row_item(row: Mapping[str, Any], image: Path, attention: WordMaps | None) -> GalleryItem:
    """Returns a row as an item of a page.

    Args:
        row: result of `caption_row`.
        image: image file.
        attention: attention maps of the words of its best caption; None where not known.
    """
    note = row.get("note", "")
    return GalleryItem(
        image_id=row["image_id"],
        image=image,
        captions=captions_of_row(row),
        concepts=[(concept["word"], concept["score"]) for concept in row.get("concepts", ())],
        attention=attention,
        note=note,
        groups=[note.split(":")[0]] if note else [],
    )
