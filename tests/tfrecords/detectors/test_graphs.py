"""TF1 frozen graphs and TF2 SavedModels with the names of the object detection API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from detector_toys import (
    DROPPED,
    bright_image,
    options,
    write_frozen_graph,
    write_saved_model,
)

from tfrecords.core.errors import InputError
from tfrecords.detectors.opening import open_detector
from tfrecords.pictures.boxes import Detections

WRITERS = {"frozen_graph": write_frozen_graph, "saved_model": write_saved_model}
BOXES = [(20, 40, (5, 10, 10, 30)), (30, 30, (0, 0, 30, 15)), (20, 40, (2, 4, 18, 36))]
IMAGES = [bright_image(*size_and_box) for size_and_box in BOXES]


@pytest.mark.parametrize("batch", [1, None])
@pytest.mark.parametrize("kind", WRITERS)
def test_boxes_of_images_of_several_sizes(
    kind: str, batch: int | None, tmp_path: Path, label_map: Path
) -> None:
    model = WRITERS[kind](tmp_path / "model", batch=batch)
    found = open_detector(options(kind, model, label_map)).detect(IMAGES)
    for objects, (height, width, (top, left, bottom, right)) in zip(found, BOXES, strict=True):
        assert isinstance(objects, Detections)
        assert objects.class_names == ("cat", "lamp")
        assert objects.class_ids.tolist() == [1, 2]
        expected = [top / height, left / width, bottom / height, right / width]
        np.testing.assert_allclose(objects.boxes[1], expected, atol=1e-6)
        # An edge of the other one lay outside of the image.
        np.testing.assert_allclose(objects.boxes[0], [0, 0.2, 1, 0.3], atol=1e-6)
        np.testing.assert_allclose(objects.scores, [0.75, 0.5])
        assert (objects.boxes.dtype, objects.scores.dtype) == (np.float32, np.float32)
        assert dict(objects.dropped) == DROPPED


def test_images_of_one_size_go_together(tmp_path: Path, label_map: Path) -> None:
    model = write_frozen_graph(tmp_path / "model.pb", batch=None)
    detector = open_detector(options("frozen_graph", model, label_map, batch_size=2))
    sizes: list[tuple[int, ...]] = []
    run = detector._run  # type: ignore[attr-defined]
    detector._run = lambda images: sizes.append(tuple(images.shape)) or run(images)  # type: ignore[attr-defined]
    alone = open_detector(options("frozen_graph", model, label_map, batch_size=1))
    for several, one in zip(
        detector.detect([*IMAGES, IMAGES[0]]), alone.detect([*IMAGES, IMAGES[0]]), strict=True
    ):
        np.testing.assert_array_equal(several.boxes, one.boxes)  # type: ignore[union-attr]
    assert sorted(sizes) == [(1, 20, 40, 3), (1, 30, 30, 3), (2, 20, 40, 3)]


def test_what_is_kept(tmp_path: Path, label_map: Path) -> None:
    model = write_frozen_graph(tmp_path / "model.pb")
    certain = open_detector(options("frozen_graph", model, label_map, min_score=0.6))
    assert [o.class_names for o in certain.detect(IMAGES[:1])] == [("cat",)]  # type: ignore[union-attr]
    few = open_detector(options("frozen_graph", model, label_map, max_detections=1))
    assert [o.scores.tolist() for o in few.detect(IMAGES[:1])] == [[0.75]]  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", WRITERS)
def test_an_image_the_graph_fails_on_harms_no_other(
    kind: str, tmp_path: Path, label_map: Path
) -> None:
    model = WRITERS[kind](tmp_path / "model", batch=None)
    images = [
        IMAGES[0],
        bright_image(2, 9, (0, 0, 1, 1)),
        bright_image(2, 9, (0, 1, 1, 2)),
        IMAGES[2],
    ]
    found = open_detector(options(kind, model, label_map)).detect(images)
    assert [type(item) for item in found] == [Detections, str, str, Detections]
    assert "the image is too low" in str(found[1])


def test_a_saved_model_keeps_its_variables(tmp_path: Path, label_map: Path) -> None:
    model = write_saved_model(tmp_path / "model")
    detector = open_detector(options("saved_model", model, label_map))
    assert all(isinstance(item, Detections) for item in detector.detect(IMAGES) * 2)


def test_an_opened_detector_is_kept(tmp_path: Path, label_map: Path) -> None:
    wanted = options("frozen_graph", write_frozen_graph(tmp_path / "model.pb"), label_map)
    assert open_detector(wanted) is open_detector(wanted)


def write_other_graph(path: Path) -> Path:
    graph = tf.Graph()
    with graph.as_default():
        tf.compat.v1.placeholder(tf.float32, [1, 4], name="input")
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return path


def test_frozen_graphs_that_are_none(tmp_path: Path, label_map: Path) -> None:
    def opened(path: Path) -> object:
        return open_detector(options("frozen_graph", path, label_map))

    with pytest.raises(InputError, match=r"cannot read the frozen graph .*none\.pb"):
        opened(tmp_path / "none.pb")
    (tmp_path / "text.pb").write_text("no graph")
    with pytest.raises(InputError, match="cannot read the frozen graph"):
        opened(tmp_path / "text.pb")
    (tmp_path / "empty.pb").write_bytes(b"")
    with pytest.raises(InputError, match=r"has no image_tensor, .* it has nothing"):
        opened(tmp_path / "empty.pb")
    with pytest.raises(InputError, match=r"has no image_tensor, num_detections.* it has input"):
        opened(write_other_graph(tmp_path / "other.pb"))
    whole = write_frozen_graph(tmp_path / "whole.pb").read_bytes()
    (tmp_path / "cut.pb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.pb"):
        opened(tmp_path / "cut.pb")
    with pytest.raises(InputError, match=r"accepts float32 .*expected a detector of uint8 images"):
        opened(write_frozen_graph(tmp_path / "float.pb", dtype=tf.float32))
    with pytest.raises(InputError, match=r"accepts uint8 \(4, None, None, 3\)"):
        opened(write_frozen_graph(tmp_path / "four.pb", batch=4))


def test_saved_models_that_are_none(tmp_path: Path, label_map: Path) -> None:
    def opened(folder: Path) -> object:
        return open_detector(options("saved_model", folder, label_map))

    with pytest.raises(InputError, match="found no such folder"):
        opened(tmp_path / "none")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/read.me").write_text("")
    with pytest.raises(InputError, match=r"expected a folder with saved_model\.pb, found read\.me"):
        opened(tmp_path / "notes")
    (tmp_path / "notes/saved_model.pb").write_bytes(b"no model")
    with pytest.raises(InputError, match="cannot open the SavedModel"):
        opened(tmp_path / "notes")
    with pytest.raises(InputError, match=r"has no detection_scores; it has detection_boxes"):
        opened(write_saved_model(tmp_path / "poor", drop="detection_scores"))
    tf.saved_model.save(tf.Module(), str(tmp_path / "bare"))
    with pytest.raises(InputError, match="no signature serving_default"):
        opened(tmp_path / "bare")


def test_outputs_that_do_not_fit(tmp_path: Path, label_map: Path) -> None:
    detector = open_detector(
        options("frozen_graph", write_frozen_graph(tmp_path / "model.pb"), label_map)
    )
    run = detector._run  # type: ignore[attr-defined]
    for name, value in (("num_detections", [99.0]), ("detection_scores", [[0.5]])):
        detector._run = lambda images, n=name, v=value: {**run(images), n: tf.constant(v)}  # type: ignore[attr-defined]
        with pytest.raises(InputError, match=r"returns num_detections \(1,\)"):
            detector.detect(IMAGES[:1])


def test_unknown_kind(label_map: Path) -> None:
    with pytest.raises(InputError, match="known: frozen_graph, saved_model, keras_hub"):
        open_detector(options("caffe", "x", label_map))
