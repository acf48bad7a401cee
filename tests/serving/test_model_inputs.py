"""Model inputs from the graph are equal to those of the Python implementation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.inputs.boxes import Boxes
from pipelines.inputs.concepts import Concepts
from pipelines.inputs.global_vector import GlobalVector, MeanOfRows
from pipelines.inputs.grid import Grid
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.concept_rules import ConceptRules
from r2m.serving.captioner_signatures import image_signatures
from r2m.serving.concept_graph import ConceptWords, inputs_of_concepts
from r2m.serving.region_graph import columns_of_boxes
from r2m.serving.signatures import Tensors
from r2m.serving.stored_features import (
    NO_REGIONS,
    example_features,
    feature_specs,
    inputs_of_features,
    why_no_features,
)
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import END, PAD, START, UNK, Vocabulary
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.pictures.extraction import FeatureExtractor
from tfrecords.pictures.feature_options import BackboneOptions, FeatureOptions
from tfrecords.pictures.region_pooling import pool_regions

WORDS = ("ball", "boat", "dog", "hotdog", "sea")
ALL = (PAD, START, END, *WORDS, "big", UNK)
VOCABULARY = Vocabulary(ALL, (1,) * len(ALL))
DICTIONARY = ConceptDictionary(
    WORDS,
    {"dogs": ("dog",), "dog": ("dog",), "boat": ("boat",), "orange": ()},
    frozenset({"dogs"}),
    {"sailing boat": ("boat", "sea"), "sky": (), "whippet": ("dog",), "hot dog": ("hotdog",)},
)
RULES = ConceptRules(DICTIONARY, frozenset(WORDS), "score", [])
ROWS = [
    ["dog", "ball"], ["ball", "dog", "ball"], ["sailing boat", "sea"], ["Sailing_Boat", "dogs"],
    ["whippet, greyhound", "big"], ["sky"], ["my dogs"], ["unicorn", "dog"], ["hot  dog"],
    ["orange"], ["great old boat!"],
]  # fmt: skip


@pytest.mark.parametrize("repeats", [1, 3])
def test_concepts_that_words_name_are_those_of_python(repeats: int) -> None:
    inputs = InputSpec((Concepts(max_concepts=3, max_repeats=repeats),))
    width = max(map(len, ROWS))
    padded = [row + [""] * (width - len(row)) for row in ROWS]
    found, status = inputs_of_concepts(tf.constant(padded), ConceptWords(RULES, VOCABULARY), inputs)
    unknown = 0
    for row, words in enumerate(ROWS):
        text = status.numpy()[row].decode()
        try:
            concepts = RULES.named_concepts(words, VOCABULARY)
        except InputError as error:
            unknown += 1
            assert text.startswith("unknown_concept") and text.split("'")[1] in str(error)
            continue
        assert text == "ok"
        ids = [[VOCABULARY.id_of(one.word) for one in concepts]]
        counts = [[one.count for one in concepts]]
        columns = {"concepts": ids, "concept_counts": counts}
        expected = inputs.assemble(
            {k: tf.ragged.constant(v, tf.int64, ragged_rank=1) for k, v in columns.items()}
        )
        length = int(expected["concept_lengths"][0])
        assert int(found["concept_lengths"][row]) == length
        own = found["concepts"][row, :length].numpy().tolist()
        assert own == expected["concepts"][0, :length].numpy().tolist(), words
    assert unknown == 3


def member(inputs: InputSpec, grid: list[int] | None = None) -> TrainedInputs:
    return TrainedInputs(Path("run"), inputs, {}, None, "float32", grid)


def test_stored_regions_are_those_of_records_and_none_is_a_fault() -> None:
    rows = Regions(unit_norm=True, use_box=True)
    inputs = InputSpec((rows, Boxes(rows), GlobalVector()))
    signature = {
        "regions": tf.TensorSpec([None, None, 6 + 5]),
        "global": tf.TensorSpec([None, 7]),
    }
    specs = feature_specs(inputs, [member(inputs)], signature)
    shapes = {name: spec.shape.as_list() for name, spec in specs.items()}
    assert shapes == {
        "region_feature": [None, None, 6], "boxes": [None, None, 4], "global_feature": [None, 7],
        "region_lengths": [None],
    }  # fmt: skip
    assert example_features(specs)["boxes"] == [[0, 0, 1, 1]]
    rng = np.random.default_rng(0)
    lengths = [3, 1, 0, 2]
    columns = {
        "region_feature": rng.normal(size=(4, 3, 6)).astype(np.float32),
        "boxes": np.sort(rng.uniform(size=(4, 3, 4)), axis=-1).astype(np.float32),
        "global_feature": rng.normal(size=(4, 7)).astype(np.float32),
    }
    given = {name: tf.constant(x) for name, x in columns.items()}
    found, status = inputs_of_features({**given, "region_lengths": tf.constant(lengths)}, inputs)
    assert [text.decode() for text in status.numpy()] == ["ok", "ok", NO_REGIONS, "ok"]
    ragged = {
        name: tf.RaggedTensor.from_tensor(x, lengths=lengths) if x.shape.rank == 3 else x
        for name, x in given.items()
    }
    expected = inputs.assemble(ragged)
    good = [0, 1, 3]
    for name, tensor in expected.items():
        np.testing.assert_allclose(found[name].numpy()[good], tensor.numpy()[good])
    assert int(found["region_lengths"][2]) == 1


def test_stored_grids_have_the_shape_of_the_records() -> None:
    grid = Grid(unit_norm=True)
    inputs = InputSpec((grid, MeanOfRows(dataclasses.replace(grid, unit_norm=False))))
    signature = {"regions": tf.TensorSpec([None, 6, 5]), "global": tf.TensorSpec([None, 5])}
    assert why_no_features(inputs, [member(inputs)]) is not None
    own = member(inputs, [2, 3, 5])
    assert why_no_features(inputs, [own]) is None
    specs = feature_specs(inputs, [own], signature)
    assert {name: spec.shape.as_list() for name, spec in specs.items()} == {
        "grid_feature": [None, 2, 3, 5]
    }
    maps = tf.random.stateless_normal([2, 2, 3, 5], [1, 2])
    found, status = inputs_of_features({"grid_feature": maps}, inputs)
    assert set(status.numpy()) == {b"ok"}
    np.testing.assert_allclose(found["global"], tf.reduce_mean(maps, [1, 2]), rtol=1e-5)
    np.testing.assert_allclose(tf.norm(found["regions"], axis=-1), np.ones((2, 6)), rtol=1e-5)


def test_regions_of_boxes_are_those_that_builds_store() -> None:
    options = BackboneOptions(
        name="MobileNet", weights="none", image_size=32, alpha=0.25, layer="conv_pw_2"
    )
    extractor = FeatureExtractor(options, FeatureOptions(unit_norm=True))
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    corners = rng.uniform(0, 0.6, (2, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 0.5, (2, 3, 2))], -1)
    boxes[0, 0, 2:] = boxes[0, 0, :2]  # a box without area
    boxes = boxes.astype(np.float32)
    seen = extractor(pixels, with_maps=True)
    assert seen.maps is not None
    found = columns_of_boxes(
        tf.constant(pixels), tf.constant(boxes), tf.constant([3, 1]), extractor
    )
    whole = np.array([[0, 0, 1, 1]], np.float32)
    for row, count in enumerate((3, 1)):
        own = np.concatenate([whole, np.clip(boxes[row, :count], 0, 1)])
        np.testing.assert_array_equal(found["boxes"][row].numpy(), own)
        expected = pool_regions(seen.maps[row], own, extractor.features)
        vectors = found["region_feature"][row].numpy()
        np.testing.assert_allclose(vectors, expected, atol=2e-3)
    np.testing.assert_allclose(found["global_feature"], seen.pooled, atol=2e-3)


def test_captioners_of_detected_regions_take_boxes_with_the_images() -> None:
    rows = Regions(use_box=True)
    inputs = InputSpec((rows,))
    backbone = {
        "name": "MobileNet", "weights": "none", "image_size": 32, "alpha": 0.25, "batch_size": 8,
        "layer": "conv_pw_2", "short_side": None, "crops": 1, "unit_norm": False,
        "regions": {"most": 3},
    }  # fmt: skip
    own = TrainedInputs(Path("run"), inputs, {}, backbone, "float16", None, [])
    signature = {
        "regions": tf.TensorSpec([None, None, 32 + 5]),
        "region_lengths": tf.TensorSpec([None], tf.int32),
    }

    def body(found: Tensors, status: tf.Tensor, keys: tf.Tensor | None) -> Tensors:
        del keys
        return {"regions": found["regions"], "lengths": found["region_lengths"], "status": status}

    signatures, left_out, _, networks = image_signatures(
        inputs, (own,), signature, None, 1_000_000, body
    )
    assert list(signatures) == ["serving_default", "from_boxes", "from_features"]
    assert "regions of detected boxes" in left_out["serving_default"] and len(networks) == 1
    picture = tf.io.encode_png(tf.fill([9, 12, 3], tf.constant(7, tf.uint8))).numpy()
    boxes = np.array([[[0, 0, 0.5, 1], [np.nan] * 4], [[0, 0, 1, 1], [0, 0, 0.1, 0.1]]])
    found = signatures["from_boxes"].function(
        tf.constant([picture, b"no picture"]),
        tf.constant(boxes, tf.float32),
        tf.constant([2, 1]),
    )
    status = [text.decode().split(":")[0] for text in found["status"].numpy()]
    assert status == ["not_finite", "unsupported_format"]
    assert found["lengths"].numpy().tolist() == [3, 2]
