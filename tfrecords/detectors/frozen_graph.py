"""TF1 frozen detection graphs, such as the Faster R-CNN for Open Images v4 (spec section 2.2)."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from tfrecords.core.errors import InputError
from tfrecords.detectors.graphs import OUTPUTS, GraphDetector, check_names
from tfrecords.detectors.options import DetectorOptions

_INPUT = "image_tensor"


def open_frozen_graph(options: DetectorOptions) -> GraphDetector:
    """Opens a `frozen_inference_graph.pb`.

    Raises:
        InputError: the file is missing, not a graph, or lacks the names of the detection API.
    """
    path = Path(options.model)
    graph_def = tf.compat.v1.GraphDef()
    try:
        graph_def.ParseFromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise InputError(
            f"cannot read the frozen graph {path}: {error}; expected a frozen_inference_graph.pb"
        ) from error
    # A graph has many nodes; the top-level names identify it.
    nodes = {node.name: node for node in graph_def.node}
    ends = {name: node for name, node in nodes.items() if "/" not in name}
    check_names((_INPUT, *OUTPUTS), ends, str(path))
    try:
        wrapped = tf.compat.v1.wrap_function(
            lambda: tf.graph_util.import_graph_def(graph_def, name=""), []
        )
        image = wrapped.graph.get_tensor_by_name(f"{_INPUT}:0")
        tensors = {name: wrapped.graph.get_tensor_by_name(f"{name}:0") for name in OUTPUTS}
        run = wrapped.prune(image, tensors)
    except (ValueError, KeyError, tf.errors.OpError) as error:
        raise InputError(f"TensorFlow cannot use the graph {path}: {error}") from error
    return GraphDetector(run, tf.TensorSpec(image.shape, image.dtype), options)
