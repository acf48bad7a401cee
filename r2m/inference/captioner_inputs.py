"""Inputs of a supervised captioner, as its configuration describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.captioners.registry import captioner_class
from pipelines.caption_batches import CaptionOptions, FeatureKind
from pipelines.pixels import PixelOptions
from r2m.configuration.settings import (
    setting,
)
from tfrecords.errors import InputError
from tfrecords.records import Records

FEATURES_FILE = "image_features.json"


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
        inputs = captioner_class(name).inputs
    if chosen is None and "grid" in inputs.required:
        chosen = "grid"
    kinds: dict[str, tuple[FeatureKind, ...]] = {
        "global": ("global_feature",),
        "regions": rows[chosen],
        "grid": rows[chosen],
    }
    held = {of: [kind for kind in kinds[of] if kind in records.feature_names][:1] for of in kinds}
    wanted: tuple[str, ...] = inputs.kinds
    needed = kinds[wanted[0]]
    if wanted[0] == "global" and not held["global"]:
        # A captioner of vectors is given the mean of the rows.
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


def saved_features(run_folder: Path) -> dict[str, Any]:
    """What the captioner of a run is shown, and how it was made.

    Returns:
        `inputs` (name -> shape and dtype), `features` (kinds of them), and `records`: the options
        of the records that say where features come from.
    """
    file = run_folder / FEATURES_FILE
    if not file.is_file():
        raise InputError(f"{run_folder} is not the run of a captioner: it has no {FEATURES_FILE}")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found
