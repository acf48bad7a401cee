"""Detections in the HDF5 layout of the R2M authors' script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from detection_files import GOOD, of_image, only_input_errors, read, write_hdf5
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError


def test_hdf5(tmp_path: Path, labels: Path) -> None:
    content = {"b": of_image([], [], []), "COCO_1": GOOD, "train2014/c": GOOD}
    images = read(write_hdf5(tmp_path / "object.hdf5", content), labels)
    assert [image.name for image in images] == ["COCO_1", "b", "train2014/c"]
    assert images[0].found.class_names == ("Dog", "Sports ball")
    np.testing.assert_allclose(images[0].found.boxes, GOOD["detection_boxes"])
    assert [len(image.found.scores) for image in images] == [2, 0, 2]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"boxes": [1.0]}, "contains no images: its top level contains 'x'"),
        ({**GOOD, "detection_boxes": [[0.1, 0.2, 0.3]]}, r"shapes \(1, 3\), \(2,\) and \(2,\)"),
        ({**GOOD, "detection_scores": [0.1]}, r"shapes \(2, 4\), \(1,\) and \(2,\)"),
        ({**GOOD, "detection_scores": [0.1, 7.0]}, "scores from 0.1"),
        ({**GOOD, "detection_classes": ["a", "b"]}, "detection_classes is"),
        ({**GOOD, "detection_classes": 3.0}, "detection_classes is"),
        ({"detection_boxes": [[0.0, 0, 1, 1]]}, "detection_scores: it is missing, or a link"),
    ],
)
def test_hdf5_of_another_layout(
    tmp_path: Path, labels: Path, image: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(write_hdf5(tmp_path / "o.h5", {"x": image}), labels)


def test_hdf5_reads_no_other_file(tmp_path: Path, labels: Path) -> None:
    """Links and data sets can name files that the sender wants to see."""
    secret = write_hdf5(tmp_path / "secret.h5", {"x": GOOD})
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(8))

    def external(group: h5py.Group) -> None:
        group["detection_scores"] = h5py.ExternalLink(str(secret), "/x/detection_scores")

    def outside(group: h5py.Group) -> None:
        group.create_dataset("detection_scores", (2,), "f4", external=[(str(raw), 0, 8)])

    def virtual(group: h5py.Group) -> None:
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource(str(secret), "/x/detection_scores", (2,))
        group.create_virtual_dataset("detection_scores", layout)

    for number, put in enumerate((external, outside, virtual)):
        path = write_hdf5(tmp_path / f"{number}.h5", {"x": GOOD})
        with h5py.File(path, "a") as file:
            del file["x/detection_scores"]
            put(file["x"])
        with pytest.raises(InputError, match=r"scores: it is .*stored in the file itself"):
            read(path, labels)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink(str(secret), "/x")
    with pytest.raises(InputError, match="contains no images"):
        read(tmp_path / "link.h5", labels)


def test_hdf5_in_a_circle(tmp_path: Path, labels: Path) -> None:
    path = write_hdf5(tmp_path / "o.h5", {"a": GOOD})
    with h5py.File(path, "a") as file:
        file["a/again"] = file["/"]
    assert [image.name for image in read(path, labels)] == ["a"]


def test_hdf5_with_a_claim_too_large(tmp_path: Path, labels: Path) -> None:
    path = tmp_path / "o.h5"
    with h5py.File(path, "w") as file:
        for key in GOOD:
            file.create_dataset(f"x/{key}", (1 << 40, 4), "f4", chunks=(1 << 16, 4))
    with pytest.raises(InputError, match=r"detection_boxes: it declares \(1099511627776, 4\)"):
        read(path, labels)


NUMBERS = st.floats(width=32) | st.sampled_from([0.0, 0.25, 0.5, 1.0])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(NUMBERS, min_size=4, max_size=4), max_size=3),
    st.lists(st.floats(0, 1, width=32) | NUMBERS, max_size=3),
    st.lists(st.integers(0, 4) | NUMBERS, max_size=3),
    st.integers(0, 3000) | st.none(),
    st.lists(st.tuples(st.integers(0, 2500), st.integers(0, 255)), max_size=3),
)
def test_any_hdf5_file(
    tmp_path_factory: pytest.TempPathFactory,
    boxes: list[list[float]],
    scores: list[float],
    classes: list[float],
    cut: int | None,
    flips: list[tuple[int, int]],
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    labels = folder / "labels.txt"
    labels.write_text("dog\ncat\n")
    path = write_hdf5(folder / "o.h5", {"x": of_image(boxes, scores, classes)})
    only_input_errors(lambda: read(path, labels))
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(data[:cut])
    only_input_errors(lambda: read(path, labels))
