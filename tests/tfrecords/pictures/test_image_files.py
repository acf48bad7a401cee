"""Headers of image files, and the formats that are read."""

from __future__ import annotations

import io
import os
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.pictures import image_formats
from tfrecords.pictures.decoding import decode_image, decode_or_fault
from tfrecords.pictures.headers import MAX_PIXELS, check_size, read_header
from tfrecords.pictures.image_files import ImageFolder, check_image
from tfrecords.pictures.image_names import read_split_lists

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8))
FLAT = Image.fromarray(np.full((30, 40, 3), (200, 100, 50), np.uint8))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


DEEP = Image.fromarray(np.full((30, 40), 0x8000, np.uint16))
ANIMATION = {"save_all": True, "append_images": [FLAT, NOISE.rotate(90)]}
# What an image is, and the color of its first pixel where it is known.
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
    data, color = IMAGES[name]
    pixels = decode_image(data).numpy()
    header = read_header(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (header.width, header.height) == image.size
        frames = getattr(image, "n_frames", 1)
    assert pixels.shape == (header.height, header.width, 3)
    if color:
        np.testing.assert_allclose(pixels[0, 0], color, atol=3)
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


def test_other_formats_are_refused_by_the_decoder():
    with pytest.raises(InputError, match="not a complete JPEG, PNG, GIF, BMP or WebP file"):
        decode_image(encoded(FLAT, "TIFF"))


GRAY = (np.arange(1200) % 256).reshape(30, 40)
DEEP_GRAY = Image.fromarray((GRAY * 257).astype(np.uint16))
FLAT_16_BITS = Image.fromarray(np.full((30, 40, 3), (205, 98, 49), np.uint8))


def bmp_16_bits() -> bytes:
    """FLAT with five bits per channel."""
    rows = struct.pack("<H", 25 << 10 | 12 << 5 | 6) * 1200
    header = struct.pack("<IiiHHIIiiII", 40, 40, 30, 1, 16, 0, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + header + rows


def bmp_short_header() -> bytes:
    """NOISE as OS/2 wrote it."""
    rows = np.asarray(NOISE)[::-1, :, ::-1].tobytes()
    header = struct.pack("<IHHHH", 12, 40, 30, 1, 24)
    return b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + header + rows


# Formats that TensorFlow does not decode, and the first frame of each as RGB.
CONVERTED = {
    "rgb.tif": (encoded(NOISE, "TIFF"), NOISE),
    "lzw.tiff": (encoded(NOISE, "TIFF", compression="tiff_lzw"), NOISE),
    "pages.tif": (encoded(NOISE, "TIFF", **ANIMATION), NOISE),
    "16-bit.tif": (encoded(DEEP_GRAY, "TIFF"), Image.fromarray(GRAY.astype(np.uint8))),
    "16-bit.pgm": (encoded(DEEP_GRAY, "PPM"), Image.fromarray(GRAY.astype(np.uint8))),
    "see-through.tif": (encoded(NOISE.convert("RGBA"), "TIFF"), NOISE),
    "palette.tif": (encoded(NOISE.quantize(16), "TIFF"), NOISE.quantize(16)),
    "two colors.tif": (encoded(NOISE.convert("1"), "TIFF"), NOISE.convert("1")),
    "rgb.ppm": (encoded(NOISE, "PPM"), NOISE),
    "rgb.jp2": (encoded(NOISE, "JPEG2000"), NOISE),
    "animated.webp": (encoded(NOISE, "WEBP", lossless=True, **ANIMATION), NOISE),
    "large.tif": (encoded(NOISE, "TIFF", big_tiff=True), NOISE),
    "palette.bmp": (encoded(NOISE.quantize(16), "BMP"), NOISE.quantize(16)),
    "gray.bmp": (encoded(NOISE.convert("L"), "BMP"), NOISE.convert("L")),
    "two colors.bmp": (encoded(NOISE.convert("1"), "BMP"), NOISE.convert("1")),
    "see-through.bmp": (encoded(NOISE.convert("RGBA"), "BMP"), NOISE),
    "16 bits.bmp": (bmp_16_bits(), FLAT_16_BITS),
    "short header.bmp": (bmp_short_header(), NOISE),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_formats_of_pillow_are_converted_without_loss(name):
    data, expected = CONVERTED[name]
    found = check_image(name, data)
    assert found.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode_image(found), np.asarray(expected.convert("RGB")))
    for size in (20, len(data) // 4):
        assert check_image(name, data[:size]).reason == "unreadable"
    assert check_image(name, data, max_pixels=1199).reason == "too_large"


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_photographs_of_phones_are_converted(kind):
    pytest.importorskip("pillow_heif").register_heif_opener()
    colors = np.zeros((64, 96, 3), np.uint8)
    colors[:32, :48] = 200, 30, 60
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(colors), kind, quality=95, exif=exif.tobytes())
    found = decode_image(check_image("IMG_1.HEIC", data))
    # Turned a quarter clockwise: the bright corner comes to the right.
    assert found.shape == (96, 64, 3)
    np.testing.assert_allclose(found[10, 50], (200, 30, 60), atol=12)
    np.testing.assert_allclose(found[10, 10], 0, atol=12)


def test_heif_without_its_plugin_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    image_formats.heif_plugin.cache_clear()
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    skip = check_image("IMG_1.HEIC", data)
    image_formats.heif_plugin.cache_clear()
    assert skip.reason == "unsupported_format"
    assert "pip install 'r2m[heif]'" in skip.detail


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("scan.dcm", bytes(128) + b"DICM" + bytes(40), "DICOM"),
        ("scan", bytes(128) + b"DICM" + bytes(40), "DICOM"),
        ("layers.psd", b"8BPS" + bytes(40), "Photoshop"),
        ("new.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", ".svg"),
        ("DSC_1.NEF", encoded(FLAT, "TIFF"), "camera raw"),
    ],
)
def test_formats_that_are_not_read_are_named(name, data, what):
    skip = check_image(name, data)
    assert skip.reason == "unsupported_format"
    assert skip.detail.startswith(f"{what} pictures are not supported: convert it")


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.float32, "floating-point"), (np.int32, "32-bit or signed integers")]
)
def test_pictures_of_an_unknown_range_are_refused(dtype, kind):
    skip = check_image("x.tif", encoded(Image.fromarray(GRAY.astype(dtype)), "TIFF"))
    assert skip.reason == "unreadable"
    assert kind in skip.detail


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
    "bmp": IMAGES["rgb.bmp"][0][:18]
    + struct.pack("<ii", 1 << 30, -(1 << 30))
    + IMAGES["rgb.bmp"][0][26:],
    "webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\xff" * 6,
}


