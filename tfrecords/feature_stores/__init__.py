"""Image features that exist already, found by image: one interface for all their formats."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True, kw_only=True)
class StoredFeatures:
    """What a store knows of one image; None for what it has not.

    Attributes:
        global_feature: float [D], one vector of the whole image.
        grid_feature: float [gh, gw, D], a feature map.
        region_feature: float [N, D], a vector each of N regions.
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax of the regions, in 0..1.
        height: of the image, pixels.
        width: likewise.
    """

    global_feature: np.ndarray | None = None
    grid_feature: np.ndarray | None = None
    region_feature: np.ndarray | None = None
    boxes: np.ndarray | None = None
    height: int | None = None
    width: int | None = None


class FeatureStore(Protocol):
    """Features of many images, read one at a time.

    Stores are picklable and small: they go to every worker, which opens the files itself.
    """

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each kind of feature in it by its name in the records; None varies.

        For example `{"global_feature": (2048,), "region_feature": (None, 2048)}`.
        """

    @property
    def has_boxes(self) -> bool:
        """Whether it knows the boxes of its regions."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders it reads, for the sources in a manifest."""

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> number of entries that were passed over when it was opened."""

    def keys(self) -> list[str]:
        """The name of every image in it, in the order of the store."""

    def get(self, *keys: str) -> StoredFeatures | None:
        """The features of an image, looked up by each of `keys` in turn; None if it has none.

        An image is known by several names: its number in the data set, its file name, the file
        name without suffix.

        Raises:
            InputError: what is stored for the image is damaged; names file and image.
        """
