"""The records a captioner learns from and is validated on, opened and checked together."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf
from absl import logging

from models.captioners.registry import OF_GRIDS, OF_MEANS, wanted_inputs
from pipelines import caption_batches, captions
from pipelines.caption_batches import CaptionOptions, FeatureKind
from pipelines.pixels import PixelOptions
from r2m.stages.settings import TRAINING_SPLIT, VALIDATION_SPLIT, setting
from tfrecords.errors import InputError
from tfrecords.records import Records
from tfrecords.vocabulary import Vocabulary


class CaptionerData(NamedTuple):
    """Opened records and how they are read.

    Attributes:
        records: of kind `captions`.
        vocabulary: of them.
        options: what a captioner is shown of them.
        seed: of the order of batches.
    """

    records: Records
    vocabulary: Vocabulary
    options: CaptionOptions
    seed: int

    def signature(self, split: str) -> dict[str, tf.TensorSpec]:
        """What the captioner's `encode` is given of images of this split."""
        batches = caption_batches.image_batches(self.records, split, self.options, batch_size=1)
        return {name: spec for name, spec in batches.element_spec.items() if name != "image_id"}


def open_data(config: Any, seed: int) -> CaptionerData:
    """Opens the records that `config.data` names; `seed` is of the order of batches.

    Raises:
        InputError: the path is not given or holds no finished `captions` records, there is nothing
            to learn from, or they lack the features that the model needs.
    """
    if not config.data.captions:
        raise InputError(
            "no caption records given: pass --captions=FOLDER, made by r2m-build-captions"
        )
    records = captions.open_captions(config.data.captions)
    if TRAINING_SPLIT not in records.splits:
        raise InputError(
            f"{records.folder}: no split {TRAINING_SPLIT!r} to learn from, only "
            f"{', '.join(records.splits)}; build the records with --split=train=FILE"
        )
    if VALIDATION_SPLIT not in records.splits:
        logging.warning(
            "%s has no split %r: nothing is captioned or scored during training",
            records.folder,
            VALIDATION_SPLIT,
        )
    options = caption_options(config, records)
    return CaptionerData(records, records.vocabulary(), options, seed)


def caption_options(config: Any, records: Records) -> CaptionOptions:
    """What `config` says that the captioner `config.model.captioner` is shown of records.

    Raises:
        InputError: an impossible setting, or the records lack what the model needs.
    """
    pixels: PixelOptions | None = None
    features: tuple[FeatureKind, ...] = ()
    if config.image.source == "pixels":
        pixels = pixel_options(config)
    else:
        features = _features(config, records)
    with setting("config.data"):
        return CaptionOptions(
            captions_per_image=config.data.captions_per_image,
            max_length=config.data.max_length,
            features=features,
            unit_norm=config.data.unit_norm,
            pixels=pixels,
        )


def pixel_options(config: Any) -> PixelOptions:
    """What becomes of pictures, as `config.image` says: scaled as those of stored features are."""
    with setting("config.image"):
        image = config.image
        return PixelOptions(
            resize=image.resize,
            crop=image.crop,
            antialias=True,
            mirror=image.mirror,
            least_area=image.least_area,
        )


def _features(config: Any, records: Records) -> tuple[FeatureKind, ...]:
    """The stored features that the captioner looks at, as far as the records hold them."""
    rows: dict[str | None, tuple[FeatureKind, ...]] = {
        None: ("region_feature", "grid_feature"),
        "regions": ("region_feature",),
        "grid": ("grid_feature",),
    }
    name, chosen = config.model.captioner, config.data.rows
    if chosen not in rows:
        raise InputError(f"config.data: unknown rows {chosen!r}; known: grid, regions, None")
    with setting("config.model"):
        wanted = wanted_inputs(name)
    if chosen is None and name in OF_GRIDS:
        chosen = "grid"
    kinds = {"global": ("global_feature",), "regions": rows[chosen]}
    held = {of: [kind for kind in kinds[of] if kind in records.feature_names][:1] for of in kinds}
    needed = kinds[wanted[0]]
    if name in OF_MEANS and not held["global"]:
        wanted, needed = ("regions",), (*needed, *rows[chosen])
    if not held[wanted[0]]:
        pictures = ", or train on their pictures with --config.image.source=pixels"
        raise InputError(
            f"{records.folder}: captioner {name} needs "
            f"{' or '.join(needed)}, which these records do not hold; build them with "
            "--backbone (and --store_grid) or with --features"
            + (pictures if "image" in records.feature_names else "")
        )
    return tuple(kind for of in wanted for kind in held[of])
