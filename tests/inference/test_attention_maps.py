"""Attention maps: their position on the picture, and captioners without attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from models.captioners.registry import build_captioner, captioner_names
from pipelines.inputs.pixels import Pixels, crops
from pipelines.inputs.spec import InputSpec
from r2m.inference.attention_files import show_attention
from r2m.inference.attention_maps import attention_maps, visible_part, why_no_maps
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.pictures.decoding import decode_or_fault


def ramp(height: int, width: int) -> np.ndarray:
    """Returns a picture whose red and green values encode row and column, as fractions of 255."""
    rows, columns = np.linspace(0, 255, height), np.linspace(0, 255, width)
    shown = [
        np.broadcast_to(rows[:, None], (height, width)),
        np.broadcast_to(columns, (height, width)),
    ]
    return np.stack([*shown, np.zeros((height, width))], axis=-1).astype(np.uint8)


def corners(picture: Any) -> np.ndarray:
    """Returns the first and the last pixel."""
    return np.asarray(picture, float)[[0, -1], [0, -1]]


@pytest.mark.parametrize("size", [(120, 300), (301, 90), (80, 80)])
@pytest.mark.parametrize("short_side", [64, 90])
def test_maps_lie_over_the_square_that_was_cut_out(size: tuple[int, int], short_side: int) -> None:
    picture = ramp(*size)
    part = visible_part(picture, None, {"short_side": short_side, "image_size": 64})
    side = round(min(size) * 64 / short_side)
    assert part.shape == (side, side, 3)
    png = tf.io.encode_png(picture).numpy()
    seen = decode_or_fault(png, 64, short_side=short_side)
    np.testing.assert_allclose(corners(part), corners(seen), atol=6)


def test_maps_lie_over_the_crop_that_was_looked_at() -> None:
    picture, options = ramp(120, 300), Pixels(resize=80, crop=48, antialias=True)
    part = visible_part(picture, options, {"short_side": 64, "image_size": 64})
    assert part.shape == (72, 180, 3)
    (seen,) = crops(tf.io.encode_png(picture)[None], options, None)
    np.testing.assert_allclose(corners(part), corners(seen), atol=6)


def test_maps_lie_over_a_picture_that_was_squashed() -> None:
    picture = ramp(20, 30)
    assert visible_part(picture, None, {"short_side": None, "image_size": 64}) is picture
    assert visible_part(picture, None, None) is picture
    whole = Pixels(resize=64, crop=64, antialias=True)
    np.testing.assert_array_equal(visible_part(picture, whole, None), picture)


def test_the_captioners_with_attention_are_those_that_show_it() -> None:
    # The units must be divisible by the eight heads of transformers.
    sizes: dict[str, Any] = {"vocabulary_size": 9, "units": 8}
    boxes = tf.constant([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]])
    inputs = {"regions": tf.ones([1, 2, 5]), "global": tf.ones([1, 3]), "boxes": boxes}
    for name in captioner_names():
        model = build_captioner(name, global_size=3, region_size=5, grid_cells=2, **sizes)
        shown = why_no_maps(model.name, InputSpec(())) is None
        assert shown == (name in captioner_names(with_attention=True)) == model.has_attention
        if shown:
            maps = model.attention(model.encode(inputs), tf.constant([[1, 3]]))
            assert maps.shape == (1, 2, 2)


def test_grids_need_not_be_square() -> None:
    model = build_captioner(
        "att2in2", vocabulary_size=5, global_size=None, region_size=3, grid_cells=6, units=4
    )
    vocabulary = build_vocabulary({"dog": 1}, min_count=1)
    inputs = {"regions": tf.random.stateless_normal([2, 6, 3], [0, 1])}
    first, second = attention_maps(model, vocabulary, inputs, ["dog dog dog", ""], [2, 3, 3])
    assert first.words == ["dog"] * 3 and first.weights.shape == (3, 2, 3)
    np.testing.assert_allclose(first.weights.sum(axis=(1, 2)), 1.0, rtol=1e-5)
    assert second.words == [] and second.weights.shape == (0, 2, 3)


def run_folder(folder: Path, captioner: str, features: list[str], stage: str) -> Path:
    """Returns a run folder without weights, which is enough for these checks."""
    folder.mkdir(parents=True)
    config = {"model": {"captioner": captioner}, "image": {"source": "features"}}
    config["data"] = {"rows": None, "unit_norm": False, "use_box": False}
    (folder / "config.json").write_text(json.dumps({"stage": stage, "config": config}))
    records = {"backbone": None, "feature_dtype": "float16", "grid_shape": None}
    shown = {"inputs": {}, "features": features, "records": records}
    (folder / "image_features.json").write_text(json.dumps(shown))
    return folder


@pytest.mark.parametrize(
    ("captioner", "features", "stage", "message"),
    [
        (
            "fc",
            ["global_feature"],
            "cross_entropy",
            "runs/stage: captioner fc has no attention, unlike att2in, .*transformer, updown",
        ),
        ("updown", ["region_feature"], "cross_entropy", "runs/stage: .*regions, not a grid"),
        (
            "",
            [],
            "tri_rec",
            "a run of R2M, which .*transformer or updown, for example workspace/runs/updown/cross",
        ),
    ],
)
def test_a_run_with_nothing_to_show_is_refused_before_it_is_opened(
    captioner: str, features: list[str], stage: str, message: str, tmp_path: Path
) -> None:
    run = run_folder(tmp_path / "runs" / "stage", captioner, features, stage)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=message):
        show_attention(run, [tmp_path / "a.png"], tmp_path)


def test_files_that_cannot_be_shown_together(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    a, photograph, drawn = (tmp_path / name for name in ("b/a.jpg", "a.png", "a.attention.png"))
    for file in (a, photograph, drawn):
        file.write_bytes(b"")
    for files, message in (
        ([], "no images were given"),
        ([tmp_path / "c.png"], "c.png: no such folder of images, list of image files or image"),
        ([photograph, photograph], r"image 'a\.png' .* is already named at .*list each image once"),
        ([photograph, drawn], r"a\.attention\.png is one of the images, and the output for a\.png"),
    ):
        with pytest.raises(InputError, match=message):
            show_attention(tmp_path, files, tmp_path)
