"""Options of feature extraction: the backbone and the features to keep. TensorFlow-free."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tfrecords.core.errors import InputError

FeatureDtype = Literal["float16", "float32"]
FEATURE_DTYPES: tuple[str, ...] = get_args(FeatureDtype)
Interpolation = Literal["bilinear", "bicubic"]
KERAS_HUB = "keras_hub:"
# Side of the training images of each network of this code base, in pixels.
EFFICIENTNET_LITE = {"EfficientNetLite0": 224, "EfficientNetLite1": 240, "EfficientNetLite2": 260}
_IMAGE_SIZE = 224


def interpolation_of(name: str) -> Interpolation:
    """Returns the resizing method of a backbone, given `BackboneOptions.name`."""
    return "bicubic" if name in EFFICIENTNET_LITE else "bilinear"


def image_size_of(name: str) -> int:
    """Returns the default side of the images of a backbone, given `BackboneOptions.name`."""
    return EFFICIENTNET_LITE.get(name, _IMAGE_SIZE)


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Backbone and the size of its input images.

    Attributes:
        name: a class of `keras.applications`, e.g. `MobileNet`, `ResNet101`, `EfficientNetV2S`;
            `EfficientNetLite0`, `EfficientNetLite1` or `EfficientNetLite2`; or `keras_hub:` and the
            name or the folder of a KerasHub preset of an image backbone.
        weights: `imagenet` (downloaded by Keras; for a KerasHub preset, its own weights; for
            EfficientNetLite, those of the installed extra [efficientnet]), a weights file, or
            `none` (random, for tests).
        image_size: side of the square input of the network, in pixels; None becomes
            `image_size_of(name)`.
        alpha: width multiplier of the MobileNets; None for all others.
        batch_size: images, or crops of images, per step.
        layer: name of the layer whose output is used, e.g. VGG19's `fc2`; None uses the last
            feature map. A layer after the feature maps requires the whole classifier's weights.
    """

    name: str = "MobileNet"
    weights: str = "imagenet"
    image_size: int = None  # type: ignore[assignment] # an int after construction
    alpha: float | None = None
    batch_size: int = 32
    layer: str | None = None

    def __post_init__(self) -> None:
        """Fills in the image size; raises InputError for sizes below one."""
        if self.image_size is None:
            object.__setattr__(self, "image_size", image_size_of(self.name))
        for name in ("image_size", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1")

    @property
    def interpolation(self) -> Interpolation:
        """Interpolation for resizing images to `image_size`."""
        return interpolation_of(self.name)

    @property
    def weights_file(self) -> Path | None:
        """The weights file, if the weights are one."""
        return None if self.weights in ("imagenet", "none") else Path(self.weights)

    @property
    def preset(self) -> str | None:
        """The KerasHub preset, if the network is one."""
        return self.name.removeprefix(KERAS_HUB) if self.name.startswith(KERAS_HUB) else None


# Key of `FeatureOptions.average_mirrored` in a manifest's backbone; missing if it is off.
AVERAGE_MIRRORED = "average_mirrored"
# Suffix of the names of columns with the features of random views.
VIEWS = "_views"
# The split whose images have views.
TRAIN_SPLIT = "train"


@dataclass(frozen=True, kw_only=True)
class ViewOptions:
    """Random views of a training image, stored in addition to the features of the image.

    Attributes:
        count: N, views per image.
        least_area: smallest fraction of the image's area that a view covers.
        mirror: mirrors a view left to right with probability 1/2.
        seed: determines the views, together with the name of the image.
    """

    count: int
    least_area: float = 0.5
    mirror: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for impossible values."""
        if self.count < 1:
            raise InputError(f"views={self.count} must be at least 1")
        if not 0 < self.least_area <= 1:
            raise InputError(f"view_area={self.least_area} must be above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Crops of an image that the backbone encodes, and the features to keep.

    Attributes:
        short_side: size of the shorter side after resizing, in pixels, before `image_size` is
            cropped; None resizes the whole image to the square, without keeping the aspect ratio.
        crops: 1 (center crop), or 10 (the corners and the center, and their mirror images, whose
            vectors are averaged).
        average_mirrored: averages the features of an image with those of its mirror image, whose
            feature map is mirrored back; takes twice the time.
        grid: cells per side of feature maps, by adaptive average pooling; None keeps their size.
        unit_norm: divides every vector (of the image, of a cell, of a region) by its L2 norm.
        dtype: type of the stored numbers.
        views: random views of each training image, in addition to the image; None stores none.
    """

    short_side: int | None = None
    crops: Literal[1, 10] = 1
    average_mirrored: bool = False
    grid: int | None = None
    unit_norm: bool = False
    dtype: FeatureDtype = "float16"
    views: ViewOptions | None = None

    def __post_init__(self) -> None:
        """Raises InputError for values that are not listed above."""
        if self.dtype not in FEATURE_DTYPES:
            raise InputError(f"dtype={self.dtype!r}; known: {', '.join(FEATURE_DTYPES)}")
        if self.crops not in (1, 10):
            raise InputError(f"crops={self.crops!r}; known: 1, 10")
        if self.crops == 10 and self.short_side is None:
            raise InputError("10 crops are cut out of a larger image: give short_side (256) too")
        if self.crops == 10 and self.average_mirrored:
            raise InputError("10 crops contain mirror images: leave average_mirrored out")
        if self.crops == 10 and self.views is not None:
            raise InputError("views require single crops: set crops=1, or leave views out")
        if self.grid is not None and self.grid < 1:
            raise InputError(f"grid={self.grid} must be at least 1")

    def without_views(self) -> FeatureOptions:
        """Returns the options of images without views."""
        return replace(self, views=None)

    def check_fits(self, backbone: BackboneOptions) -> None:
        """Raises InputError if the crop is larger than the image it is cut out of."""
        if self.short_side is not None and self.short_side < backbone.image_size:
            raise InputError(
                f"short_side={self.short_side} is less than image_size={backbone.image_size}, "
                "which is cut out of it"
            )


DEFAULT_FEATURES = FeatureOptions()


def check_views(
    features: FeatureOptions, backbone: BackboneOptions | None, splits: Collection[str]
) -> None:
    """Raises InputError unless views can be stored, with a backbone and a split `train`."""
    if features.views is None:
        return
    if backbone is None:
        raise InputError("views require a backbone: stored features have no views")
    if TRAIN_SPLIT not in splits:
        raise InputError(
            f"views require a split {TRAIN_SPLIT}, found only "
            f"{', '.join(splits) or 'one split of all images'}: name its images "
            f"(--split={TRAIN_SPLIT}=FILE)"
        )


def recorded_backbone(backbone: BackboneOptions | None, features: FeatureOptions) -> dict[str, Any]:
    """Returns the options that determine the features, for a manifest.

    `feature_dtype` is None if records contain no features.
    """
    if backbone is None:
        return {"backbone": None, "feature_dtype": None}
    network = asdict(backbone)
    if backbone.weights_file:
        network["weights"] = backbone.weights_file.name
    if backbone.preset:
        network["name"] = KERAS_HUB + Path(backbone.preset).name
    view = {name: getattr(features, name) for name in ("short_side", "crops", "unit_norm")}
    # Without this key, records are identical to those of earlier versions.
    if features.average_mirrored:
        view[AVERAGE_MIRRORED] = True
    return {"backbone": {**network, **view}, "feature_dtype": features.dtype}


def recorded_views(features: FeatureOptions) -> dict[str, Any]:
    """Returns the options of the views, for a manifest; empty without views."""
    return {"views": asdict(features.views)} if features.views else {}
