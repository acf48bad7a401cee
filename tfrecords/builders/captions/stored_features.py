"""Sources and shapes of the features of captioned images."""

from __future__ import annotations

from collections.abc import Sequence

from tfrecords.builders.features.descriptions import extracted_shapes
from tfrecords.builders.image_builds import FeatureBuildOptions
from tfrecords.core.errors import InputError
from tfrecords.core.name_examples import describe_names
from tfrecords.formats.features.array_store import ArrayStore
from tfrecords.formats.features.types import FeatureStore
from tfrecords.formats.paired.types import PairedDataset


def caption_features(
    store: FeatureStore | None, datasets: Sequence[PairedDataset]
) -> FeatureStore | None:
    """Returns the given store, or else the features that come with the captions, if any.

    Raises:
        InputError: one of several sources comes with features, or the row numbers of an array are
            not the numbers of the images.
    """
    if store is not None:
        if isinstance(store, ArrayStore) and store.has_row_numbers:
            _check_row_numbers(store, datasets)
        return store
    own = [dataset.features for dataset in datasets if dataset.features is not None]
    if own and len(datasets) > 1:
        raise InputError(
            "features that come with captions can only be stored when these are the only source: "
            "build the sources one by one, or give a feature store for all of them"
        )
    return own[0] if own else None


def _check_row_numbers(store: ArrayStore, datasets: Sequence[PairedDataset]) -> None:
    """Rejects COCO ids as row numbers: image 42 would get the features of the 43rd row."""
    numbers = [image.source_id or "" for dataset in datasets for image in dataset.images]
    rows = store.keys()
    if set(numbers) != set(rows):
        raise InputError(
            f"{store.paths[0]} has {len(rows)} rows without names, but the ids of the "
            f"{describe_names(numbers)} are not row numbers, 0 to {len(rows) - 1}: give the names "
            f"of the rows, npy:{store.paths[0].name},ids=LIST"
        )


def feature_shapes(
    store: FeatureStore | None, options: FeatureBuildOptions, *, regions: bool
) -> dict[str, tuple[int | None, ...]]:
    """Returns the shape of each kind of feature to be stored; None is a variable size.

    Raises:
        InputError: the store and the backbone both provide a kind.
    """
    stored = dict(store.shapes) if store else {}
    made = extracted_shapes(options, regions=regions)
    if twice := sorted(made.keys() & stored.keys()):
        raise InputError(
            f"both the backbone and the stored features provide {', '.join(twice)}: choose one"
        )
    return stored | made
