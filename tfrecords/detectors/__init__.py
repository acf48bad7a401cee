"""Object detectors with a common interface: images in, checked boxes with class names out.

| kind | description |
|---|---|
| `frozen_graph` | a TF1 frozen graph of the object detection API (`frozen_inference_graph.pb`) |
| `saved_model` | a TF2 (or TF1) detection SavedModel with the same names in its signature |
| `keras_hub` | a KerasHub object detector: the name of a preset, or a preset's folder |
| `classifier` | an ImageNet classifier of `keras.applications` or EfficientNet-Lite, by its name |
| `zero_shot` | CLIP or SigLIP of KerasHub, which scores any words: a preset's name or folder |

Each kind has its own module, imported when a detector of this kind is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from tfrecords.detections.boxes import Detections
from tfrecords.errors import InputError

DETECTORS = ("frozen_graph", "saved_model", "keras_hub", "classifier", "zero_shot")
# Kinds whose models are given by a name and need no file.
NAMED = ("keras_hub", "classifier", "zero_shot")
# Kinds that label whole images, and can score several crops of each.
LABELERS = ("classifier", "zero_shot")
CROPS = (1, 5)
PROMPTS = ("a photo of {}",)


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """Options of a detector: the model, and the detections that are kept.

    Attributes:
        kind: one of the kinds in the table above.
        model: its file or folder; for the kinds in `NAMED`, a name.
        label_map: names of the classes; see `tfrecords.label_maps`.
        min_score: minimum score of an object.
        max_detections: maximum number of objects per image; the highest scores are kept.
        batch_size: images per step, if the detector accepts batches.
        crops: pictures that a kind in `LABELERS` scores per image: 1 (the image) or 5 (also its
            corners).
        prompts: sentences with `{}` in place of a class name, for `zero_shot`.
    """

    kind: str
    model: str
    label_map: Path
    min_score: float = 0.0
    max_detections: int = 100
    batch_size: int = 8
    crops: int = 1
    prompts: tuple[str, ...] = PROMPTS

    @property
    def files(self) -> list[Path]:
        """The files that determine the detections; only the label map for a named model."""
        path = Path(self.model)
        if path.is_dir():
            return [self.label_map, *sorted(file for file in path.rglob("*") if file.is_file())]
        return [self.label_map, path] if path.is_file() else [self.label_map]


class Detector(Protocol):
    """A detector that is ready to run."""

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections | str]:
        """Returns the detections of each image.

        Args:
            images: uint8 [H, W, 3] each, of any sizes.

        Returns:
            One item per image: its objects in descending order of scores, or the reason why the
            detector cannot process it.

        Raises:
            InputError: the outputs of the detector have unexpected shapes or values.
        """


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
