"""Interface of every store of image features, and the features returned for one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

FEATURE_KINDS = ("global_feature", "grid_feature", "region_feature")


@dataclass(frozen=True, kw_only=True)
class StoredFeatures:
    """The features of one image; None for kinds that the store does not have.

    Attributes:
        global_feature: float [D], one vector of the whole image.
        grid_feature: float [gh, gw, D], a feature map.
        region_feature: float [N, D], one vector per region.
        boxes: float32 [N, 4], ymin, xmin, ymax, xmax of the regions, in 0..1.
        corners: float [N, 4], x1, y1, x2, y2 in pixels, instead of boxes, if the store does not
            contain the size of the image; see `place_boxes`.
        height: height of the image, pixels.
        width: width of the image, pixels.
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

    Stores are picklable and small: they are sent to every worker, which opens the files itself.
    """

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Shape of each kind of feature, by its name in the records; None is a variable size.

        For example `{"global_feature": (2048,), "region_feature": (None, 2048)}`.
        """

    @property
    def has_boxes(self) -> bool:
        """True if the store contains the boxes of its regions."""

    @property
    def needs_sizes(self) -> bool:
        """True if boxes are in pixels and the store does not contain the sizes of the images."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders of the store, for the sources in a manifest."""

    @property
    def dropped(self) -> dict[str, int]:
        """Mapping from reason to the number of entries that were skipped on opening."""

    def keys(self) -> list[str]:
        """Returns the name of every image, in the order of the store."""

    def get(self, *names: str) -> StoredFeatures | None:
        """Returns the features of an image, or None if the store has none.

        Args:
            *names: names of the same image: its file name, relative to the folder of images, and
                its number in the data set. Names are matched by `tfrecords.pictures.name_index`.

        Raises:
            AmbiguousNameError: the names match several entries of the store.
            InputError: the entry of the image is damaged; names file and image.
        """
