"""The gallery: self-contained, escaped, and whole even when pictures are not."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from r2m.evaluation.gallery import GalleryItem, write_gallery
from tfrecords.errors import InputError


def _picture(mode: str = "RGB", size: tuple[int, int] = (64, 48), form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, 200 if mode in ("L", "P") else None).save(stream, form)
    return stream.getvalue()


class _Tags(HTMLParser):
    """Collects the tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_shows_everything_and_loads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(_picture(form="JPEG"))
    items = [
        GalleryItem(
            image_id="a<b>.jpg",
            image=_picture(),
            caption="a <unk> & a dog",
            concepts=[("dog", 0.874), ("<script>alert(1)</script>", 0.5)],
            references=["<img src=x onerror=alert(1)>", "two"],
            cider=0.3129,
        ),
        GalleryItem(image_id="path", image=path, caption=""),
    ]
    page = write_gallery(
        tmp_path / "out", items, title="R2M <joint>", note="n & m", settings={"beam": 3}
    )
    assert sorted(p.name for p in page.parent.iterdir()) == ["gallery.png", "index.html"]
    seen = _Tags(page.read_text(encoding="utf-8"))
    assert "script" not in seen.tags and seen.tags.count("article") == 2
    assert seen.tags.count("details") == 1
    assert len(seen.sources) == 2 and all(s.startswith("data:image/jpeg") for s in seen.sources)
    expected = ["R2M <joint>", "n & m", "beam", "a <unk> & a dog", "dog 0.87", "CIDEr 31.3"]
    expected += ["2 references", "<img src=x onerror=alert(1)>", "no caption", "a<b>.jpg"]
    assert [text for text in expected if text not in seen.text] == []


@pytest.mark.parametrize("broken", [b"", b"nonsense", _picture()[:60], Path("/nowhere/x.jpg")])
def test_unreadable_pictures_leave_a_frame(tmp_path: Path, broken: bytes | Path) -> None:
    items = [GalleryItem(image_id="bad", image=broken, caption="a dog")]
    page = write_gallery(tmp_path, items, title="t").read_text(encoding="utf-8")
    assert "picture cannot be read" in page and "a dog" in page
    assert Image.open(tmp_path / "gallery.png").size[0] > 300


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"])
def test_every_kind_of_picture_is_shown(tmp_path: Path, mode: str) -> None:
    data = _picture(mode, form="TIFF" if mode == "CMYK" else "PNG")
    items = [GalleryItem(image_id="x", image=data, caption="a")]
    page = write_gallery(tmp_path, items, title="t").read_text(encoding="utf-8")
    assert "cannot be read" not in page


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (5, 4, 2), (24, 4, 6), (90, 4, 6)]
)
def test_contact_sheet_size(tmp_path: Path, count: int, columns: int, rows: int) -> None:
    items = [
        GalleryItem(image_id=str(i), image=_picture(size=(9, 9)), caption="a") for i in range(count)
    ]
    page = write_gallery(tmp_path, items, title="t").read_text(encoding="utf-8")
    assert len(re.findall("<article>", page)) == count
    width, height = Image.open(tmp_path / "gallery.png").size
    assert width == columns * 316 + 16
    assert rows * 316 < height < rows * 400


def test_what_people_wrote_is_shown_whole_and_never_as_generated(tmp_path: Path) -> None:
    item = GalleryItem(
        image_id="a.jpg", image=_picture(), caption=None, references=["a dog", "two dogs"]
    )
    page = write_gallery(tmp_path, [item], title="t").read_text(encoding="utf-8")
    assert 'class="caption"' not in page and "no caption" not in page
    assert "<details open>" in page and "<li>a dog</li><li>two dogs</li>" in page


def test_the_alternative_text_names_the_file(tmp_path: Path) -> None:
    items = [GalleryItem(image_id='"a".jpg', image=_picture(), caption="a dog")]
    page = write_gallery(tmp_path, items, title="t").read_text(encoding="utf-8")
    assert 'alt="&quot;a&quot;.jpg"' in page


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_pictures_of_16_bits_keep_their_shades(tmp_path: Path, form: str) -> None:
    shades = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (192, 1))
    path = tmp_path / f"deep.{form.lower()}"
    Image.fromarray(shades).save(path, form)
    item = GalleryItem(image_id="deep", image=path, caption="a")
    page = write_gallery(tmp_path / "out", [item], title="t").read_text(encoding="utf-8")
    found = re.search('data:image/jpeg;base64,([^"]+)', page)
    assert found is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))).convert("L"))
    np.testing.assert_allclose(shown[96], np.arange(256), atol=4)


def test_labels_of_boxes_are_text_that_keeps_its_size(tmp_path: Path) -> None:
    boxes = [("dog <b>", (0.0, 0.0, 0.5, 0.5)), ("cat", (0.0, 0.0, 1.0, 1.0))]
    item = GalleryItem(image_id="x", image=_picture(), caption=None, boxes=boxes)
    page = write_gallery(tmp_path, [item], title="t").read_text(encoding="utf-8")
    assert '<main class="boxed">' in page and "font-size: 13px" in page
    assert re.findall(r'<span class="label"[^>]*>([^<]*)<', page) == ["dog &lt;b&gt;", "cat"]
    assert "left:0.00%;top:0.00%;width:50.00%;height:50.00%" in page


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one picture"):
        write_gallery(tmp_path, [], title="t")
    assert list(tmp_path.iterdir()) == []
