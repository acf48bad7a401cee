"""Batches of images decoded in a graph: the pixels of files, and a status for each bad one."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.inputs.pixels import Pixels, crops
from tfrecords.core.shards import Skip
from tfrecords.pictures.batch_decoding import EMPTY, OK, UNREADABLE, UNSUPPORTED, decode_batch
from tfrecords.pictures.declared_pixels import declared_pixels
from tfrecords.pictures.decoding import decode_or_fault
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.image_files import check_image
from tfrecords.pictures.image_formats import sniff_format

NOISE = np.random.default_rng(0).integers(0, 255, (37, 53, 3)).astype(np.uint8)
PICTURE = Image.fromarray(NOISE)
LIMIT = 1_000_000

declared_in_graph = tf.function(
    lambda encoded: tuple(declared_pixels(encoded)),
    input_signature=[tf.TensorSpec([], tf.string)],
    autograph=False,
)


def encoded(kind: str, image: Image.Image = PICTURE, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png_header(height: int, width: int) -> bytes:
    """A PNG that declares a size and holds nothing."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))
    return b"\x89PNG\r\n\x1a\n" + chunk


GOOD = {
    "jpeg": encoded("JPEG", quality=90),
    "progressive jpeg": encoded("JPEG", progressive=True),
    "gray jpeg": encoded("JPEG", PICTURE.convert("L")),
    "cmyk jpeg": encoded("JPEG", PICTURE.convert("CMYK")),
    "turned jpeg": encoded("JPEG", exif=turned(6)),
    "png": encoded("PNG"),
    "transparent png": encoded("PNG", PICTURE.convert("RGBA")),
    "palette png": encoded("PNG", PICTURE.convert("P")),
    "turned png": encoded("PNG", exif=turned(8)),
    "gif": encoded("GIF", PICTURE.convert("P")),
    "animated gif": encoded(
        "GIF", PICTURE.convert("P"), save_all=True, append_images=[Image.new("P", (53, 37))] * 3
    ),
    "bmp": encoded("BMP"),
    "webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "turned webp": encoded("WEBP", exif=turned(3)),
    "narrow": encoded("PNG", Image.fromarray(NOISE[:3])),
}
BAD = {
    "empty": (b"", EMPTY),
    "text": (b"this is no picture", UNSUPPORTED),
    "tiff": (encoded("TIFF"), UNSUPPORTED),
    "palette bmp": (encoded("BMP", PICTURE.convert("P")), UNSUPPORTED),
    "animated webp": (
        encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (53, 37))]),
        UNSUPPORTED,
    ),
    "cut jpeg": (GOOD["jpeg"][:400], UNREADABLE),
    "start of a jpeg": (b"\xff\xd8\xff", UNREADABLE),
    "cut png": (GOOD["png"][:2000], UNREADABLE),
    "cut webp": (GOOD["webp"][:300], UNREADABLE),
    "too large": (
        png_header(40_000, 50_000),
        "too_large: 50000 x 40000 pixels, more than the 1 megapixels allowed",
    ),
}
# Its shorter side of 28 pixels would make it 28 x 1,680,000 pixels large.
NARROW = encoded("PNG", Image.new("RGB", (60_000, 1)))
FORMS: dict[str, dict[str, Any]] = {
    "squashed": {"size": 24, "interpolation": "bicubic"},
    "cut": {"size": 24, "short_side": 28},
    "ten crops": {"size": 24, "short_side": 28, "crops": 10},
}


@pytest.mark.parametrize("form", FORMS)
def test_pixels_are_those_of_files_and_bad_images_spoil_no_other(form: str) -> None:
    options = FORMS[form]
    # Good and bad ones alternate.
    items, expected = [*GOOD.values()], dict(BAD.values())
    if "short_side" in options:
        expected[NARROW] = "too_large: 60000 x 1 pixels, more than the 1 megapixels allowed"
        assert "megapixels allowed" in str(decode_or_fault(NARROW, max_pixels=LIMIT, **options))
    for place, data in enumerate(expected):
        items.insert(2 * place, data)
    decode = tf.function(
        lambda images: decode_batch(images, max_pixels=LIMIT, **options),
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )
    pixels, status = (found.numpy() for found in decode(tf.constant(items)))
    assert len(items) == len(GOOD) + len(expected)
    for data, own, text in zip(items, pixels, status.tolist(), strict=True):
        assert text.decode() == expected.get(data, OK)
        if data in expected:
            assert (own == 128).all()
        else:
            np.testing.assert_array_equal(own, decode_or_fault(data, **options))
    none, statuses = decode(tf.constant([], tf.string))
    assert none.shape == (0, *pixels.shape[1:]) and statuses.shape == (0,)


def test_pixels_in_training_are_those_of_files() -> None:
    options = Pixels(resize=28, crop=24, interpolation="bicubic", mirror=True)
    files = tf.constant([*GOOD.values(), encoded("PNG", Image.fromarray(NOISE[:28, :28]))])
    shown = tf.function(lambda images: crops(images, options, None))(files)
    squashed = tf.stack(
        [decode_or_fault(data, 28, interpolation="bicubic") for data in files.numpy()]
    )
    np.testing.assert_array_equal(shown, tf.image.resize_with_crop_or_pad(squashed, 24, 24))


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_damaged_headers_declare_alike_in_python_and_in_a_graph(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([name for name in GOOD if "jpeg" not in name]))
    damaged = bytearray(GOOD[name])
    for place in data.draw(st.lists(st.integers(0, 60), max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    image = bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    decodable, height, width, pixels = (found.numpy() for found in declared_in_graph(image))
    found = check_image("image", image, max_pixels=1 << 62)
    if isinstance(found, Skip) or found is not image or sniff_format(image) is None:
        # Pillow converts what TensorFlow does not decode, and refuses what is damaged.
        assert not decodable or isinstance(found, Skip)
        return
    header = read_header(image)
    assert decodable
    assert (height, width) == header.stored_size
    assert pixels == header.pixels


def test_jpegs_of_very_many_scans_count_several_times() -> None:
    jpeg = GOOD["progressive jpeg"]
    scan = jpeg.index(b"\xff\xda")
    many = jpeg[:scan] + jpeg[scan : scan + 20] * 60 + jpeg[scan:]
    expected = read_header(many)
    assert expected.pixels > expected.height * expected.width
    assert int(declared_in_graph(many)[3]) == expected.pixels
