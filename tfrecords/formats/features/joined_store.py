"""Store of several files of the same layout: `train36.hdf5`, `val36.hdf5`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.formats.features.array_kinds import open_arrays
from tfrecords.formats.features.array_store import ArrayStore, Field
from tfrecords.formats.features.types import StoredFeatures
from tfrecords.pictures.name_index import AmbiguousNameError


@dataclass(frozen=True)
class JoinedStore:
    """A `FeatureStore` of several stores of the same shapes; created by `join_or_combine`."""

    stores: tuple[ArrayStore, ...]

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """See `FeatureStore.shapes`."""
        return self.stores[0].shapes

    @property
    def has_boxes(self) -> bool:
        """See `FeatureStore.has_boxes`."""
        return self.stores[0].has_boxes

    @property
    def needs_sizes(self) -> bool:
        """See `FeatureStore.needs_sizes`."""
        return any(store.needs_sizes for store in self.stores)

    @property
    def paths(self) -> tuple[Path, ...]:
        """See `FeatureStore.paths`."""
        return tuple(dict.fromkeys(path for store in self.stores for path in store.paths))

    @property
    def dropped(self) -> dict[str, int]:
        """See `FeatureStore.dropped`."""
        return {}

    def keys(self) -> list[str]:
        """See `FeatureStore.keys`."""
        return [key for store in self.stores for key in store.keys()]  # noqa: SIM118 - no dict

    def get(self, *names: str) -> StoredFeatures | None:
        """See `FeatureStore.get`."""
        found = [(store, key) for store in self.stores if (key := store.find(*names)) is not None]
        if len(found) > 1:
            places = ", ".join(f"{key!r} of {store.paths[0]}" for store, key in found)
            raise AmbiguousNameError(
                f"image {' or '.join(map(repr, names))} may be any of {places}: give one of the "
                "files, or remove all but one"
            )
        return found[0][0].get(*names) if found else None


def join_or_combine(
    files: Sequence[Sequence[Field]], sizes_file: Path | None
) -> ArrayStore | JoinedStore:
    """Opens several files, with different images each, or different features of the same images.

    Args:
        files: the fields of each file.
        sizes_file: see `open_arrays`.

    Raises:
        InputError: see `open_arrays`; or files of different images differ in features or boxes.
    """
    roles = [{field.role for field in fields} for fields in files]
    fields = [field for fields in files for field in fields]
    if len(files) == 1 or any(other != roles[0] for other in roles):
        return open_arrays(fields, sizes_file)
    counts = Counter(key for fields in files for key in fields[0].arrays.keys())  # noqa: SIM118
    if max(counts.values(), default=0) > 1:
        # The same images, for example a file of vectors and a file of regions.
        return open_arrays(fields, sizes_file)
    stores = tuple(open_arrays(fields, sizes_file) for fields in files)
    first = stores[0]
    for store in stores[1:]:
        if store.shapes != first.shapes or store.has_boxes != first.has_boxes:
            raise InputError(
                f"{store.paths[0]} has {_described(store)}, but {first.paths[0]} "
                f"{_described(first)}: files of different images must contain the same features"
            )
    return JoinedStore(stores)


def _described(store: ArrayStore) -> str:
    shapes = ", ".join(
        f"{kind} [{', '.join('N' if size is None else str(size) for size in shape)}]"
        for kind, shape in store.shapes.items()
    )
    return shapes + " with boxes" * store.has_boxes
