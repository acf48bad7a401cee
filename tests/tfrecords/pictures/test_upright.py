"""Pictures turned upright, in Python, in a graph and by Pillow."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from tfrecords.pictures.decoding import decode_image
from tfrecords.pictures.headers import read_header
from tfrecords.pictures.orientation import boxes_as_shown, read_orientation, upright_boxes
from tfrecords.pictures.upright import decode_upright, orientation_of

PICTURE = Image.fromarray(
    np.repeat(np.repeat(np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3), 8, 0), 8, 1)
)
KINDS = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}
ORIENTATIONS = range(1, 9)

orientation_in_graph = tf.function(orientation_of, input_signature=[tf.TensorSpec([], tf.string)])
decode_in_graph = tf.function(decode_upright, input_signature=[tf.TensorSpec([], tf.string)])


def photograph(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    stream = io.BytesIO()
    PICTURE.save(stream, kind, exif=exif, **KINDS[kind])
    return stream.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_photographs_are_turned_as_pillow_turns_them(kind, orientation):
    data = photograph(kind, orientation)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), np.int64)
        stored = image.size[::-1]
    assert read_orientation(data) == orientation
    found = decode_image(data).numpy()
    # Another JPEG decoder may differ by rounding.
    np.testing.assert_allclose(found, expected, atol=3)
    np.testing.assert_array_equal(decode_in_graph(data).numpy(), found)
    header = read_header(data)
    assert (header.height, header.width) == found.shape[:2]
    assert header.stored_size == stored
    assert header.orientation == orientation


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_boxes_move_with_the_picture(orientation):
    # A bright box in the stored rows is where its moved corners say in the upright picture.
    stored = np.zeros((60, 90, 3), np.uint8)
    stored[6:30, 18:36] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "PNG", exif=exif)
    upright = decode_image(stream.getvalue()).numpy()
    boxes = upright_boxes(np.array([[6 / 60, 18 / 90, 30 / 60, 36 / 90]]), orientation)
    assert boxes.shape == (1, 4)
    height, width = upright.shape[:2]
    top, left, bottom, right = np.rint(boxes[0] * [height, width, height, width]).astype(int)
    inside = upright[top:bottom, left:right]
    assert inside.min() == 255
    assert inside.size == (upright == 255).sum()


def test_boxes_of_detectors_that_ignore_orientation_are_moved():
    boxes = np.array([[0.0, 0.0, 0.5, 0.25]], np.float32)
    moved = np.array([[0.0, 0.5, 0.25, 1.0]])
    # Stored 40 rows of 90, shown as 90 rows of 40: the size that a detector gives tells its frame.
    np.testing.assert_allclose(boxes_as_shown(boxes, 6, (40, 90), (40, 90)), moved)
    for orientation, seen in [(6, (90, 40)), (6, (0, 0)), (1, (40, 90)), (3, (40, 90))]:
        assert boxes_as_shown(boxes, orientation, seen, (40, 90)) is boxes
    assert boxes_as_shown(boxes, 6, (50, 50), (50, 50)) is boxes


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_either_byte_order(order):
    tiff = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(
        f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0
    )
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff + b"\xff\xd9"
    assert read_orientation(data) == 6
    assert int(orientation_in_graph(data)) == 6


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_exif_data_are_read_alike_in_python_and_in_a_graph(data):
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    damaged = bytearray(photograph(kind, data.draw(st.sampled_from(ORIENTATIONS))))
    # WebP has its EXIF data at the end, the others at the beginning.
    places = st.integers(-90, -1) if kind == "WEBP" else st.integers(0, 120)
    for place in data.draw(st.lists(places, max_size=4)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(len(damaged) - 100, len(damaged)))])
    for image in (cut, bytes(damaged[: data.draw(st.integers(0, 200))])):
        orientation = read_orientation(image)
        assert 1 <= orientation <= 8
        assert int(orientation_in_graph(image)) == orientation
