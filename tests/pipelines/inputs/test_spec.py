"""Selection of inputs for a captioner, a user-defined kind of input, and means of rows."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from models.captioners.base import Inputs
from models.layers import attention
from pipelines import caption_batches, captions
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs import model_input
from pipelines.inputs.boxes import Boxes
from pipelines.inputs.global_vector import GlobalVector, MeanOfRows
from pipelines.inputs.grid import Grid
from pipelines.inputs.model_input import ModelInput, register_input
from pipelines.inputs.pixels import Pixels
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from r2m.cli.launch import _record_damage
from tests.pipelines.test_caption_batches import boxes_of, records  # noqa: F401
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.records import Records

BOXED = Inputs(("regions", "boxes"))
EVERY = ("global_feature", "grid_feature", "region_feature", "image")


def chosen(inputs: Inputs, held: tuple[str, ...] = EVERY, **data: Any) -> tuple[ModelInput, ...]:
    image = {"backbone": "MobileNet", "resize": 9, "crop": 8, "mirror": True, "least_area": 0.5}
    settings = {"rows": None, "unit_norm": False, "use_box": False, **data}
    config = ConfigDict({"data": settings, "image": image})
    return InputSpec.choose(inputs, config, held, model="captioner toy", where="records/toy").inputs


def test_inputs_are_chosen_among_what_records_hold() -> None:
    rows, updown = Inputs(("regions",)), Inputs(("regions",), optional=("global",))
    grids = ("grid_feature",)
    assert chosen(rows) == (Regions(),) and chosen(rows, grids) == (Grid(),)
    assert chosen(rows, rows="grid", unit_norm=True) == (Grid(unit_norm=True),)
    assert chosen(updown) == (Regions(), GlobalVector())
    # The mean of the rows replaces a missing vector only if the captioner requires a vector.
    assert chosen(updown, grids) == (Grid(),)
    assert chosen(Inputs(("global",)), grids) == (MeanOfRows(Grid()),)
    assert chosen(Inputs(("grid",))) == (Grid(),)
    (pixels,) = chosen(Inputs(("pixels",)))
    assert pixels == Pixels(resize=9, crop=8, mirror=True, least_area=0.5)
    assert InputSpec((pixels,)).evaluated().inputs == (Pixels(resize=9, crop=8),)


@pytest.mark.parametrize(
    ("inputs", "held", "data", "message"),
    [
        (("regions",), ("global_feature",), {},
         "records/toy: captioner toy needs region_feature or grid_feature, which .*--features$"),
        (("global",), ("image",), {}, "needs global_feature or .* with --config.image.source=pix"),
        (("pixels",), (), {}, "needs image, .* without --nostore_pixels"),
        (("grid",), EVERY, {"rows": "regions"}, "config.data: rows 'regions': .* reads a grid"),
        (("regions", "boxes"), EVERY, {"rows": "regions"},
         "needs region_feature with boxes, which .*--regions=DETECTIONS"),
        (("regions", "boxes"), ("region_feature",), {},
         "needs region_feature with boxes or grid_feature, .* --backbone and --store_grid"),
        (("regions",), EVERY, {"rows": "regions", "use_box": True},
         "needs region_feature with boxes, which .*--regions=DETECTIONS"),
        (("regions",), EVERY, {"rows": "cells"}, "unknown rows 'cells'; known: grid, regions"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen(
    inputs: tuple[Any, ...], held: tuple[str, ...], data: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        chosen(Inputs(inputs), held, **data)


def test_the_mean_of_rows_is_that_of_the_model() -> None:
    regions = tf.RaggedTensor.from_row_lengths(
        tf.random.stateless_normal([5, 3], [0, 1]), [2, 0, 3]
    )
    mean = MeanOfRows(Regions(unit_norm=True))
    padded = mean.rows.assemble({"region_feature": regions})
    found = mean.assemble({"region_feature": regions})["global"]
    np.testing.assert_array_equal(found, attention.mean_row(padded["regions"], padded))
    np.testing.assert_allclose(found[0], padded["regions"][0, :2].numpy().mean(0), rtol=1e-6)
    # Runs of earlier versions saved the specification of the rows.
    rows = {"regions": tf.TensorSpec([None, None, 3]), "region_lengths": tf.TensorSpec([None])}
    signature = InputSpec((mean,)).signature(rows)
    assert signature == {"global": tf.TensorSpec([None, 3], tf.float32)}
    assert InputSpec((mean,)).signature(signature) == signature
    assert mean.sizes(signature) == {"global_size": 3}


def test_one_tensor_is_made_in_one_way() -> None:
    one, other = InputSpec((Grid(),)), InputSpec((Grid(unit_norm=True),))
    assert one.union(InputSpec((Grid(), GlobalVector()))).inputs == (Grid(), GlobalVector())
    with pytest.raises(ValueError, match=r"differ in data\.unit_norm: they cannot share regions"):
        one.union(other)
    with pytest.raises(
        ValueError, match="compute regions from grid_feature and from region_feature"
    ):
        one.union(InputSpec((Regions(),)))


def test_boxes_are_those_of_the_chosen_rows() -> None:
    held, without = (*EVERY, "boxes"), EVERY
    assert chosen(BOXED, held) == (Regions(), Boxes(Regions()))
    assert chosen(BOXED, held, rows="grid") == (Grid(), Boxes(Grid()))
    # A grid, whose cells have boxes, takes precedence over regions without boxes.
    assert chosen(BOXED, without) == (Grid(), Boxes(Grid()))
    assert chosen(Inputs(("grid", "boxes")), held) == (Grid(), Boxes(Grid()))
    optional = Inputs(("regions",), optional=("boxes",))
    assert chosen(optional, held) == (Regions(), Boxes(Regions()))
    assert chosen(optional, without) == (Regions(),)
    with pytest.raises(
        ValueError, match="compute regions, region_lengths and boxes from different row"
    ):
        InputSpec((Regions(), Boxes(Grid())))
    inputs = InputSpec((Regions(), Boxes(Regions())))
    assert inputs.columns == ("region_feature", "boxes") and inputs.evaluated() == inputs
    # A run reads boxes if and only if it was trained with boxes.
    assert InputSpec(chosen(BOXED, inputs.stored)) == inputs
    assert chosen(optional, ("region_feature",)) == (Regions(),)


def test_boxes_reach_batches(records: Records) -> None:  # noqa: F811
    inputs = InputSpec(chosen(BOXED, (*EVERY, "boxes")))
    options = CaptionOptions(captions_per_image=1)
    training = caption_batches.training_batches(records, inputs, options, batch_size=4, seed=0)
    validation = caption_batches.validation_batches(records, "val", inputs, options, batch_size=4)
    for batch in (*training.take(3).as_numpy_iterator(), *validation.as_numpy_iterator()):
        for boxes, tokens, length in zip(
            batch["boxes"], batch["tokens"], batch["region_lengths"], strict=True
        ):
            own = boxes_of(tokens[0, 1] - 100)
            assert len(own) == length and boxes.shape == (batch["regions"].shape[1], 4)
            np.testing.assert_array_equal(boxes[:length], own)
            assert not boxes[length:].any()
    of_images = caption_batches.image_batches(records, "val", inputs, batch_size=3).element_spec
    assert of_images["boxes"].shape.as_list() == [None, None, 4]
    assert inputs.signature(of_images)["boxes"] == of_images["boxes"]
    # Cells of a grid of 2 x 2.
    cells = InputSpec(chosen(BOXED, EVERY, rows="grid"))
    (batch,) = caption_batches.image_batches(records, "val", cells, batch_size=3)
    assert batch["regions"].shape == (1, 4, 3)
    np.testing.assert_array_equal(batch["boxes"][0, 1], [0, 0.5, 0.5, 1])
    assert cells.signature(cells_spec := {"boxes": tf.TensorSpec([None, 4, 4])}) == cells_spec


def test_boxes_beside_features_sort_regions_by_area() -> None:
    rng = np.random.default_rng(0)
    lengths = (3, 0, 4)
    features = [rng.normal(size=(n, 2)).astype("f4") for n in lengths]
    corners = [np.sort(rng.random((n, 2, 2)), axis=1).reshape(n, 4).astype("f4") for n in lengths]
    corners[2][3] = corners[2][1]  # equal areas stay in their order
    rows = {
        "region_feature": tf.ragged.constant([x.tolist() for x in features], inner_shape=(2,)),
        "boxes": tf.ragged.constant([x.tolist() for x in corners], inner_shape=(4,)),
    }
    regions = Regions(unit_norm=True, use_box=True)
    inputs = InputSpec((regions, Boxes(regions)))
    assert regions.columns == ("region_feature", "boxes")
    batch = inputs.assemble(rows)
    assert batch["regions"].shape == (3, 4, 7) and batch["region_lengths"].numpy().tolist() == [
        3,
        0,
        4,
    ]
    assert inputs.sizes(batch) == {"region_size": 7}
    for image, (own, boxes) in enumerate(zip(features, corners, strict=True)):
        # As in the loader of self-critical.pytorch: normalized, appended, sorted.
        own = own / np.linalg.norm(own, 2, 1, keepdims=True)
        y1, x1, y2, x2 = np.hsplit(boxes, 4)
        shown = np.hstack([own, x1, y1, x2, y2, (x2 - x1) * (y2 - y1), boxes])
        shown = np.array(sorted(shown, key=lambda row: row[6], reverse=True)).reshape(-1, 11)
        found = np.concatenate([batch["regions"][image], batch["boxes"][image]], axis=-1)
        np.testing.assert_allclose(found[: len(own)], shown, atol=1e-6)
        assert not found[len(own) :].any()
    # Cells have equal areas, so sorting keeps their order.
    grid = {"grid_feature": tf.constant(rng.normal(size=(2, 2, 3, 4)), tf.float32)}
    cells = InputSpec((Grid(use_box=True), Boxes(Grid(use_box=True)))).assemble(grid)
    np.testing.assert_array_equal(cells["regions"][..., :4], Grid().assemble(grid)["regions"])
    np.testing.assert_allclose(cells["regions"][1, 4, 4:], [1 / 3, 1 / 2, 2 / 3, 1, 1 / 6], 1e-5)
    np.testing.assert_array_equal(cells["boxes"], Boxes(Grid()).assemble(grid)["boxes"])


def test_other_numbers_of_boxes_than_of_regions_are_an_error(
    records: Records,  # noqa: F811
) -> None:
    regions = np.ones((3, 2), "<f2").tobytes()
    wrong = encode_example({"image_id": "a.jpg", "region_feature": regions, "boxes": [0.0] * 8})
    batches = tf.data.Dataset.from_tensors([wrong])
    (batch,) = batches.map(captions.parser(records, ("boxes",)))
    assert batch.keys() == {"boxes"}
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        list(batches.map(captions.parser(records, ("region_feature", "boxes"))))
    message = "numbers of boxes and of region features differ.*a.jpg.*2.*3.*r2m-inspect .*--verify"
    assert re.search(message, str(_record_damage(caught.value)))


def test_a_further_kind_of_input_is_one_class(
    records: Records,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The class from the documentation: image sizes of records reach batches and runs."""
    model_input.input_class("grid")
    monkeypatch.setattr(model_input, "_KINDS", dict(model_input._KINDS))
    assert model_input.__doc__ is not None
    source = model_input.__doc__.split("```")[1].removeprefix("python\n")
    shown: dict[str, Any] = {**vars(model_input), "dataclasses": dataclasses}
    exec(source, shown)

    kinds = Inputs(("regions",), optional=("size",))  # type: ignore[arg-type]
    inputs = InputSpec(chosen(kinds, (*EVERY, "height", "width")))
    assert inputs.inputs == (Regions(), shown["Size"]())
    (batch,) = caption_batches.image_batches(records, "val", inputs, batch_size=3)
    np.testing.assert_array_equal(batch["size"], [[0, 0]])
    # A run reads sizes if and only if it was trained with sizes.
    assert inputs.stored == ("region_feature", "height", "width")
    saved = InputSpec(chosen(kinds, inputs.stored))
    spec = tf.TensorSpec([None, 2], tf.int64)
    assert saved == inputs and saved.signature({"size": spec})["size"] == spec
    assert chosen(kinds) == (Regions(),)
    with pytest.raises(ValueError, match="unknown input 'sound'; known: boxes, concepts, global"):
        model_input.input_class("sound")
    with pytest.raises(ValueError, match=r"input 'size' of .*Regions is taken by .*Size"):
        register_input("size")(Regions)