@pytest.mark.parametrize("name", BOMBS)
def test_images_of_too_many_pixels_are_never_decoded(name, tmp_path):
    with pytest.raises(InputError, match=r"megapixels to decode\), more than the 100 megapixels"):
        check_size(read_header(BOMBS[name]), MAX_PIXELS)
    (tmp_path / "x.jpg").write_bytes(BOMBS[name])
    assert ImageFolder(tmp_path).read("x.jpg").reason == "too_large"
    assert "megapixels" in decode_or_fault(BOMBS[name], 32)


def test_narrow_images_are_not_blown_up():
    strip = encoded(FLAT.resize((3000, 1)), "PNG")
    assert decode_or_fault(strip, 32).shape == (32, 32, 3)
    fault = decode_or_fault(strip, 32, short_side=256)
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
    assert ImageFolder(tmp_path).read("whole.jpg") == IMAGES["rgb.jpg"][0]
    expected = {
        "empty": "empty",
        "text": "unreadable",
        "folder": "unreadable",
        "loop": "unreadable",
        "endless": "unreadable",
        "pipe": "unreadable",
        "huge": "too_large",
        "nowhere": "missing",
        "n" * 300: "missing",
    }
    found = {name: ImageFolder(tmp_path).read(f"{name}.jpg") for name in expected}
    assert {name: skip.reason for name, skip in found.items()} == expected
    assert ImageFolder(tmp_path, max_pixels=1199).read("whole.jpg").reason == "too_large"


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
    assert ImageFolder(tmp_path).read("x.jpg") == Skip(
        "x.jpg",
        "unreadable",
        "not a complete JPEG, PNG, GIF, BMP or WebP file: it begins with b'GIF89'",
    )
