"""Options and steps shared by the builders of records that read images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrecords.builders.base import BuildOptions
from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.pictures.feature_options import DEFAULT_FEATURES, BackboneOptions, FeatureOptions
from tfrecords.pictures.headers import MAX_PIXELS
from tfrecords.pictures.image_files import ImageFolder, open_folder
from tfrecords.pictures.image_formats import recorded_plugins
from tfrecords.pictures.orientation import RECORDED
from tfrecords.pictures.region_boxes import DetectedBoxes

if TYPE_CHECKING:
    from tfrecords.pictures.image_reading import ReadImage


@dataclass(frozen=True, kw_only=True)
class ImageBuildOptions(BuildOptions):
    """Options of every builder that reads images, in addition to `BuildOptions`.

    Attributes:
        splits: split -> file with its image names, one per line; if empty, every image is in a
            single split `images`.
        recursive: whether to include images in subfolders, named `folder/file`.
        max_pixels: images with more declared pixels are skipped.
    """

    splits: Mapping[str, Path] = field(default_factory=dict)
    recursive: bool = True
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class FeatureBuildOptions(ImageBuildOptions):
    """Options of every builder that stores features, in addition to `ImageBuildOptions`.

    Attributes:
        backbone: network whose features of the images are stored; None stores none.
        features: crops and features of the network; of stored features, only `unit_norm` and
            `dtype` apply.
        store_grid: stores the network's feature map in addition to its mean.
    """

    backbone: BackboneOptions | None = None
    features: FeatureOptions = DEFAULT_FEATURES
    store_grid: bool = False


def open_images(options: ImageBuildOptions, folder: Path, names: Iterable[str]) -> ImageFolder:
    """Opens a folder for reading the images of given names."""
    return open_folder(folder, names, recursive=options.recursive, max_pixels=options.max_pixels)


def recorded_pictures(names: Iterable[str]) -> dict[str, Any]:
    """Returns the way in which pictures are read, for the options in a manifest."""
    return {**RECORDED, **recorded_plugins(names)}


def check_backbone(options: FeatureBuildOptions) -> None:
    """Raises InputError for a grid without a backbone, or a missing weights file."""
    if options.store_grid and options.backbone is None:
        raise InputError("store_grid needs a backbone")
    weights = options.backbone.weights_file if options.backbone else None
    if weights and not weights.is_file():
        raise InputError(f"the weights file {weights} does not exist")


def backbone_sources(backbone: BackboneOptions | None) -> list[Path]:
    """Returns the weights file and the preset folder of a backbone, if it has them."""
    if backbone is None:
        return []
    sources = [backbone.weights_file] if backbone.weights_file else []
    if backbone.preset and Path(backbone.preset).is_dir():
        sources.append(Path(backbone.preset))
    return sources


@dataclass(frozen=True)
class Extraction:
    """Reading of images in shard jobs, with the features that a backbone computes.

    Attributes:
        backbone: network of the features; None computes none.
        features: crops and features of the network.
        store_grid: whether to include the feature map in addition to its mean.
        max_pixels: images with more declared pixels are skipped.
    """

    backbone: BackboneOptions | None
    features: FeatureOptions
    store_grid: bool
    max_pixels: int

    def read_images(
        self,
        read: Callable[[str], bytes | Skip],
        names: Sequence[str],
        regions: Sequence[DetectedBoxes] | None = None,
    ) -> Iterator[ReadImage | Skip]:
        """Reads and encodes images in batches, see `tfrecords.pictures.image_reading`."""
        # Import TensorFlow in the process that writes, not in the one that plans.
        from tfrecords.pictures.image_reading import read_images

        return read_images(
            read,
            names,
            backbone=self.backbone,
            features=self.features,
            store_grid=self.store_grid,
            max_pixels=self.max_pixels,
            regions=regions,
        )


def extraction_of(options: FeatureBuildOptions, *, views: bool) -> Extraction:
    """Returns the reading of images that a build's options describe, with or without views."""
    features = options.features if views else options.features.without_views()
    return Extraction(options.backbone, features, options.store_grid, options.max_pixels)
