"""Zero-shot labels by CLIP and SigLIP of KerasHub: scores of any words for whole images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.detectors.image_labels import label_images
from tfrecords.detectors.options import DetectorOptions
from tfrecords.language.label_maps import read_label_map
from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.keras_hub_presets import import_keras_hub, opening_preset, sized_converter

# Class of the backbone -> name of its layer from embeddings to logits, and probabilities of logits:
# CLIP compares classes with each other, SigLIP decides on each class.
_HEADS = {
    "CLIPBackbone": ("clip_head", tf.nn.softmax),
    "SigLIPBackbone": ("siglip_head", tf.sigmoid),
}
_PROMPTS_AT_ONCE = 64


def open_zero_shot(options: DetectorOptions) -> ZeroShotLabeler:
    """Opens the preset `options.model` and encodes the prompts of all classes.

    Raises:
        InputError: KerasHub is not installed, the preset cannot be loaded, or is neither CLIP nor
            SigLIP with an image size.
    """
    keras_hub = import_keras_hub("detector zero_shot")
    with opening_preset("model", options.model):
        backbone = keras_hub.models.Backbone.from_preset(options.model)
    kind = type(backbone).__name__
    if kind not in _HEADS:
        raise InputError(
            f"{options.model} is a {kind}: expected {' or '.join(_HEADS)}, which compare images "
            "with sentences"
        )
    loader = getattr(keras_hub.models, kind.replace("Backbone", "Preprocessor"))
    with opening_preset("model", options.model):
        preprocessor = loader.from_preset(options.model)
    return ZeroShotLabeler(backbone, preprocessor, options)


class ZeroShotLabeler:
    """CLIP or SigLIP as a `Detector`: the classes of a label map, the whole image as each box.

    The score of a class is its probability: among all classes for CLIP (Radford et al. 2021,
    section 3.1), alone for SigLIP (Zhai et al. 2023). The vector of a class is the mean over the
    prompts of their normalized vectors.
    """

    def __init__(self, backbone: Any, preprocessor: Any, options: DetectorOptions) -> None:
        """Encodes the prompts.

        Args:
            backbone: `keras_hub.models.CLIPBackbone` or `SigLIPBackbone`.
            preprocessor: its preprocessor.
            options: options of the detector.

        Raises:
            InputError: the preprocessor has no image size.
        """
        self._converter = sized_converter(preprocessor, options.model)
        head, self._probabilities = _HEADS[type(backbone).__name__]
        self._head = getattr(backbone, head)
        self._backbone = backbone
        self._preprocessor = preprocessor
        self._options = options
        self._classes = read_label_map(options.label_map).classes
        names = [self._classes[number] for number in sorted(self._classes)]
        self._sentences = tf.reduce_mean(
            [self._encode([p.replace("{}", name) for name in names]) for p in options.prompts], 0
        )
        self._run = tf.function(self._forward, reduce_retracing=True)

    def _encode(self, prompts: Sequence[str]) -> tf.Tensor:
        """Returns vectors of length 1, float32 [N, D]."""
        encoded = []
        for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
            texts = tf.constant(prompts[start : start + _PROMPTS_AT_ONCE])
            # Without images the converter is not called.
            tokens = self._preprocessor({"images": None, "prompts": texts})["token_ids"]
            encoded.append(tf.cast(self._backbone.get_text_embeddings(tokens), tf.float32))
        return tf.math.l2_normalize(tf.concat(encoded, 0), axis=-1)

    def _forward(self, pixels: tf.Tensor) -> tf.Tensor:
        images = self._backbone.get_vision_embeddings(pixels)
        logits, _ = self._head(images, tf.cast(self._sentences, images.dtype))
        return self._probabilities(tf.cast(logits, tf.float32))

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections | str]:
        """See `Detector`."""
        return label_images(images, self._score, self._classes, self._options)

    def _score(self, images: Sequence[np.ndarray]) -> np.ndarray:
        pixels = [tf.cast(self._converter(image[None]), tf.float32)[0] for image in images]
        return self._run(tf.stack(pixels)).numpy()
