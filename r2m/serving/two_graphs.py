"""A captioner as two graphs without strings and loops: encoder and one step of the decoder.

Runtimes such as ONNX Runtime and LiteRT run them; `caption_loop` is the search around them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from pipelines.inputs.pixels import Pixels
from r2m.configuration.decoding_settings import default_decoding
from r2m.inference.captioner_image_inputs import records_extractor
from r2m.inference.loaded_captioner import LoadedCaptioner
from r2m.inference.loaded_r2m import LoadedR2M
from r2m.inference.run import Run
from r2m.serving.caption_graph import unspaced_ids
from r2m.serving.image_graph import columns_of_pixels
from r2m.serving.signatures import Tensors
from r2m.serving.stored_features import LENGTHS, feature_specs, why_no_features
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import END_ID, START_ID
from tfrecords.pictures.extraction import FeatureExtractor

# Decoding settings that the loop supports.
_KNOWN = ("beam_size", "max_length", "length_normalization", "allow_unknown")


class TwoGraphs(NamedTuple):
    """The graphs of a captioner.

    Attributes:
        encoder: `tf.function` of the model's inputs -> `memory_<i>` and `state_<i>` of an image.
        step: `tf.function` of `tokens` int32[N], `state_<i>` and `memory_<i>`, N first ->
            `log_probs` float32[N, V] and `next_state_<i>`.
        settings: settings of the loop, as JSON.
    """

    encoder: Any
    step: Any
    settings: dict[str, Any]


def two_graphs(run: Run, *, fixed_sizes: bool) -> TwoGraphs:
    """Returns the graphs of a captioner, of R2M or of an ensemble.

    Args:
        run: run to caption with.
        fixed_sizes: whether the encoder has a batch of one image and the step one row per
            hypothesis of the beam, instead of any number.

    Raises:
        InputError: the loop does not support a decoding setting, or inputs have no fixed sizes.
    """
    settings = _settings(run)
    make, specs, image = _inputs(run, fixed_sizes)
    return split_captioner(run.model, make, specs, {**settings, "image": image}, fixed_sizes)


def split_captioner(
    model: Any,
    make: Callable[[Tensors], Tensors],
    specs: Mapping[str, tf.TensorSpec],
    settings: dict[str, Any],
    fixed_sizes: bool,
) -> TwoGraphs:
    """Returns the graphs of a captioner.

    Args:
        model: the captioner.
        make: computes its inputs from tensors of `specs`.
        specs: specs of the tensors, B first.
        settings: settings with `max_length` and `beam_size`.
        fixed_sizes: see `two_graphs`.
    """
    most, names = settings["max_length"], list(specs)

    def encoded(inputs: Tensors) -> Any:
        memory = model.encode(make(inputs))
        return memory, model.initial_state(memory, most)

    # Traced once for the structure of memory and state.
    structure: list[Any] = []
    batch = 1 if fixed_sizes else None
    given = [
        tf.TensorSpec([batch, *spec.shape[1:]], spec.dtype, name=name)
        for name, spec in specs.items()
    ]

    def encode(*tensors: tf.Tensor) -> Tensors:
        memory, state = encoded(dict(zip(names, tensors, strict=True)))
        structure[:] = tf.nest.map_structure(
            lambda tensor: tf.TensorSpec(tensor.shape, tensor.dtype), [memory, state]
        )
        return {**_named("memory", memory), **_named("state", state)}

    encoder = tf.function(encode, input_signature=given, autograph=False)
    encoder.get_concrete_function()
    memory, state = structure
    rows = settings["beam_size"] if fixed_sizes else None
    after = {
        f"{part}_{number}": tf.TensorSpec(
            [rows, *spec.shape[1:]], spec.dtype, name=f"{part}_{number}"
        )
        for part, nested in (("state", state), ("memory", memory))
        for number, spec in enumerate(tf.nest.flatten(nested))
    }

    def step(tokens: tf.Tensor, *tensors: tf.Tensor) -> Tensors:
        own = dict(zip(after, tensors, strict=True))
        hidden, new = model.step(
            tokens, _packed("state", state, own), _packed("memory", memory, own)
        )
        log_probs = tf.nn.log_softmax(model.logits(hidden))
        return {"log_probs": log_probs, **_named("next_state", new)}

    tokens = tf.TensorSpec([rows], tf.int32, name="tokens")
    stepper = tf.function(step, input_signature=[tokens, *after.values()], autograph=False)
    return TwoGraphs(encoder, stepper, settings)


def _named(name: str, nested: Any) -> Tensors:
    """Returns the tensors of a structure by numbered names."""
    flat = tf.nest.flatten(nested)
    return {f"{name}_{number}": tf.identity(tensor) for number, tensor in enumerate(flat)}


def _packed(name: str, structure: Any, named: Mapping[str, tf.Tensor]) -> Any:
    flat = [named[f"{name}_{number}"] for number in range(len(tf.nest.flatten(structure)))]
    return tf.nest.pack_sequence_as(structure, flat)


def _settings(run: Run) -> dict[str, Any]:
    """Returns the settings of the loop; raises `InputError` for unsupported ones."""
    decoding, defaults = run.config.decoding.to_dict(), default_decoding()
    others = {
        name: value
        for name, value in decoding.items()
        if name not in _KNOWN and value != defaults.get(name, value)
    }
    if others:
        listed = ", ".join(f"{name}={value}" for name, value in others.items())
        raise InputError(
            f"--format: the loop around the two graphs supports {', '.join(_KNOWN)}, not {listed}: "
            "leave these settings out, or export a SavedModel"
        )
    vocabulary = run.vocabulary
    suppressed = [0, 1] if decoding["allow_unknown"] else [0, 1, vocabulary.unk_id]
    return {
        **{name: decoding[name] for name in _KNOWN[:3]},
        "start_id": START_ID,
        "end_id": END_ID,
        "suppressed": suppressed,
        "unspaced": unspaced_ids(vocabulary),
    }


def _inputs(
    run: Run, fixed_sizes: bool
) -> tuple[Callable[[Tensors], Tensors], dict[str, tf.TensorSpec], dict[str, Any] | None]:
    """Returns the function that computes model inputs, its tensors, and the image settings."""
    loaded: Any = run.loaded
    if isinstance(loaded, LoadedR2M):
        concepts: Any = loaded.inputs.inputs[0]
        most = concepts.max_concepts * concepts.max_repeats if fixed_sizes else None
        specs = {
            "concepts": tf.TensorSpec([None, most], tf.int32),
            "concept_lengths": tf.TensorSpec([None], tf.int32),
        }
        return (lambda inputs: inputs), specs, None
    assert isinstance(loaded, LoadedCaptioner)
    if (own := loaded.inputs.find(Pixels)) is not None and not loaded.inputs.stored:
        image = _image(own.crop, own.resize, own.interpolation, False)
        return (lambda inputs: inputs), _pixels(own.crop), image
    extractor = _extractor(run, loaded)
    if extractor is not None:
        network, view = extractor.options, extractor.features
        size = network.image_size
        image = _image(size, view.short_side or size, network.interpolation, bool(view.short_side))

        def of_pixels(inputs: Tensors) -> Tensors:
            return loaded.inputs.assemble(columns_of_pixels(inputs["pixels"], extractor))

        return of_pixels, _pixels(size), image
    if why := why_no_features(loaded.inputs, loaded.trained_on):
        raise InputError(f"{loaded.folders[0].path}: {why}")
    specs = feature_specs(loaded.inputs, loaded.trained_on, loaded.signature)
    if LENGTHS in specs:
        raise InputError(
            f"{loaded.folders[0].path}: the model reads regions, whose number differs between "
            "images: export a SavedModel"
        )
    return (lambda inputs: loaded.inputs.assemble(inputs)), specs, None


def _extractor(run: Run, loaded: LoadedCaptioner) -> FeatureExtractor | None:
    """Returns the backbone of the records; None if the graph cannot contain one."""
    for member in loaded.trained_on:
        if member.needs_detections or set(member.inputs.stored) - member.columns_of_backbone:
            return None
    if any(own.inputs.find(Pixels) is not None for own in loaded.trained_on):
        return None
    extractor = records_extractor(loaded.trained_on, loaded.inputs, run.weights)
    return None if extractor.features.crops > 1 else extractor


def _pixels(side: int) -> dict[str, tf.TensorSpec]:
    return {"pixels": tf.TensorSpec([None, side, side, 3], tf.float32)}


def _image(size: int, resize: int, interpolation: str, keeps_proportions: bool) -> dict[str, Any]:
    return {
        "size": size,
        "resize": resize,
        "bicubic": interpolation == "bicubic",
        "keeps_proportions": keeps_proportions,
    }
