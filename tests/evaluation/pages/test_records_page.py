from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from gallery_pages import read_items
from PIL import Image

from r2m.evaluation.pages import records_page
from r2m.evaluation.pages.records_page import write_records_page
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.records import Records
from tfrecords.core.writer import write_dataset


@pytest.fixture
def detections(tmp_path: Path) -> Records:
    record = encode_example(
        {
            "image_id": "x.png",
            "class_names": ["dog <b>", "brown"],
            "scores": np.array([0.9, 0.4], np.float32),
            "boxes": np.array([[0, 0, 0.5, 0.5]] * 2, np.float32),
        }
    )
    return write_dataset(
        folder=tmp_path / "records",
        kind="detections",
        name="toy",
        splits={"images": [lambda: iter([record])]},
        features=tfds.features.FeaturesDict(
            {
                "image_id": tfds.features.Text(),
                "class_names": tfds.features.Sequence(tfds.features.Text()),
                "scores": tfds.features.Tensor(shape=(None,), dtype=np.float32),
                "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
            }
        ),
        options={},
        sources=[],
        progress=False,
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Records:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    record = encode_example(
        {"image_id": "x.png", "image": stream.getvalue(), "texts": ["a dog", "two dogs"]}
    )
    return write_dataset(
        folder=tmp_path / "records",
        kind="images",
        name="toy",
        splits={"images": [lambda: iter([record])]},
        features=tfds.features.FeaturesDict(
            {
                "image_id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(None, None, 3)),
                "texts": tfds.features.Sequence(tfds.features.Text()),
            }
        ),
        options={},
        sources=[],
        progress=False,
    )


def test_boxes_are_drawn_on_the_pictures_of_a_folder(detections: Records, tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), (0, 0, 0)).save(tmp_path / "x.png")
    page = write_records_page(
        detections, tmp_path / "page", split="images", pictures=5, images=tmp_path
    )
    (item,) = read_items(page)
    assert ["dog <b>", 0.9] in item["concepts"]
    # Class names are not shown as generated captions.
    assert "captions" not in item
    assert [box["label"] for box in item["boxes"]].count("dog <b>, brown") == 1
    sheet = Image.open(io.BytesIO((tmp_path / "page" / "gallery.png").read_bytes()))
    colors = {color for _, color in sheet.crop((16, 16, 316, 316)).getcolors(1 << 20)}
    assert (214, 39, 40) in colors and (0, 0, 0) in colors


def test_boxes_of_records_from_before_orientation_are_drawn_in_the_upright_frame(
    detections: Records, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: top left comes to the top right
    Image.new("RGB", (80, 40), (0, 0, 0)).save(tmp_path / "x.png", exif=exif)
    write_records_page(detections, tmp_path / "page", split="images", pictures=5, images=tmp_path)
    sheet = Image.open(io.BytesIO((tmp_path / "page" / "gallery.png").read_bytes()))
    tile = np.asarray(sheet.crop((16, 16, 316, 316)).convert("RGB")) == (214, 39, 40)
    columns = np.flatnonzero(tile.all(-1).any(0))
    assert columns.min() > 120 and columns.max() > 290


def test_records_without_pictures_need_a_folder(detections: Records, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--images"):
        write_records_page(detections, tmp_path / "page", split="images", pictures=5, images=None)


def test_references_are_shown_as_references(pictures: Records, tmp_path: Path) -> None:
    page = write_records_page(pictures, tmp_path / "page", split="images", pictures=5, images=None)
    (item,) = read_items(page)
    assert item["references"] == ["a dog", "two dogs"] and "captions" not in item


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "images/../../secret.png"])
def test_names_of_records_do_not_lead_out_of_the_folder_of_images(
    name: str, detections: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 20)).save(tmp_path / "secret.png")
    name = str(tmp_path / "secret.png") if name.startswith("/") else name
    monkeypatch.setattr(records_page, "_name", lambda example: name)
    page = write_records_page(
        detections, tmp_path / "page", split="images", pictures=5, images=tmp_path / "images"
    )
    (item,) = read_items(page)
    assert item["name"] == name and "picture" not in item
