"""Image classifiers of `keras.applications` and EfficientNet-Lite: labels of whole images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.detectors.image_labels import label_images
from tfrecords.detectors.options import DetectorOptions
from tfrecords.language.label_maps import read_label_map
from tfrecords.pictures.backbones import Network, build_network
from tfrecords.pictures.boxes import Detections
from tfrecords.pictures.decoding import resize_image
from tfrecords.pictures.feature_options import BackboneOptions

# Name of the layer with the class probabilities in all of these networks.
_PROBABILITIES = "predictions"


def open_classifier(options: DetectorOptions) -> Classifier:
    """Builds the network `options.model` with its ImageNet weights.

    Raises:
        InputError: the network is unknown, its weights are not installed or cannot be downloaded,
            or the label map has another number of classes.
    """
    backbone = BackboneOptions(name=options.model, layer=_PROBABILITIES)
    network = build_network(backbone)
    classes = read_label_map(options.label_map).classes
    if network.output_shape != (len(classes),):
        raise InputError(
            f"{options.label_map} has {len(classes)} classes, but {options.model} outputs "
            f"{network.output_shape}: give the label map of the classifier"
        )
    return Classifier(network, backbone, options, classes)


@dataclass(frozen=True)
class Classifier:
    """A classifier as a `Detector`: each label has the whole image as its box.

    Attributes:
        network: uint8 images, resized and preprocessed -> probabilities float32 [B, C].
        backbone: options for resizing the images.
        options: options of the detections to keep.
        classes: id -> name; probabilities are in the order of the ids.
    """

    network: Network
    backbone: BackboneOptions
    options: DetectorOptions
    classes: dict[int, str]

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections | str]:
        """See `Detector`."""
        return label_images(images, self._score, self.classes, self.options)

    def _score(self, images: Sequence[np.ndarray]) -> np.ndarray:
        size, interpolation = self.backbone.image_size, self.backbone.interpolation
        squares = [resize_image(tf.constant(image), size, interpolation) for image in images]
        pixels = self.network.preprocess(tf.stack(squares))
        return np.asarray(self.network.model(pixels, training=False))
