"""The gallery: escaped text, damaged pictures, and pages in a single file."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gallery_pages import read_items
from PIL import Image

from r2m.evaluation.pages.gallery import FILES, write_gallery
from r2m.evaluation.pages.gallery_items import GalleryItem, ShownCaption, WordMaps, captions_of_row
from tfrecords.core.errors import InputError

# Ends a script, a string and a tag, wherever a text may be put.
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&<!--\u2028{{ 7 * 7 }}"


def _picture(mode: str = "RGB", size: tuple[int, int] = (64, 48), form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, 200 if mode in ("L", "P") else None).save(stream, form)
    return stream.getvalue()


def _item(image: bytes | Path, caption: str = "a dog", **parts: Any) -> GalleryItem:
    return GalleryItem(image_id="x", image=image, captions=[ShownCaption(text=caption)], **parts)


class _Tags(HTMLParser):
    """Collects the tags, attributes, text and scripts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.nonces: list[str | None] = []
        self.policy = self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        assert not any(name.startswith("on") or name == "style" for name in found)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag in ("script", "style"):
            self.nonces.append(found.get("nonce"))
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        self.text += data


def _evil_page(folder: Path, *, single_file: bool) -> Path:
    item = GalleryItem(
        image_id=EVIL,
        image=_picture(),
        captions=[
            ShownCaption(text=EVIL, scores={"cider": 0.3129, "score": float("nan")}, source=EVIL)
        ],
        concepts=[(EVIL, 0.874), ("cat", None)],
        references=[EVIL, "two"],
        boxes=[(EVIL, (0.0, 0.0, 0.5, 0.5))],
        groups=[EVIL],
        note=EVIL,
    )
    return write_gallery(
        folder,
        [item],
        title=EVIL,
        note=EVIL,
        settings={EVIL: EVIL},
        links=["../a<b>.json"],
        single_file=single_file,
    )


@pytest.mark.parametrize("single_file", [False, True])
def test_nothing_of_a_text_becomes_a_tag_or_a_script(tmp_path: Path, single_file: bool) -> None:
    path = _evil_page(tmp_path, single_file=single_file)
    page = path.read_text(encoding="utf-8")
    seen = _Tags(page)
    assert seen.tags.count("script") == (1 if single_file else 3) and "img" not in seen.tags
    assert seen.tags.count("style") == 1
    # Only scripts with the page's nonce run.
    (nonce,) = {*seen.nonces}
    assert nonce and f"script-src 'nonce-{nonce}'" in seen.policy
    assert "default-src 'none'" in seen.policy and "unsafe" not in seen.policy
    assert seen.text.count(EVIL) == 5  # title twice, note, name and value of a setting
    assert seen.sources == ([] if single_file else ["../a%3Cb%3E.json", f"{FILES}/items.js"])
    (found,) = read_items(path)
    assert found["name"] == found["note"] == found["captions"][0]["text"] == EVIL
    assert found["concepts"] == [[EVIL, 0.874], ["cat"]] and found["references"] == [EVIL, "two"]
    assert found["scores"] == {"cider": 0.3129}
    data = page if single_file else (tmp_path / FILES / "items.js").read_text(encoding="utf-8")
    assert "alert(1)<" not in data.replace("&lt;", "") and "<img src=x" not in data


def test_each_page_has_a_nonce_of_its_own(tmp_path: Path) -> None:
    pages = [_evil_page(tmp_path / name, single_file=True).read_text() for name in "ab"]
    first, second = (_Tags(page).nonces[0] for page in pages)
    assert first != second


def test_scripts_set_text_and_never_html() -> None:
    folder = Path(write_gallery.__code__.co_filename).with_name("templates")
    for file in folder.glob("*.js"):
        text = file.read_text(encoding="utf-8")
        unsafe = r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|</script"
        assert not re.search(unsafe, text), file.name
    for file in folder.glob("*.html"):
        assert "|safe" not in re.sub(r"\s", "", file.read_text(encoding="utf-8")), file.name


def test_pictures_are_files_named_by_number(tmp_path: Path) -> None:
    names = ["../../escape.jpg", "/etc/passwd", "a\nb.png", "con?.jpg", "%2e%2e/x", "\udcff.png"]
    (tmp_path / "out" / FILES).mkdir(parents=True)
    (tmp_path / "out" / FILES / "mine.jpg").write_bytes(b"a user's own file")
    for count in (6, 2):
        items = (
            GalleryItem(image_id=name, image=_picture(), captions=[ShownCaption(text="a")])
            for name in names[:count]
        )
        page = write_gallery(tmp_path / "out", items, title="t")
        found = read_items(page)
        assert [item["picture"] for item in found] == [
            f"{FILES}/{number:06d}.jpg" for number in range(count)
        ]
        # Pictures of an earlier page are removed; unrelated files are kept.
        files = {file.name for file in (tmp_path / "out" / FILES).iterdir()}
        own = {Path(item["picture"]).name for item in found}
        assert files == {"items.js", "mine.jpg", *own}
    assert sorted(
        p.name for p in tmp_path.rglob("*") if p.is_file() and p.parent.name != FILES
    ) == [
        "gallery.png",
        "index.html",
    ]
    assert [item["name"] for item in found] == names[:2]


