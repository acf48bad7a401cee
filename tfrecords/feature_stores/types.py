"""The interface of every store of image features, and what a store returns for one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

FEATURE_KINDS = ("global_feature", "grid_feature", "region_feature")


@dataclass(frozen=True, kw_only=True)
class StoredFeatures:
    """The features of one image; None for those that the store does not have.

    Attributes:
        global_feature: float [D], one vector of the whole image.
        grid_feature: float [gh, gw, D], a feature map.
        region_feature: float [N, D], one vector per region.
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax of the regions, in 0..1.
        corners: float [N, 4], x1, y1, x2, y2 in pixels, instead of boxes, where the store does not
            know the size of the image; see `place_boxes`.
        height: of the image, pixels.
        width: of the image, pixels.
    """

    global_feature: np.ndarray | None = None
    grid_feature: np.ndarray | None = None
    region_feature: np.ndarray | None = None
    boxes: np.ndarray | None = None
    corners: np.ndarray | None = None
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
        """Whether it has the boxes of its regions."""

    @property
    def needs_sizes(self) -> bool:
        """Whether boxes are in pixels of images whose sizes it does not know."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders it reads, for the sources in a manifest."""

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> number of entries that were passed over when it was opened."""

    def keys(self) -> list[str]:
        """The name of every image in it, in the order of the store."""

    def get(self, *names: str) -> StoredFeatures | None:
        """Returns the features of an image, or None if the store has none.

        Args:
            *names: of the same image: its file name, relative to the folder of images, and its
                number in the data set. Names are matched by `tfrecords.images.name_index`.

        Raises:
            AmbiguousNameError: the names match several entries of the store.
            InputError: the entry of the image is damaged; names file and image.
        """
