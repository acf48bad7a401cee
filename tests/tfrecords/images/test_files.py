"""What image files say about themselves, and which are read at all."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrecords.errors import InputError
from tfrecords.features import decode_all, decode_image
from tfrecords.images.files import read_image
from tfrecords.images.headers import MAX_PIXELS, check_size, read_header
from tfrecords.images.names import find_images, read_split_lists
from tfrecords.writing.shards import Skip

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
FLAT = Image.fromarray(np.full((30, 40, 3), (200, 100, 50), np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


DEEP = Image.fromarray(np.full((30, 40), 0x8000, np.uint16))
ANIMATION = {"save_all": True, "append_images": [FLAT, NOISE.rotate(90)]}
# What an image is, and the colour of its first pixel where it is known.
IMAGES = {
    "rgb.jpg": (encoded(FLAT, "JPEG"), (200, 100, 50)),
    "progressive.jpg": (encoded(FLAT, "JPEG", progressive=True), (200, 100, 50)),
    "cmyk.jpg": (encoded(FLAT.convert("CMYK"), "JPEG"), (200, 100, 50)),
    "grey.jpg": (encoded(FLAT.convert("L"), "JPEG"), (124, 124, 124)),
    "rgb.png": (encoded(FLAT, "PNG"), (200, 100, 50)),
    "16-bit.png": (encoded(DEEP, "PNG"), (128, 128, 128)),
    "palette.png": (encoded(NOISE.convert("P"), "PNG"), None),
    "see-through.png": (encoded(FLAT.convert("RGBA"), "PNG"), (200, 100, 50)),
    "animated.png": (encoded(FLAT, "PNG", **ANIMATION), (200, 100, 50)),
    "animated.gif": (encoded(NOISE, "GIF", **ANIMATION), None),
    "rgb.bmp": (encoded(FLAT, "BMP"), (200, 100, 50)),
    "rgb.webp": (encoded(FLAT, "WEBP", lossless=True), (200, 100, 50)),
    "lossy.webp": (encoded(FLAT, "WEBP"), (200, 100, 50)),
    "see-through.webp": (encoded(FLAT.convert("RGBA"), "WEBP", lossless=True), (200, 100, 50)),
    "2 pixels.png": (encoded(FLAT.resize((2, 1)), "PNG"), (200, 100, 50)),
    "1 pixel.jpg": (encoded(FLAT.resize((1, 1)), "JPEG"), (200, 100, 50)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_unusual_images_are_read_as_rgb(name):
    data, colour = IMAGES[name]
    pixels = decode_image(data).numpy()
    header = read_header(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (header.width, header.height) == image.size
        frames = getattr(image, "n_frames", 1)
    assert pixels.shape == (header.height, header.width, 3)
    if colour:
        np.testing.assert_allclose(pixels[0, 0], colour, atol=3)
    if name == "animated.gif":
        assert frames > 1
        assert header.pixels == frames * 1200
    else:
        assert header.pixels == header.width * header.height


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_cut_short_are_refused(name):
    data = IMAGES[name][0]
    for size in (0, 1, 11, 20, len(data) // 2):
        with pytest.raises(InputError):
            decode_image(data[:size])


def test_animated_webp_is_refused():
    with pytest.raises(InputError, match="Animation"):
        decode_image(encoded(NOISE, "WEBP", **ANIMATION))


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO"])
def test_other_formats_are_refused(kind):
    with pytest.raises(InputError, match="no whole JPEG, PNG, GIF, BMP or WebP"):
        decode_image(encoded(FLAT, kind))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_images_are_an_image_or_an_input_error(data):
    damaged = bytearray(data.draw(st.sampled_from([image for image, _ in IMAGES.values()])))
    for place in data.draw(st.lists(st.integers(0, 200), max_size=6)):
        damaged[place % len(damaged)] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.integers(0, len(damaged)))]
    try:
        pixels = decode_image(bytes(damaged), max_pixels=100_000)
    except InputError:
        return
    assert pixels.shape.rank == 3
    assert pixels.shape[2] == 3


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"BM", b""]), st.binary())
def test_no_header_can_do_harm(magic, rest):
    try:
        header = read_header(magic + rest)
    except InputError:
        return
    assert min(header) >= 0


def bomb_png() -> bytes:
    return IMAGES["rgb.png"][0][:16] + struct.pack(">II", 60000, 60000) + IMAGES["rgb.png"][0][24:]


def bomb_jpeg() -> bytes:
    data = IMAGES["rgb.jpg"][0]
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", 65000, 65000) + data[place + 4 :]


def bomb_gif() -> bytes:
    data = IMAGES["animated.gif"][0]
    place = data.index(b"\x21\xf9")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x08\x00"
    return data[:place] + frame + data[place:]


def bomb_of_scans() -> bytes:
    data = IMAGES["progressive.jpg"][0]
    place = data.index(b"\xff\xc2") + 5
    large = data[:place] + struct.pack(">HH", 5000, 5000) + data[place + 4 : -2]
    return large + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 2000 + b"\xff\xd9"


BOMBS = {
    "png": bomb_png(),
    "jpeg": bomb_jpeg(),
    "gif": bomb_gif(),
    "scans": bomb_of_scans(),
    "bmp": IMAGES["rgb.bmp"][0][:18] + struct.pack("<ii", 1 << 30, -(1 << 30)) + bytes(40),
    "webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\xff" * 6,
}


@pytest.mark.parametrize("name", BOMBS)
def test_images_of_too_many_pixels_are_never_decoded(name, tmp_path):
    with pytest.raises(InputError, match=r"megapixels to decode\), more than the 100 megapixels"):
        check_size(read_header(BOMBS[name]), MAX_PIXELS)
    (tmp_path / "x.jpg").write_bytes(BOMBS[name])
    assert read_image(tmp_path, "x.jpg").reason == "too_large"
    assert "megapixels" in decode_all([BOMBS[name]], 32)[0]


def test_narrow_images_are_not_blown_up():
    strip = encoded(FLAT.resize((3000, 1)), "PNG")
    assert decode_all([strip], 32)[0].shape == (32, 32, 3)
    fault = decode_all([strip], 32, short_side=256)[0]
    assert "768000 x 256 pixels" in fault


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "whole.jpg").write_bytes(IMAGES["rgb.jpg"][0])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as stream:
        stream.truncate(1 << 34)
    assert read_image(tmp_path, "whole.jpg") == IMAGES["rgb.jpg"][0]
    expected = {
        "empty": "empty",
        "text": "unreadable",
        "folder": "unreadable",
        "loop": "unreadable",
        "endless": "unreadable",
        "pipe": "unreadable",
        "huge": "too_large",
        "nowhere": "missing",
        "n" * 300: "unreadable",
    }
    found = {name: read_image(tmp_path, f"{name}.jpg") for name in expected}
    assert {name: skip.reason for name, skip in found.items()} == expected
    assert read_image(tmp_path, "whole.jpg", max_pixels=1199).reason == "too_large"


def test_images_of_a_folder_and_those_below(tmp_path):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    for name in ("z.PNG", "a.jpg", "b/c.jpeg", "b/deep/d.gif", "notes.txt", "b/x.tiff"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b" / "round").symlink_to(tmp_path)
    assert find_images(tmp_path) == (["a.jpg", "z.PNG"], [])
    everything = ["a.jpg", "b/c.jpeg", "b/deep/d.gif", "z.PNG"]
    assert find_images(tmp_path, recursive=True) == (everything, [])
    with pytest.raises(InputError, match="images in folders below it"):
        find_images(tmp_path / "outer")
    with pytest.raises(InputError, match="no folder of images"):
        find_images(tmp_path / "nowhere")


def test_file_names_that_are_no_text_are_skipped(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")).write_bytes(b"x")
    names, skipped = find_images(tmp_path)
    assert names == ["a.jpg"]
    assert [(skip.source, skip.reason) for skip in skipped] == [("\\udcff.jpg", "undecodable")]


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "..", "a\0b.jpg", "/", "."]
)
def test_names_that_lead_out_of_the_folder(tmp_path, name):
    (tmp_path / "list.txt").write_text(f"a.jpg\n{name}\n")
    with pytest.raises(InputError, match=r"list\.txt:2: .*(folder of images|zero bytes)"):
        read_split_lists({"train": tmp_path / "list.txt"})


def test_lists_may_name_folders(tmp_path):
    (tmp_path / "list.txt").write_text("\ufeffval2014/a.jpg\n\n  b..jpg \n")
    assert read_split_lists({"val": tmp_path / "list.txt"}) == {"val": ["val2014/a.jpg", "b..jpg"]}


def test_skips_tell_what_was_wrong(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"GIF89")
    assert read_image(tmp_path, "x.jpg") == Skip(
        "x.jpg", "unreadable", "no whole JPEG, PNG, GIF, BMP or WebP: it begins with b'GIF89'"
    )
