"""Opening of a detector of any kind."""

from __future__ import annotations

from functools import lru_cache

from tfrecords.core.errors import InputError
from tfrecords.detectors.options import DETECTORS, Detector, DetectorOptions


@lru_cache(maxsize=1)
def open_detector(options: DetectorOptions) -> Detector:
    """Opens the detector of these options, once per process (a worker has many shards).

    Raises:
        InputError: the kind is unknown, the model is missing, damaged or has another signature, a
            package is not installed, or the label map does not fit the detector.
    """
    if options.kind not in DETECTORS:
        raise InputError(f"detector {options.kind!r} is not known; known: {', '.join(DETECTORS)}")
    if options.kind == "frozen_graph":
        from tfrecords.detectors.frozen_graph import open_frozen_graph

        return open_frozen_graph(options)
    if options.kind == "saved_model":
        from tfrecords.detectors.saved_model import open_saved_model

        return open_saved_model(options)
    if options.kind == "classifier":
        from tfrecords.detectors.classifier import open_classifier

        return open_classifier(options)
    if options.kind == "zero_shot":
        from tfrecords.detectors.zero_shot import open_zero_shot

        return open_zero_shot(options)
    from tfrecords.detectors.keras_hub import open_keras_hub

    return open_keras_hub(options)
