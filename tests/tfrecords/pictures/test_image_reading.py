"""Image files read ahead of the ones that are used."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image

from tfrecords.core.shards import Skip
from tfrecords.pictures.image_reading import decode_ahead


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def test_images_come_in_order_with_their_faults():
    def read(name: str) -> bytes | Skip:
        if name == "3":
            return Skip(name, "missing")
        return b"no picture" if name == "5" else png(int(name))

    names = [str(number) for number in range(20)]
    found = list(decode_ahead(read, names, None, threads=4))
    assert len(found) == len(names)
    assert found[3] == Skip("3", "missing")
    assert (found[5].source, found[5].reason) == ("5", "unreadable")
    for number in {*range(20)} - {3, 5}:
        assert found[number].place == number
        assert np.unique(found[number].pixels) == [number]


@pytest.mark.parametrize("ahead", [0, 5])
def test_few_images_are_in_memory_together(ahead):
    count, lock = 0, threading.Lock()

    def read(name: str) -> bytes:
        nonlocal count
        with lock:
            count += 1
        return png(0)

    names = [str(number) for number in range(50)]
    for used, _ in enumerate(decode_ahead(read, names, None, threads=2, ahead=ahead)):
        assert count <= used + 1 + 2 + ahead
    assert count == 50


def test_a_caller_that_stops_leaves_nothing_running():
    read: list[str] = []

    def note(name: str) -> bytes:
        read.append(name)
        return png(0)

    before = threading.active_count()
    images = decode_ahead(note, [str(number) for number in range(50)], None, threads=1, ahead=20)
    next(images)
    assert threading.active_count() == before + 1
    images.close()
    assert threading.active_count() == before
    assert len(read) < 50
