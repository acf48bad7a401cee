"""Options of detectors, and their common interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tfrecords.pictures.boxes import Detections

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
        kind: one of the kinds in the table of `tfrecords.detectors`.
        model: its file or folder; for the kinds in `NAMED`, a name.
        label_map: names of the classes; see `tfrecords.language.label_maps`.
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
