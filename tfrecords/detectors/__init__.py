"""Object detectors behind one interface: images in, checked boxes with class names out.

| kind | what |
|---|---|
| `frozen_graph` | a TF1 frozen graph of the object detection API (`frozen_inference_graph.pb`) |
| `saved_model` | a TF2 (or TF1) detection SavedModel with the same names in its signature |
| `keras_hub` | a KerasHub object detector: the name of a preset, or a preset's folder |
| `classifier` | an ImageNet classifier of `keras.applications` or EfficientNet-Lite, by its name |
| `zero_shot` | CLIP or SigLIP of KerasHub, which scores any words: a preset's name or folder |

One implementation each in a file of its own, imported when it is opened.
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
# Kinds whose models have a name, and need no file.
NAMED = ("keras_hub", "classifier", "zero_shot")
# Kinds that label whole images, and can score several crops of each.
LABELERS = ("classifier", "zero_shot")
CROPS = (1, 5)
PROMPTS = ("a photo of {}",)


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """Options of a detector: the model, and the detections that are kept.

    Attributes:
        kind: one of the table above.
        model: its file or folder, or its name, for the kinds in `NAMED`.
        label_map: names of the classes; see `tfrecords.label_maps`.
        min_score: less certain objects are left out.
        max_detections: the most certain ones of an image that are kept.
        batch_size: images per step, where the detector takes several.
        crops: of each image that a kind in `LABELERS` scores: 1 (the image) or 5 (also its
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
        """The files that decide what is detected; none of a model that has a name only."""
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
            One item an image: its objects, most certain first, or the text of why the detector
            cannot look at it.

        Raises:
            InputError: the detector's outputs are not what they should be.
        """


@lru_cache(maxsize=1)
def open_detector(options: DetectorOptions) -> Detector:
    """The detector of these options, opened once a process (a worker has many shards).

    Raises:
        InputError: an unknown kind, a missing or damaged model, one of another signature, a package
            that is not installed, or a label map that cannot be its.
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
