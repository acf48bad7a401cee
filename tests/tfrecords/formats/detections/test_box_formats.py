"""Boxes and scores in other formats than expected: seen in the whole file, converted by option."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_files import CODES, HEADER, coco, of_image, write_csv, write_hdf5
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrecords.builders.detections.build import DetectionsOptions, build_detections
from tfrecords.core.errors import InputError
from tfrecords.formats.detections.box_formats import BoxOptions, split_box_options
from tfrecords.formats.detections.reading import DetectionSource, read_boxes, read_detections
from tfrecords.pictures.boxes import are_in_pixels

Boxes = dict[str, tuple[int, int, np.ndarray, np.ndarray]]


def written(boxes: np.ndarray, form: str, height: int, width: int) -> np.ndarray:
    """Boxes [N, 4], left, top, right, bottom in pixels, in another format."""
    x1, y1, x2, y2 = boxes.T
    scale = np.ones(4)
    if form.startswith("relative_"):
        form = form.removeprefix("relative_")
        turned = form == "yxyx"
        scale = np.array([height, width] * 2 if turned else [width, height] * 2, float)
    rows = {
        "xywh": (x1, y1, x2 - x1, y2 - y1),
        "xyxy": (x1, y1, x2, y2),
        "yxyx": (y1, x1, y2, x2),
        "cxcywh": ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1),
    }
    return np.stack(rows[form], axis=1) / scale


def write_coco(path: Path, boxes: Boxes, form: str = "xywh", percent: float = 1.0) -> Path:
    images, annotations = [], []
    for number, (name, (height, width, corners, scores)) in enumerate(boxes.items()):
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for box, score in zip(written(corners, form, height, width), scores, strict=True):
            annotations.append(
                {
                    **{"image_id": number, "category_id": 7},
                    **{"bbox": box.tolist(), "score": float(score) * percent},
                }
            )
    path.write_text(json.dumps(coco(annotations, images=images)))
    return path


def some_boxes(seed: int, images: int = 12, each: int = 4) -> Boxes:
    """Boxes anywhere in images of any size."""
    draw = np.random.default_rng(seed)
    found: Boxes = {}
    for number in range(images):
        height, width = draw.integers(80, 900, 2)
        ends = np.sort(draw.random((each, 2, 2)), axis=1) * [width, height]
        ends[:, 1] = np.maximum(ends[:, 1], ends[:, 0] + 1.5)
        corners = np.minimum(ends.reshape(each, 4), [width, height] * 2)
        scores = np.sort(draw.uniform(0.3, 1.0, each))[::-1]
        found[f"{number}.jpg"] = (int(height), int(width), corners, scores)
    return found


def read_all(path: Path, options: BoxOptions | None = None, companion: Path | None = None) -> Any:
    converted: Counter[str] = Counter()
    images = list(read_boxes(path, companion, options=options or BoxOptions(), converted=converted))
    boxes = np.concatenate([image.found.boxes for image in images])
    return boxes, np.concatenate([image.found.scores for image in images]), converted


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), images=st.integers(10, 20), each=st.integers(4, 6))
def test_any_honest_file_passes_and_any_other_format_is_seen(
    tmp_path_factory: pytest.TempPathFactory, seed: int, images: int, each: int
) -> None:
    boxes, folder = some_boxes(seed, images, each), tmp_path_factory.mktemp("boxes")
    count = images * each
    honest, scores, converted = read_all(write_coco(folder / "d.json", boxes))
    assert len(honest) == count and not converted
    for form in ("relative_xywh", "relative_xyxy", "relative_yxyx", "xyxy", "cxcywh"):
        path = write_coco(folder / "d.json", boxes, form)
        with pytest.raises(InputError, match=rf"d\.json: \d+ of {count} boxes .*`boxes={form}`"):
            read_all(path)
        again, _, converted = read_all(path, BoxOptions(boxes=form))
        np.testing.assert_allclose(again, honest, atol=1e-6)
        assert converted == {f"boxes_from_{form}": count}
        with pytest.raises(InputError, match="boxes"):
            read_all(write_coco(folder / "d.json", boxes), BoxOptions(boxes=form))
    path = write_coco(folder / "d.json", boxes, percent=100)
    with pytest.raises(InputError, match=rf"{count} of {count} scores .*`,scores=percent`"):
        read_all(path)
    again, percents, converted = read_all(path, BoxOptions(scores="percent"))
    np.testing.assert_allclose(percents, scores, atol=1e-6)
    assert converted == {"scores_from_percent": count}
    with pytest.raises(InputError, match="leave `scores=percent` out"):
        read_all(write_coco(folder / "d.json", boxes), BoxOptions(scores="percent"))


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((640, 480), [[0, 0, 1, 1]]),  # a placeholder
        ((640, 480), [[0, 0, 1, 1]] * 12),
        ((640, 480), [[0.25, 0.5, 0.5, 0.75]]),  # a single box proves nothing
        ((640, 480), [[300, 200, 500, 400]] * 2),
        ((640, 480), [[0.25, 0.5, 0.5, 0.75], [10, 10, 200, 200]] * 5),
        ((3, 3), [[0.5, 0.5, 0.5, 0.5]] * 30),  # a tiny image
        ((100, 100), [[60, 10, 30, 20]] * 8 + [[90, 80, 30, 30]] * 2),  # reach out of the picture
        ((100, 100), [[0, 0, 100, 100]] * 30),  # labels of the whole image
    ],
)
def test_weak_evidence_is_no_error(
    tmp_path: Path, size: tuple[int, int], boxes: list[list[float]]
) -> None:
    images = [{"id": 1, "file_name": "a.jpg", "width": size[0], "height": size[1]}]
    rows = [{"image_id": 1, "category_id": 7, "bbox": box} for box in boxes]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(coco(rows, images=images)))
    assert len(read_all(path)[0]) == len(boxes)


@pytest.mark.parametrize("number", [0, -1, 0.5])
def test_placeholders_prove_nothing(tmp_path: Path, number: float) -> None:
    """Four equal numbers: no box of any format."""
    boxes = [[number] * 4] * 30 + [[10, 10, 20, 20]]
    rows = [{"image_id": 1, "category_id": 7, "bbox": box} for box in boxes]
    images = [{"id": 1, "file_name": "a.jpg", "width": 640, "height": 480}]
    path = tmp_path / "d.json"
    path.write_text(json.dumps(coco(rows, images=images)))
    assert read_all(path)[1].tolist() == [1.0] * (1 if number <= 0 else 31)


def test_annotations_without_a_score_among_percents(tmp_path: Path) -> None:
    boxes = {"a.jpg": (99, 99, np.array([[1.0, 1, 50, 50]] * 3), np.array([0.5, 0.7, 0.9]))}
    path = write_coco(tmp_path / "d.json", boxes, percent=100)
    content = json.loads(path.read_text())
    del content["annotations"][1]["score"]
    path.write_text(json.dumps(content))
    scores = read_all(path, BoxOptions(scores="percent"))[1]
    np.testing.assert_allclose(scores, [0.5, 1.0, 0.9], atol=1e-6)


def test_boxes_of_a_picture_of_another_size(tmp_path: Path) -> None:
    boxes = {
        name: (height // 3, width // 3, corners, scores)
        for name, (height, width, corners, scores) in some_boxes(1).items()
    }
    with pytest.raises(InputError, match=r"no format fits all\. Are width and height"):
        read_all(write_coco(tmp_path / "d.json", boxes))


def test_an_example_names_its_place(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "d.json", some_boxes(0), "relative_xywh")
    place = r"d\.json: annotation 0: \[0\.\d+, .*\] in an image of \d+ x \d+ pixels"
    with pytest.raises(InputError, match=place):
        read_all(path)


@pytest.mark.parametrize("kind", ["csv", "h5"])
def test_files_without_sizes(tmp_path: Path, labels: Path, kind: str) -> None:
    boxes = some_boxes(2)
    sizes = write_coco(tmp_path / "sizes.json", boxes)
    order = "xyxy" if kind == "csv" else "yxyx"

    def write(form: str) -> Path:
        path = tmp_path / f"d.{kind}"
        rows = {n: (written(c, form, h, w), s) for n, (h, w, c, s) in boxes.items()}
        if kind == "h5":
            content = {
                name.removesuffix(".jpg"): of_image(numbers, scores, [2] * len(scores))
                for name, (numbers, scores) in rows.items()
            }
            return write_hdf5(path, content)
        lines = [
            f"{name},s,{next(iter(CODES))},{score},{a},{c},{b},{d},0"
            for name, (numbers, scores) in rows.items()
            for (a, b, c, d), score in zip(numbers.tolist(), scores, strict=True)
        ]
        return write_csv(path, *lines, header=HEADER)

    honest = read_all(write(f"relative_{order}"), companion=labels)[0]
    assert len(honest) == 48
    pixels = write(order)
    with pytest.raises(InputError, match=rf"4\d of 48 boxes have numbers above 2.*boxes={order},s"):
        read_all(pixels, companion=labels)
    with pytest.raises(InputError, match="add `,sizes=FILE`"):
        read_all(pixels, BoxOptions(boxes=order), labels)
    again, _, converted = read_all(pixels, BoxOptions(boxes=order, sizes=sizes), labels)
    np.testing.assert_allclose(again, honest, atol=1e-6)
    assert converted == {f"boxes_from_{order}": 48}
    with pytest.raises(InputError, match=r"All fit as .*`boxes=relative_xywh`"):
        read_all(write("relative_xywh"), companion=labels)


def test_options_of_a_command_line(tmp_path: Path) -> None:
    source = DetectionSource.parse("a.json+b.json,0.1,2,boxes=xyxy,scores=percent")
    assert source.box_options == BoxOptions(boxes="xyxy", scores="percent")
    assert (source.path, source.companion, source.weight) == (Path("a.json"), Path("b.json"), 2.0)
    assert split_box_options("a=b.json,sizes=c.json") == (
        ["a=b.json"],
        BoxOptions(sizes=Path("c.json")),
    )
    for text, message in (
        ("a.json,boxes=xyzw", "known: xywh, xyxy"),
        ("a.json,scores=5", "known: fraction, percent"),
        ("a.json,box=xyxy", "found box=xyxy"),
        ("a.json,boxes=xyxy,boxes=xywh", "once"),
    ):
        with pytest.raises(InputError, match=message):
            DetectionSource.parse(text)
    path = write_coco(tmp_path / "d.json", some_boxes(3))
    with pytest.raises(InputError, match="leave sizes="):
        read_all(path, BoxOptions(sizes=path))


def test_records_name_the_conversion_and_refuse_tiny_boxes(tmp_path: Path) -> None:
    boxes = some_boxes(4)
    path = write_coco(tmp_path / "d.json", boxes, "xyxy", percent=100)
    options = DetectionsOptions(
        folder=tmp_path / "records", detector=f"coco:{path},boxes=xyxy,scores=percent", shards=1
    )
    records = build_detections(options, progress=False)
    assert records.manifest["converted"] == {"boxes_from_xyxy": 48, "scores_from_percent": 48}
    recorded = records.manifest["options"]
    assert (recorded["boxes"], recorded["scores"]) == ("xyxy", "percent")
    with pytest.raises(InputError, match=r"boxes=xyxy out, or pass them to r2m-detect-objects"):
        read_detections([DetectionSource.parse(f"{records.folder},boxes=xyxy")])
    assert len(read_detections([DetectionSource(path=records.folder)])) == 12


def test_a_detector_that_gives_pixels() -> None:
    assert are_in_pixels(np.array([[10.0, 20, 200, 100]] * 3))
    assert not are_in_pixels(np.array([[10.0, 20, 200, 100]]))
    assert not are_in_pixels(np.array([[-0.1, 0.2, 1.2, 1.0]] * 9))
    assert not are_in_pixels(np.zeros((0, 4)))


def test_real_boxes_pass_and_no_other_format_of_them_does(
    tmp_path: Path, shared_data: Path
) -> None:
    real = [
        shared_data / "flickr8k/detections_coco.json",
        shared_data / "flickr8k/tags_imagenet.json",
    ]
    real += sorted((shared_data / "coco/mini/annotations").glob("instances_*.json"))
    assert len(real) == 4
    for path in real:
        content = json.loads(path.read_text())
        assert sum(len(image.found.scores) for image in read_boxes(path, None)) > 100
        for row in content["annotations"]:
            x, y, width, height = row["bbox"]
            row["bbox"] = [x, y, x + width, y + height]
        if path.name.startswith("tags"):
            continue  # whole images are written alike
        (tmp_path / "xyxy.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="All fit as `boxes=xyxy`"):
            list(read_boxes(tmp_path / "xyxy.json", None))
