"""Answers of the app as HTML: their contents, and escaping of all text."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from r2m.evaluation.pages.gallery_items import GalleryItem, ShownCaption, WordMaps
from r2m.evaluation.pages.search_page import SearchHit, SearchResult
from r2m.serving.app.answers import caption_answer, error_answer, search_answer

EVIL = "<script>alert(1)</script><img src=x onerror='alert(1)'>"


def tags(text: str) -> set[str]:
    return set(re.findall(r"<(\w+)", text))


def picture(folder: Path) -> Path:
    file = folder / "a.png"
    Image.new("RGB", (40, 20), (90, 120, 200)).save(file)
    return file


def test_captions_scores_and_a_panel_per_word(tmp_path: Path) -> None:
    scores = {"score": -1.25, "log_probability": -5.0, "confidence": 0.5}
    weights = np.full((2, 2, 2), 0.25, np.float32)
    item = GalleryItem(
        image_id="a.png",
        image=picture(tmp_path),
        captions=[
            ShownCaption(text="a dog", scores=scores),
            ShownCaption(text="a cat", scores={"score": float("nan"), "confidence": None}),
        ],
        concepts=[("dog", 0.5), ("grass", None)],
        attention=WordMaps(["a", "dog"], weights, (0.0, 0.25, 1.0, 0.5)),
    )
    shown = caption_answer(item)
    for part in ("a dog", "-1.250", "50 %", "Alternatives", "a cat", "0.50", "grass", "0.25"):
        assert part in shown, part
    assert "nan" not in shown and "None" not in shown
    # The picture is twice as wide as high; the panels show its middle half.
    assert re.findall(r'width="(\d+)" height="(\d+)"', shown) == [("40", "20")] + [("20", "20")] * 2


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    item = GalleryItem(image_id="a.txt", image=tmp_path, note="cannot be read: no image")
    for captions in ([], [ShownCaption(text="")]):
        shown = caption_answer(GalleryItem(**{**vars(item), "captions": captions}))
        assert 'role="alert"' in shown and "a.txt cannot be read: no image" in shown
        assert "JPEG" in shown and "<img" not in shown
    assert "(no words)" in caption_answer(GalleryItem(image_id="a", image=None, captions=captions))
    assert "A file" in error_answer("a file")


def test_texts_are_no_markup(tmp_path: Path) -> None:
    maps = WordMaps([EVIL], np.ones((1, 1, 1), np.float32), (0.0, 0.0, 1.0, 1.0))
    item = GalleryItem(
        image_id=EVIL,
        image=picture(tmp_path),
        captions=[ShownCaption(text=EVIL)] * 2,
        concepts=[(EVIL, 0.5)],
        attention=maps,
        note=EVIL,
    )
    broken = GalleryItem(image_id=EVIL, image=tmp_path / "none", note=EVIL)
    hits = [SearchHit(0.5, EVIL, path) for path in (picture(tmp_path), None, tmp_path)]
    answers = [
        caption_answer(item), caption_answer(broken), search_answer(SearchResult(EVIL, hits)),
        error_answer(EVIL),
    ]  # fmt: skip
    for answer in answers:
        assert "script" not in tags(answer) and "&lt;script&gt;" in answer
        assert all("onerror='" not in own for own in re.findall(r"<img[^>]*>", answer))
    assert [answer.count("<img ") for answer in answers] == [2, 0, 1, 0]
    assert "Nothing was found" in search_answer(SearchResult("x", []))
