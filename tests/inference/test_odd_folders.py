"""Captions of realistic folders: every format, unusual names, links, pipes, damaged files."""

from __future__ import annotations

import io
import json
import os
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from gallery_pages import read_items
from PIL import Image

from r2m.cli.record_reports import describe_use
from r2m.inference.attention_files import show_attention
from r2m.inference.caption_files import caption_files
from r2m.inference.concept_rules import ConceptChooser
from r2m.inference.sidecar_files import output_stems, write_sidecars
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.reading import DetectionSource
from tfrecords.pictures.decoding import decode_image, decode_or_fault
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import BackboneOptions
from tfrecords.pictures.named_images import ImageFile, image_files, named_files

SIZE = (48, 64)


def scene(seed: int = 0) -> Image.Image:
    """Returns smooth blobs of color, different in every corner."""
    grid = np.random.default_rng(seed).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(SIZE[::-1], Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(
    orientation: int, kind: str = "PNG", image: Image.Image | None = None, **options
) -> bytes:
    """Encodes a picture with an EXIF orientation; upright it is `image`, or `scene()`."""
    to_stored = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    image = image or scene()
    for step in to_stored.get(orientation, []):
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif, **options)


PNG = encoded(scene(), "PNG")
MOVING = {"save_all": True, "append_images": [scene(1)]}
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café.png") for form in ("NFC", "NFD"))
# The same picture in every lossless format: all have the same caption.
SAME = {
    "plain.png": PNG,
    "UPPER.PNG": PNG,
    "no_suffix": PNG,
    "wrong.txt": PNG,
    "wrong.jpg": PNG,
    "scene.bmp": encoded(scene(), "BMP"),
    "scene.webp": encoded(scene(), "WEBP", lossless=True),
    "moving.webp": encoded(scene(), "WEBP", lossless=True, **MOVING),
    "moving.png": encoded(scene(), "PNG", **MOVING),
    "scan.tif": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "SCAN.TIFF": encoded(scene(), "TIFF", **MOVING),
    "scene.ppm": encoded(scene(), "PPM"),
    "scene.jp2": encoded(scene(), "JPEG2000"),
    **{f"turned {number}.png": turned(number) for number in range(1, 9)},
    "album.jpg/inside.png": PNG,
    "study 1/0.png": PNG,
    "study 2/deep/0.png": PNG,
    'it\'s a "dog" & more.png': PNG,
    COMPOSED: PNG,
    DECOMPOSED: PNG,
    "linked.png": "plain.png",
}
# Other pixels; these files are captioned, too.
OTHERS = {
    "photo.jpg": encoded(scene(), "JPEG"),
    "gray.jpeg": encoded(scene().convert("L"), "JPEG"),
    "moving.gif": encoded(scene(), "GIF", **MOVING),
    "phone.avif": encoded(scene(), "AVIF"),
}
BAD = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"no picture", "unreadable"),
    "cut.png": (PNG[: len(PNG) // 2], "unreadable"),
    "bomb.png": (PNG[:16] + struct.pack(">II", 60000, 60000) + PNG[24:], "too_large"),
    "scan.dcm": (bytes(128) + b"DICM" + bytes(40), "unsupported_format"),
    "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40), None),
}
NOT_PICTURES = {"notes.txt": b"a list", "labels/more.json": b"{}", "Thumbs.db": b"\xd0\xcf\x11\xe0"}


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    written = {**SAME, **OTHERS, **{name: data for name, (data, _) in BAD.items()}, **NOT_PICTURES}
    for name, data in written.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(data, str):
            (folder / name).symlink_to(data)
        else:
            (folder / name).write_bytes(data)
    (folder / ".hidden.png").write_bytes(PNG)
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "empty album.png").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(PNG)
    return folder