def test_a_single_file_contains_its_pictures(tmp_path: Path) -> None:
    write_gallery(tmp_path, [_item(_picture())], title="t")
    page = write_gallery(tmp_path, [_item(_picture())], title="t", single_file=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["gallery.png", "index.html"]
    assert read_items(page)[0]["picture"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("broken", [b"", b"nonsense", _picture()[:60], Path("/nowhere/x.jpg")])
def test_unreadable_pictures_leave_a_frame(tmp_path: Path, broken: bytes | Path) -> None:
    (found,) = read_items(write_gallery(tmp_path, [_item(broken, "")], title="t"))
    assert "picture" not in found and found["captions"] == [{"text": ""}]
    assert Image.open(tmp_path / "gallery.png").size[0] > 300


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_picture_is_shown(tmp_path: Path, mode: str) -> None:
    data = _picture(mode, form="TIFF" if mode == "CMYK" else "PNG")
    (found,) = read_items(write_gallery(tmp_path, [_item(data)], title="t"))
    assert found["size"] == [64, 48]
    assert Image.open(tmp_path / found["picture"]).size == (64, 48)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (5, 4, 2), (24, 4, 6), (90, 4, 6)]
)
def test_contact_sheet_size(tmp_path: Path, count: int, columns: int, rows: int) -> None:
    items = [_item(_picture(size=(9, 9)))] * count
    assert len(read_items(write_gallery(tmp_path, items, title="t"))) == count
    width, height = Image.open(tmp_path / "gallery.png").size
    assert width == columns * 316 + 16
    assert rows * 316 < height < rows * 400


def test_captions_with_their_scores(tmp_path: Path) -> None:
    row = {
        "caption": "a dog",
        "confidence": 0.5,
        "captions": [{"caption": "a dog", "score": -1.0}, {"caption": "dogs", "score": -2.5}],
    }
    captions = captions_of_row(row, {"cider": 1.25})
    item = GalleryItem(image_id="x", image=_picture(), captions=captions, scores={"length": 2})
    (found,) = read_items(write_gallery(tmp_path, [item], title="t"))
    assert found["captions"] == [
        {"text": "a dog", "scores": {"cider": 1.25, "confidence": 0.5, "score": -1.0}},
        {"text": "dogs", "scores": {"score": -2.5}},
    ]
    assert found["scores"] == {"cider": 1.25, "confidence": 0.5, "score": -1.0, "length": 2.0}


def test_attention_is_relative_to_the_cell_that_was_looked_at_most(tmp_path: Path) -> None:
    weights = np.array([[[0.1, 0.4], [0.2, 0.3]], [[0.25, 0.25], [0.25, 0.25]]])
    maps = WordMaps(["a", "dog"], weights, (0.0, 0.125, 1.0, 0.75))
    (found,) = read_items(write_gallery(tmp_path, [_item(_picture(), attention=maps)], title="t"))
    attention = found["attention"]
    cells = np.frombuffer(base64.b64decode(attention.pop("maps")), np.uint8).reshape(2, 2, 2)
    assert cells.tolist() == [[[64, 255], [128, 191]], [[255, 255], [255, 255]]]
    expected = {"words": ["a", "dog"], "grid": [2, 2], "part": [0.0, 0.125, 1.0, 0.75]}
    assert attention == expected


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_pictures_of_16_bits_keep_their_shades(tmp_path: Path, form: str) -> None:
    shades = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (192, 1))
    path = tmp_path / f"deep.{form.lower()}"
    Image.fromarray(shades).save(path, form)
    (found,) = read_items(write_gallery(tmp_path / "out", [_item(path)], title="t"))
    shown = np.asarray(Image.open(tmp_path / "out" / found["picture"]).convert("L"))
    np.testing.assert_allclose(shown[96], np.arange(256), atol=4)


def test_labels_of_boxes_are_text_that_keeps_its_size(tmp_path: Path) -> None:
    boxes = [("dog <b>", (0.0, 0.0, 0.5, 0.5)), ("cat", (0.0, 0.0, 1.0, 1.0))]
    item = GalleryItem(image_id="x", image=_picture(), boxes=boxes)
    page = write_gallery(tmp_path, [item], title="t")
    assert '<main class="sheets boxed"' in page.read_text(encoding="utf-8")
    assert "font-size: 13px" in page.read_text(encoding="utf-8")
    first, second = read_items(page)[0]["boxes"]
    assert (first["label"], second["label"]) == ("dog <b>", "cat")
    assert first["box"] == [0.0, 0.0, 50.0, 50.0]


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one picture"):
        write_gallery(tmp_path, [], title="t")
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_the_data_are_json(tmp_path: Path) -> None:
    item = _item(_picture(), scores={"a": float("inf"), "b": None, "c": np.float32(0.5)})
    (found,) = read_items(write_gallery(tmp_path, [item], title="t"))
    assert found["scores"] == {"c": 0.5}
    assert json.dumps(found, allow_nan=False)
