"""Image features of a backbone: decoding, resizing and feature extraction."""

from tfrecords.feature_options import BackboneOptions, FeatureOptions
from tfrecords.features.backbones import backbone_names
from tfrecords.features.decoding import decode_image, decode_or_fault, resize_image
from tfrecords.features.extraction import (
    FeatureExtractor,
    ImageFeatures,
    adaptive_average_pooling,
    cached_extractor,
)

__all__ = [
    "BackboneOptions",
    "FeatureExtractor",
    "FeatureOptions",
    "ImageFeatures",
    "adaptive_average_pooling",
    "backbone_names",
    "cached_extractor",
    "decode_image",
    "decode_or_fault",
    "resize_image",
]