def test_every_entry_of_a_folder_has_the_right_row(att2in2_run, odd_folder, tmp_path):
    captioned = caption_files(att2in2_run, odd_folder, tmp_path)
    rows, passed_over = captioned.rows, captioned.passed_over
    by_name = {row["image_id"]: row for row in rows}
    assert len(by_name) == len(rows) > 40
    files = {file.name: file for file in image_files(odd_folder).files}
    for name in SAME:
        np.testing.assert_array_equal(decode_image(files[name].read()), np.asarray(scene()))
    captions = {by_name[name]["caption"] for name in SAME}
    assert len(captions) == 1 and captions != {""}
    assert all(by_name[name]["caption"] for name in OTHERS)
    expected = {
        **{name: reason for name, (_, reason) in BAD.items()},
        "dangling.jpg": "missing",
        "loop.jpg": "unreadable",
        "album.jpg": "unreadable",
        "empty album.png": "unreadable",
        "pipe.jpg": "unreadable",
        "\\udcff.png": "undecodable",
    }
    found = {name: row["reason"] for name, row in by_name.items() if "reason" in row}
    # The reason is the format without the plug-in, and the damaged file with it.
    assert found.pop("phone.heic") in ("unreadable", "unsupported_format")
    del expected["phone.heic"]
    assert found == expected
    assert all(by_name[n]["caption"] == "" and by_name[n]["note"] for n in (*found, "phone.heic"))
    assert {*by_name} == {*SAME, *OTHERS, *expected, "phone.heic"}
    assert passed_over == {"not_an_image": 3, "hidden": 1}
    assert json.loads((tmp_path / "captions.json").read_text()) == rows
    shown = read_items(tmp_path / "index.html")
    assert [item["name"] for item in shown] == [row["image_id"] for row in rows]
    assert sum("picture" not in item for item in shown) == len(expected) + 1


def test_without_recursion_only_the_folder_itself_is_read(odd_folder):
    names = {file.name for file in image_files(odd_folder, recursive=False).files}
    assert "plain.png" in names and not any("/" in name for name in names)


