"""Signatures of R2M: from concepts."""

from __future__ import annotations

import tensorflow as tf

from r2m.inference.loaded_r2m import LoadedR2M
from r2m.inference.run import Run
from r2m.serving.caption_graph import CaptionGraph
from r2m.serving.concept_graph import ConceptWords, inputs_of_concepts
from r2m.serving.signatures import DEFAULT, ServedModel, Tensors, make_signature
from tfrecords.errors import InputError

CONCEPTS = "concepts"
FROM_CONCEPTS = "from_concepts"


def r2m_model(run: Run, captions: int) -> ServedModel:
    """Returns the signatures of R2M.

    Args:
        run: of R2M.
        captions: n, captions per item.

    Raises:
        InputError: more captions than the beam is wide, or a file of weights is given.
    """
    loaded = run.loaded
    assert isinstance(loaded, LoadedR2M)
    path = loaded.folders[0].path
    if run.weights is not None:
        raise InputError(f"{path} is a run of R2M, which has no backbone: no --weights")
    graph, lookup = CaptionGraph(run, captions), ConceptWords(loaded.rules, loaded.vocabulary)

    def of_concepts(concepts: tf.Tensor) -> Tensors:
        return graph.caption(*inputs_of_concepts(concepts, lookup, loaded.inputs))

    inputs = {CONCEPTS: tf.TensorSpec([None, None], tf.string)}
    word = next(iter(loaded.rules.dictionary.words), "")
    signature = make_signature(of_concepts, inputs, {CONCEPTS: [word]})
    detectors = ", ".join(rule["file"] for rule in loaded.rules.detections) or "a detector"
    left_out = {
        DEFAULT: f"R2M captions what detectors found ({detectors}), and no detector is in the "
        f"graph; it takes what {FROM_CONCEPTS} takes",
        "attention": "the model has no attention over images",
    }
    signatures = {DEFAULT: signature, FROM_CONCEPTS: signature}
    return ServedModel("r2m", signatures, left_out, lookup.tables, graph.notes)
