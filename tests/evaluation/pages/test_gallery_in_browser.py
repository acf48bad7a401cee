"""The gallery in headless Chromium: its scripts run from disk, scripts in captions do not."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import pytest
from browsers import BROWSER, needs_browser
from PIL import Image

from r2m.evaluation.pages.gallery import write_gallery
from r2m.evaluation.pages.gallery_items import GalleryItem, ShownCaption

EVIL = "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"


def _page(folder: Path, *, single_file: bool) -> Path:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48)).save(stream, "PNG")
    items = [
        GalleryItem(
            image_id=f"{number}{EVIL}",
            image=stream.getvalue() if number else b"no picture",
            captions=[ShownCaption(text=EVIL, scores={"cider": number / 100})],
            references=[EVIL],
            concepts=[(EVIL, 0.5)],
        )
        for number in range(130)
    ]
    return write_gallery(folder, items, title="Kept", single_file=single_file)


def _shown(page: Path, profile: Path) -> str:
    """Returns the document of a page after its scripts have run."""
    done = subprocess.run(
        [
            *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"),
            *(f"--user-data-dir={profile}", "--virtual-time-budget=10000"),
            # On a busy machine virtual time would end before the first frame was drawn.
            "--run-all-compositor-stages-before-draw",
            *("--window-size=1200,900", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@needs_browser
@pytest.mark.parametrize("single_file", [False, True])
def test_the_page_opens_from_disk(tmp_path: Path, single_file: bool) -> None:
    page = _page(tmp_path / "a folder", single_file=single_file)
    shown = _shown(page, tmp_path / "profile")
    assert "<title>Kept</title>" in shown
    # 130 images in sheets of 60; the first sheet is filled, the last one is far from the window.
    assert shown.count('class="grid sheet"') == 3
    cards = re.findall(r'<article class="card".*?</article>', shown, re.DOTALL)
    assert 60 <= len(cards) < 130
    assert "picture cannot be read" in cards[0] and "<img" not in cards[0]
    assert all(card.count("<img ") == 1 for card in cards[1:])
    assert "CIDEr 1.0" in cards[1] and "130 images" in shown
    # Depending on its version, Chromium escapes `<` in attributes; tags were counted above.
    assert all("<script" not in re.sub(r'"[^"]*"', "", card) for card in cards)


@needs_browser
def test_of_five_thousand_images_only_those_near_the_window_are_drawn(tmp_path: Path) -> None:
    caption = [ShownCaption(text="a dog runs on the grass", scores={"cider": 0.5})]
    items = (
        GalleryItem(image_id=f"{number}.jpg", image=None, captions=caption)
        for number in range(5_000)
    )
    page = write_gallery(tmp_path / "folder", items, title="Large")
    assert page.stat().st_size < 100_000
    shown = _shown(page, tmp_path / "profile")
    assert "5,000 images" in shown or "5000 images" in shown
    assert 60 <= shown.count('<article class="card"') <= 180