def test_pages_of_earlier_captions_are_no_images(att2in2_run, tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    for expected in ({}, {"own_output": 2, "not_an_image": 6}):
        found = caption_files(att2in2_run, tmp_path, tmp_path / "out")
        assert [row["image_id"] for row in found.rows] == ["a.png"]
        assert found.passed_over == expected
    (tmp_path / "gallery.png").write_bytes(PNG)
    with pytest.raises(InputError, match=r"gallery\.png is one of the images, .* another --output"):
        caption_files(att2in2_run, tmp_path, tmp_path)


def test_attention_is_shown_for_all_images_that_can_be_read(att2in2_run, tmp_path):
    for name in ("a.png", "sub/a.png", "sub/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(PNG)
    (tmp_path / "in/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "in/sub/b.jpg").write_bytes(b"no picture")
    shown, passed_over = show_attention(att2in2_run, [tmp_path / "in"], tmp_path / "out")
    places = {image.name: image.sheet.relative_to(tmp_path / "out") for image in shown}
    assert {name: str(place) for name, place in places.items()} == {
        "a.png": "a.attention.png",
        "sub/a.png": "sub/a.attention.png",
        "sub/b.png": "sub/b.png.attention.png",
    }
    assert all(image.sheet.is_file() and image.animation.is_file() for image in shown)
    assert passed_over == {"unreadable": 2}


def test_ambiguous_detection_names_are_reported_with_relative_names(odd_folder, tmp_path):
    files = image_files(odd_folder).files
    assert {"study 1/0.png", "study 2/deep/0.png"} <= {file.name for file in files}
    table = {
        "images": [{"id": 1, "file_name": "0.png", "width": 64, "height": 48}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20], "score": 0.9},
        ],
        "categories": [{"id": 1, "name": "dog"}],
    }
    (tmp_path / "d.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=r"'0\.png' may be any of 'study 1/0\.png', 'study 2/deep"):
        ConceptChooser(None, files, [DetectionSource(path=tmp_path / "d.json")], 5)


def test_lists_of_images(tmp_path):
    for name in ("a/0.png", "b/0.png", DECOMPOSED):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    listed = tmp_path / "list.txt"
    listed.write_bytes(f"\ufeffa/0.png\r\nb\\0.png\r\n\r\n{COMPOSED}\r\nnowhere.png\r\n".encode())
    files = image_files(listed).files
    assert [file.name for file in files] == ["a/0.png", "b/0.png", COMPOSED, "nowhere.png"]
    assert [isinstance(file.read(), bytes) for file in files] == [True, True, True, False]
    listed.write_text(f"{tmp_path}/a/0.png\n{tmp_path}/b/0.png\n")
    assert [file.name for file in image_files(listed).files] == ["a/0.png", "b/0.png"]
    listed.write_text("a/0.png\n./a/0.png\n")
    with pytest.raises(InputError, match=r"list\.txt:2: image 'a/0\.png' .* at .*list\.txt:1 \("):
        image_files(listed)


def test_an_image_missing_from_a_list_is_not_replaced_by_another_one(tmp_path):
    (tmp_path / "0.png").write_bytes(PNG)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/1.png").write_bytes(PNG)
    listed = tmp_path / "list.txt"
    listed.write_text("study 1/0.png\nstudy 2/0.png\n1.png\n")
    one, other, below = image_files(listed).files
    assert one.read().reason == other.read().reason == "missing"
    assert below.read() == PNG
    listed.write_text("0.png\n1.png\n")
    assert image_files(listed, recursive=False).files[1].read().reason == "missing"


def test_files_of_several_folders_keep_their_names_apart(tmp_path):
    for name in ("a/0.png", "b/0.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    found = named_files([tmp_path / "a" / "0.png", tmp_path / "b"])
    assert [file.name for file in found.files] == ["a/0.png", "b/0.png", "b/1.png"]
    one = image_files(tmp_path / "a" / "0.png")
    assert [file.name for file in one.files] == ["0.png"]
    # Named twice: as part of the folder, and as a file.
    with pytest.raises(InputError, match=r"image 'b/1\.png' .* already named at"):
        named_files([tmp_path, tmp_path / "b" / "1.png"])
    with pytest.raises(InputError, match="no images were given"):
        named_files([])


def test_features_of_turned_photographs_are_those_of_the_upright_one(shared_data):
    extractor = FeatureExtractor(
        BackboneOptions(
            name="MobileNet",
            weights=str(shared_data / "models/mobilenet_v1_0.75_224_notop.weights.h5"),
            alpha=0.75,
        )
    )
    file = sorted((shared_data / "flickr8k").rglob("*.jpg"))[0]
    with Image.open(file) as image:
        photograph = image.convert("RGB")
    copies = [turned(number, "JPEG", photograph, quality=95) for number in range(1, 9)]
    # The stored rows of a sideways photograph, without the EXIF orientation.
    sideways = encoded(photograph.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95)
    pixels = [decode_or_fault(data, 224) for data in (file.read_bytes(), *copies, sideways)]
    vectors = extractor(np.stack(pixels)).pooled.astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit[1:] @ unit[0]
    assert cosines[:8].min() > 0.99
    assert cosines[8] < 0.95


def test_what_was_used_is_described():
    assert describe_use("captioned", 3, {}) == "captioned 3 of 3 entries"
    text = describe_use("captioned", 3, {"hidden": 1, "missing": 2})
    assert text == "captioned 3 of 6 entries; left out: 2 missing, 1 hidden"


def test_a_gallery_shows_attention_and_captions_go_to_text_files(att2in2_run, tmp_path):
    for name in ("a.png", "sub/a.png", "sub/a.PNG", "sub/b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(PNG)
    (tmp_path / "in/bad.jpg").write_bytes(b"no picture")
    (tmp_path / "out/sidecar").mkdir(parents=True)
    (tmp_path / "out/sidecar/old.txt").write_text("of an image that is gone")
    found = caption_files(
        att2in2_run, tmp_path / "in", tmp_path / "out", attention=True, sidecar=True
    )
    captions = {row["image_id"]: row["caption"] for row in found.rows}
    shown = {item["name"]: item for item in read_items(tmp_path / "out/index.html")}
    assert {*shown} == {*captions} == {"a.png", "bad.jpg", "sub/a.png", "sub/a.PNG", "sub/b.png"}
    assert "attention" not in shown["bad.jpg"]
    for name in ("a.png", "sub/a.png", "sub/b.png"):
        assert " ".join(shown[name]["attention"]["words"]) == captions[name]
    folder = tmp_path / "out/sidecar"
    texts = {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert texts == {
        "a.txt": captions["a.png"] + "\n",
        "sub/a.png.txt": captions["sub/a.png"] + "\n",
        "sub/a.PNG.txt": captions["sub/a.PNG"] + "\n",
        "sub/b.txt": captions["sub/b.png"] + "\n",
    }


@pytest.mark.parametrize("name", ["../a.png", "/tmp/a.png", "b/../../a.png", "\0.png"])
def test_no_name_of_an_image_leads_out_of_the_output(name, tmp_path):
    with pytest.raises(InputError, match="is outside of the output folder"):
        write_sidecars(tmp_path, [ImageFile(name, tmp_path)], [{"image_id": name, "caption": "a"}])
    assert not [*tmp_path.iterdir()]


def test_stems_of_output_files_are_unique():
    names = ["a.png", "a.jpg", "b.png", "\udcff.png"]
    stems = output_stems([ImageFile(name, Path()) for name in names])
    assert stems == {"a.png": "a.png", "a.jpg": "a.jpg", "b.png": "b", "\udcff.png": "\udcff"}
    names.append("a.png.gif")
    assert {*output_stems([ImageFile(name, Path()) for name in names]).values()} == {*names}
