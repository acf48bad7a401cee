"""Signatures of supervised captioners: from image bytes, pixels and stored features."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.inputs.pixels import Pixels
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import PICTURES, InputSpec
from r2m.inference.captioner_image_inputs import records_extractor
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.loaded_captioner import LoadedCaptioner
from r2m.inference.run import Run
from r2m.serving.caption_graph import CaptionGraph, draw_keys
from r2m.serving.image_graph import columns_of_pixels, inputs_of_images
from r2m.serving.region_graph import columns_of_boxes
from r2m.serving.signatures import (
    DEFAULT,
    IMAGES,
    ServedModel,
    Signature,
    Tensors,
    example_image,
    finite_or_fault,
    first_fault,
    make_signature,
)
from r2m.serving.stored_features import (
    example_features,
    feature_specs,
    inputs_of_features,
    why_no_features,
)
from tfrecords.core.errors import InputError
from tfrecords.pictures.batch_decoding import decode_batch
from tfrecords.pictures.extraction import FeatureExtractor

FROM_BOXES = "from_boxes"
_BYTES = {IMAGES: tf.TensorSpec([None], tf.string)}
_GRAY = 128.0


def captioner_model(run: Run, captions: int, max_pixels: int) -> ServedModel:
    """Returns the signatures of a captioner, or of an ensemble of captioners.

    Args:
        run: the captioner.
        captions: n, captions per image.
        max_pixels: maximum size of an image.

    Raises:
        InputError: more captions are requested than the beam has hypotheses, or the backbone cannot
            be built.
    """
    loaded = run.loaded
    assert isinstance(loaded, LoadedCaptioner)
    graph = CaptionGraph(run, captions)
    signatures, left_out, first, backbones = image_signatures(
        loaded.inputs, loaded.trained_on, loaded.signature, run.weights, max_pixels, graph.caption
    )
    if run.model.has_attention:
        signatures["attention"] = first(_attend(graph, loaded))
    else:
        left_out["attention"] = "the model has no attention"
    networks = (run.model, *backbones)
    return ServedModel("captioner", signatures, left_out, notes=graph.notes, networks=networks)


def image_signatures(
    inputs: InputSpec,
    members: tuple[TrainedInputs, ...],
    signature: dict[str, tf.TensorSpec],
    weights: str | None,
    max_pixels: int,
    body: Any,
) -> tuple[dict[str, Signature], dict[str, str], Any, tuple[Any, ...]]:
    """Returns the signatures of a model of images.

    Args:
        inputs: inputs of the model.
        members: captioners that the model consists of.
        signature: signature of the model.
        weights: file of the backbone's weights; None if they were not read from a file.
        max_pixels: an image may have at most.
        body: (model inputs, status, keys) -> outputs.

    Returns:
        Those of `serving_default`, `from_boxes`, `from_pixels` and `from_features` that the model
        supports; the reasons for the others; a maker of the first kind of signature with another
        body; and the backbones of stored features in the graph.
    """
    left_out: dict[str, str] = {}
    makers: dict[str, Any] = {}
    extractor, why = _extractor(inputs, members, weights)
    if why is None:
        makers[DEFAULT] = _ImageBytes(inputs, extractor, max_pixels)
    elif extractor is not None:
        makers[FROM_BOXES] = _BoxedImages(inputs, extractor, max_pixels)
        left_out[DEFAULT] = f"{why}; {DEFAULT} has the inputs of {FROM_BOXES}"
    else:
        left_out[DEFAULT] = f"{why}; {DEFAULT} has the inputs of from_features"
    if why := why or _why_no_pixels(inputs, extractor):
        left_out["from_pixels"] = why
    else:
        makers["from_pixels"] = _GivenPixels(inputs, extractor)
    if why := why_no_features(inputs, members):
        left_out["from_features"] = why
    else:
        makers["from_features"] = _Features(inputs, members, signature)
    if not makers:
        raise InputError(
            f"{members[0].path}: nothing can be exported: "
            + "; ".join(f"{name}: {text}" for name, text in left_out.items())
        )
    made = {name: maker(body) for name, maker in makers.items()}
    # Clients, warm-up and TensorFlow Serving expect a signature of this name.
    first = next(iter(makers.values()))
    if DEFAULT not in made:
        made = {DEFAULT: first(body), **made}
    return made, left_out, first, () if extractor is None else (extractor.model,)


class _ImageBytes:
    """Makes signatures of encoded images."""

    def __init__(
        self, inputs: InputSpec, extractor: FeatureExtractor | None, max_pixels: int
    ) -> None:
        self._arguments = inputs, extractor, max_pixels

    def __call__(self, body: Any) -> Signature:
        def of_images(images: tf.Tensor) -> Tensors:
            found, status = inputs_of_images(images, *self._arguments)
            found, finite = finite_or_fault(found)
            outputs: Tensors = body(found, first_fault(status, finite), draw_keys(images))
            return outputs

        return make_signature(of_images, _BYTES, {IMAGES: example_image()})


class _BoxedImages:
    """Makes signatures of encoded images with the boxes that a detector found in them."""

    def __init__(self, inputs: InputSpec, extractor: FeatureExtractor, max_pixels: int) -> None:
        self._inputs, self._extractor, self._max_pixels = inputs, extractor, max_pixels

    def __call__(self, body: Any) -> Signature:
        backbone = self._extractor.options

        def of_boxes(images: tf.Tensor, boxes: tf.Tensor, box_lengths: tf.Tensor) -> Tensors:
            pixels, status = decode_batch(
                images,
                backbone.image_size,
                interpolation=backbone.interpolation,
                max_pixels=self._max_pixels,
            )
            given, finite = finite_or_fault({"boxes": boxes})
            rows = columns_of_boxes(pixels, given["boxes"], box_lengths, self._extractor)
            found, computed = finite_or_fault(self._inputs.assemble(rows))
            outputs: Tensors = body(found, first_fault(status, finite, computed), draw_keys(images))
            return outputs

        specs = {
            **_BYTES,
            "boxes": tf.TensorSpec([None, None, 4], tf.float32),
            "box_lengths": tf.TensorSpec([None], tf.int32),
        }
        example = {IMAGES: example_image(), "boxes": [[0.0, 0.0, 1.0, 1.0]], "box_lengths": 1}
        return make_signature(of_boxes, specs, example)


class _GivenPixels:
    """Makes signatures of pixels as the network reads them."""

    def __init__(self, inputs: InputSpec, extractor: FeatureExtractor | None) -> None:
        self._inputs, self._extractor = inputs, extractor
        if extractor is not None:
            self._side = extractor.options.image_size
        else:
            own = inputs.find(Pixels)
            assert own is not None
            self._side = own.crop

    def __call__(self, body: Any) -> Signature:
        def of_pixels(pixels: tf.Tensor) -> Tensors:
            pixels, status = _finite(pixels)
            found = {"pixels": pixels}
            if self._extractor is not None:
                columns = columns_of_pixels(pixels, self._extractor)
                found = self._inputs.assemble(columns)
            found, finite = finite_or_fault(found)
            outputs: Tensors = body(found, first_fault(status, finite), None)
            return outputs

        shape = [self._side, self._side, 3]
        spec = tf.TensorSpec([None, *shape], tf.float32)
        return make_signature(of_pixels, {"pixels": spec}, {"pixels": np.full(shape, _GRAY)})


class _Features:
    """Makes signatures of stored features."""

    def __init__(
        self,
        inputs: InputSpec,
        members: tuple[TrainedInputs, ...],
        signature: dict[str, tf.TensorSpec],
    ) -> None:
        self._inputs = inputs
        self._specs = feature_specs(inputs, members, signature)

    def __call__(self, body: Any) -> Signature:
        def of_features(**columns: tf.Tensor) -> Tensors:
            columns, finite = finite_or_fault(columns)
            found, status = inputs_of_features(columns, self._inputs)
            outputs: Tensors = body(found, first_fault(status, finite), None)
            return outputs

        return make_signature(of_features, self._specs, example_features(self._specs))


def _finite(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    found, status = finite_or_fault({"pixels": pixels})
    return found["pixels"], status


def _extractor(
    inputs: InputSpec, members: tuple[TrainedInputs, ...], weights: str | None
) -> tuple[FeatureExtractor | None, str | None]:
    """Returns the backbone of the records, and the reason why image bytes alone are not an input.

    With both, the model reads images with detected boxes.
    """
    if not inputs.stored:
        if weights is not None:
            raise InputError(
                f"{members[0].path}: the model contains its network: leave out --weights"
            )
        return None, None
    detected = [member for member in members if member.needs_detections]
    for member in members:
        if set(member.inputs.stored) - member.columns_of_backbone:
            return None, "the model reads features that R2M did not compute"
    if detected:
        why = "the model reads regions of detected boxes, and no detector is in the graph"
        if PICTURES in inputs.columns:
            return None, why
        return records_extractor(members, inputs, weights), why
    return records_extractor(members, inputs, weights), None


def _why_no_pixels(inputs: InputSpec, extractor: FeatureExtractor | None) -> str | None:
    if PICTURES in inputs.columns and extractor is not None:
        return "the members of the ensemble read pixels of two sizes"
    if extractor is not None and extractor.features.crops > 1:
        return "the network processes several crops of each image"
    return None


def _attend(graph: CaptionGraph, loaded: LoadedCaptioner) -> Any:
    """Returns `CaptionGraph.attend`, with maps [B, T, gh, gw] if the rows are a grid."""
    shape = _map_shape(loaded)

    def attend(inputs: Tensors, status: tf.Tensor, keys: tf.Tensor | None) -> Tensors:
        found = graph.attend(inputs, status, keys)
        if shape is not None:
            steps = tf.shape(found["attention"])[1]
            found["attention"] = tf.reshape(found["attention"], [-1, steps, *shape])
        return found

    return attend


def _map_shape(loaded: LoadedCaptioner) -> tuple[int, int] | None:
    """Returns (gh, gw) of the rows of a captioner; None if they are regions."""
    if loaded.inputs.find(Regions) is not None:
        return None
    model: Any = loaded.model
    if (own := loaded.inputs.find(Pixels)) is not None:
        height, width = model.network.compute_output_shape((1, own.crop, own.crop, 3))[1:3]
        return height, width
    shape = loaded.trained_on[0].grid_shape
    return None if shape is None else (shape[0], shape[1])
