"""Inputs chosen for a captioner; a further kind is one class; means equal those of the model."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

from models.captioners.base import Inputs
from models.layers import attention
from pipelines import caption_batches
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs import model_input
from pipelines.inputs.global_vector import GlobalVector, MeanOfRows
from pipelines.inputs.grid import Grid
from pipelines.inputs.model_input import ModelInput, register_input
from pipelines.inputs.pixels import Pixels
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from tests.pipelines.test_caption_batches import boxes_of, records  # noqa: F401
from tfrecords.errors import InputError
from tfrecords.records import Records

EVERY = ("global_feature", "grid_feature", "region_feature", "image")


def chosen(inputs: Inputs, held: tuple[str, ...] = EVERY, **data: Any) -> tuple[ModelInput, ...]:
    image = {"resize": 9, "crop": 8, "mirror": True, "least_area": 0.5}
    config = ConfigDict({"data": {"rows": None, "unit_norm": False, **data}, "image": image})
    return InputSpec.choose(inputs, config, held, model="toy", where="records/toy").inputs


def test_inputs_are_chosen_among_what_records_hold() -> None:
    rows, updown = Inputs(("regions",)), Inputs(("regions",), optional=("global",))
    grids = ("grid_feature",)
    assert chosen(rows) == (Regions(),) and chosen(rows, grids) == (Grid(),)
    assert chosen(rows, rows="grid", unit_norm=True) == (Grid(unit_norm=True),)
    assert chosen(updown) == (Regions(), GlobalVector())
    # A mean stands for a vector only where the captioner requires one.
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
    # Earlier runs saved what the rows look like.
    rows = {"regions": tf.TensorSpec([None, None, 3]), "region_lengths": tf.TensorSpec([None])}
    signature = InputSpec((mean,)).signature(rows)
    assert signature == {"global": tf.TensorSpec([None, 3], tf.float32)}
    assert InputSpec((mean,)).signature(signature) == signature
    assert mean.sizes(signature) == {"global_size": 3}


def test_one_tensor_is_made_in_one_way() -> None:
    one, other = InputSpec((Grid(),)), InputSpec((Grid(unit_norm=True),))
    assert one.union(InputSpec((Grid(), GlobalVector()))).inputs == (Grid(), GlobalVector())
    with pytest.raises(ValueError, match=r"differ in data\.unit_norm: .* the same regions"):
        one.union(other)
    with pytest.raises(ValueError, match="make regions of grid_feature and of region_feature"):
        one.union(InputSpec((Regions(),)))


def test_a_further_kind_of_input_is_one_class(
    records: Records,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The class that the documentation shows: boxes, which reach batches, and runs, of records."""
    model_input.input_class("grid")
    monkeypatch.setattr(model_input, "_KINDS", dict(model_input._KINDS))
    assert model_input.__doc__ is not None
    source = model_input.__doc__.split("```")[1].removeprefix("python\n")
    shown: dict[str, Any] = {**vars(model_input), "dataclasses": dataclasses}
    exec(source, shown)

    inputs = InputSpec(chosen(Inputs(("regions",), optional=("boxes",)), (*EVERY, "boxes")))
    assert inputs.inputs == (Regions(), shown["Boxes"]())
    batches = caption_batches.training_batches(
        records, inputs, CaptionOptions(captions_per_image=1), batch_size=4, seed=0
    )
    for batch in batches.take(3).as_numpy_iterator():
        for boxes, tokens, length in zip(
            batch["boxes"], batch["tokens"], batch["region_lengths"], strict=True
        ):
            own = boxes_of(tokens[0, 1] - 100)
            assert len(own) == length and boxes.shape[1] == 4
            np.testing.assert_array_equal(boxes[:length], own)
            assert not boxes[length:].any()
    of_images = caption_batches.image_batches(records, "val", inputs, batch_size=3).element_spec
    assert of_images["boxes"].shape.as_list() == [None, None, 4]
    # A run that was trained with boxes reads them again, one that was not does not.
    assert inputs.stored == ("region_feature", "boxes")
    saved = InputSpec(chosen(Inputs(("regions",), optional=("boxes",)), inputs.stored))
    assert saved == inputs and saved.signature(of_images)["boxes"] == of_images["boxes"]
    assert chosen(Inputs(("regions",), optional=("boxes",))) == (Regions(),)
    with pytest.raises(ValueError, match="unknown input 'sound'; known: boxes, concepts, global"):
        model_input.input_class("sound")
    with pytest.raises(ValueError, match=r"input 'boxes' of .*Regions is taken by .*Boxes"):
        register_input("boxes")(Regions)
