"""Signatures of R2M: from concepts, and from images if its detectors are in the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from r2m.inference.loaded_r2m import LoadedR2M
from r2m.inference.run import Run
from r2m.serving.caption_graph import CaptionGraph, draw_keys
from r2m.serving.concept_graph import ConceptWords, inputs_of_concepts
from r2m.serving.detected_concepts import DetectedConcepts, GraphSource, open_sources
from r2m.serving.signatures import (
    DEFAULT,
    IMAGES,
    ServedModel,
    Signature,
    Tensors,
    example_image,
    make_signature,
    within_lengths,
)
from tfrecords.core.errors import InputError
from tfrecords.pictures.batch_decoding import map_images

CONCEPTS, CONCEPT_LENGTHS = "concepts", "concept_lengths"
FROM_CONCEPTS = "from_concepts"
_FAILED = "unreadable: the image is damaged or ends too soon, or a detector fails on it"


def r2m_model(
    run: Run, captions: int, max_pixels: int, detectors: Sequence[str] = ()
) -> ServedModel:
    """Returns the signatures of R2M.

    Args:
        run: run of R2M.
        captions: n, captions per item.
        max_pixels: maximum size of an image.
        detectors: detectors to include in the graph, see `open_sources`; without them there is no
            signature of images.

    Raises:
        InputError: more captions are requested than the beam has hypotheses, a file of weights is
            given, or a detector cannot be in the graph.
    """
    loaded = run.loaded
    assert isinstance(loaded, LoadedR2M)
    path = loaded.folders[0].path
    if run.weights is not None:
        raise InputError(f"{path} is a run of R2M, which has no backbone: leave out --weights")
    graph, lookup = CaptionGraph(run, captions), ConceptWords(loaded.rules, loaded.vocabulary)

    def of_concepts(concepts: tf.Tensor, concept_lengths: tf.Tensor) -> Tensors:
        words = within_lengths(concepts, concept_lengths)
        return graph.caption(*inputs_of_concepts(words, lookup, loaded.inputs))

    inputs = {
        CONCEPTS: tf.TensorSpec([None, None], tf.string),
        CONCEPT_LENGTHS: tf.TensorSpec([None], tf.int32),
    }
    word = next(iter(loaded.rules.dictionary.words), "")
    named = make_signature(of_concepts, inputs, {CONCEPTS: [word], CONCEPT_LENGTHS: 1})
    left_out = {"attention": "the model has no attention over images"}
    if detectors:
        sources = open_sources(detectors, loaded.rules)
        first = _of_images(loaded, graph, sources, max_pixels)
        owned = tuple(source.resources for source in sources if source.resources is not None)
        classifiers = tuple(source.network for source in sources if source.network is not None)
    else:
        files = ", ".join(rule["file"] for rule in loaded.rules.detections) or "a detector"
        left_out[DEFAULT] = (
            f"R2M captions detected objects ({files}), and no detector is in the graph "
            f"(--detector); {DEFAULT} has the inputs of {FROM_CONCEPTS}"
        )
        first, owned, classifiers = named, (), ()
    return ServedModel(
        "r2m",
        {DEFAULT: first, FROM_CONCEPTS: named},
        left_out,
        (*lookup.tables, *owned),
        graph.notes,
        networks=(run.model, *classifiers),
    )


def _of_images(
    loaded: LoadedR2M, graph: CaptionGraph, sources: Sequence[GraphSource], max_pixels: int
) -> Signature:
    """Returns the signature of encoded images, with the concepts as a further output."""
    concepts: Any = loaded.inputs.inputs[0]
    chooser = DetectedConcepts(loaded.rules, loaded.vocabulary, sources, concepts.max_concepts)
    dtypes, nothing = (tf.int32, tf.int64, tf.float32), (-1, 0, 0)

    def of_images(images: tf.Tensor) -> Tensors:
        places, counts, scores, status = map_images(
            images,
            chooser,
            [tf.TensorSpec([chooser.most], dtype) for dtype in dtypes],
            nothing,
            max_pixels=max_pixels,
            failed=_FAILED,
        )
        is_there = places >= 0
        ids, counts = (
            tf.ragged.boolean_mask(x, is_there) for x in (chooser.vocabulary_ids(places), counts)
        )
        found = loaded.inputs.assemble({"concepts": ids, "concept_counts": counts})
        outputs = graph.caption(found, status, draw_keys(images))
        # The most certain one first, as in `from_concepts`.
        words = tf.reverse(chooser.words(places), [1])
        certain = tf.reverse(tf.where(is_there, scores, 0), [1])
        return {**outputs, CONCEPTS: words, "concept_scores": certain}

    specs = {IMAGES: tf.TensorSpec([None], tf.string)}
    return make_signature(of_images, specs, {IMAGES: example_image()})
