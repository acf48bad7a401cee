"""Untrusted exports: graphs that access files outside their folder are not loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from r2m.serving.loaded_export import load_export
from tfrecords.core.errors import InputError


def write(x: tf.Tensor, file: str) -> tf.Tensor:
    tf.io.write_file(file, "written")
    return x


def write_in_a_loop(x: tf.Tensor, file: str) -> tf.Tensor:
    return tf.map_fn(lambda one: write(one, file), x)


def print_to_a_file(x: tf.Tensor, file: str) -> tf.Tensor:
    tf.print("written", output_stream=f"file://{file}")
    return x


def call_python(x: tf.Tensor, file: str) -> tf.Tensor:
    return tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), [None])


def read_lines(x: tf.Tensor, file: str) -> tf.Tensor:
    lines = tf.data.TextLineDataset(file).map(lambda line: 0.0)
    return x + lines.reduce(0.0, lambda a, b: a + b)


def read_table(x: tf.Tensor, file: str) -> tf.Tensor:
    rows = tf.data.experimental.CsvDataset(file, [0.0])
    return x + rows.reduce(0.0, lambda a, b: a + b[0])


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (read_table, "CSVDataset"),
        (write, "WriteFile"),
        (write_in_a_loop, "WriteFile"),
        (print_to_a_file, "WriteFile"),
        (call_python, "PyFunc"),
        (read_lines, "TextLineDataset"),
    ],
)
def test_graphs_that_do_more_than_compute_are_refused(
    body: Any, named: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    module = tf.Module()
    function = tf.function(
        lambda x: {"y": body(x, str(file))}, input_signature=[tf.TensorSpec([None], name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "model/1"), signatures=function)
    with pytest.raises(InputError, match=rf"the graph contains \w*{named}"):
        load_export(tmp_path / "model")
    assert not file.exists()


def test_models_that_only_compute_are_loaded(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable(2.0)
    function = tf.function(
        lambda x: {"y": module.weight * x}, input_signature=[tf.TensorSpec([None], name="x")]
    )
    tf.saved_model.save(module, str(tmp_path / "model/1"), signatures=function)
    (export,) = load_export(tmp_path / "model")
    found = export.signatures["serving_default"].function({"x": tf.constant([3.0]).numpy()})
    assert found["y"].tolist() == [6.0]


def test_models_of_several_graphs_are_refused(tmp_path: Path) -> None:
    """TensorFlow loads the graph with exactly the tag `serve`, which may not be the first graph."""
    function = tf.function(lambda x: {"y": x}, input_signature=[tf.TensorSpec([None], name="x")])
    tf.saved_model.save(tf.Module(), str(tmp_path / "model/1"), signatures=function)
    file = tmp_path / "model/1/saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    content.meta_graphs.add().CopyFrom(content.meta_graphs[0])
    content.meta_graphs[0].meta_info_def.tags.append("other")
    file.write_bytes(content.SerializeToString())
    with pytest.raises(InputError, match="has 2 graphs, expected one"):
        load_export(tmp_path / "model")
