"""Interface of the kinds of model inputs, and their registry.

Each kind is one module of this package. It names the columns of records that it reads, and converts
them to tensors. As an example, this is the module of `size`, the height and width of an image:

```python
@register_input("size")
@dataclasses.dataclass(frozen=True)
class Size(ModelInput):
    columns = ("height", "width")
    tensors = ("size",)

    @classmethod
    def candidates(cls, config):
        return [cls()]

    def assemble(self, rows):
        return {"size": tf.stack([rows["height"], rows["width"]], axis=-1)}
```

Captioners with `size` in their `inputs` are then trained, validated and evaluated with it. Image
files can be captioned if `ImageBatch.columns` computes the columns, as a backbone does features.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import tensorflow as tf

from pipelines import inputs
from pipelines.batching import Batch, Rows
from tfrecords.pictures.feature_options import Interpolation


class ImageBatch(Protocol):
    """A batch of image files for model inputs. Placeholders replace unreadable images."""

    def columns(self, names: Collection[str]) -> Rows:
        """Returns columns in the form of parsed records of these images."""

    def squashed(self, side: int, interpolation: Interpolation) -> tf.Tensor:
        """Returns the decoded images, resized to squares: float32[B, side, side, 3] in 0..255."""


class ModelInput:
    """A kind of model input.

    Subclasses are frozen dataclasses whose fields are settings. Equal inputs return equal tensors.

    Attributes:
        columns: columns of records that are read, as returned by `captions.parser`.
        tensors: names of the returned tensors.
        section: section of the configuration that contains the settings.
    """

    columns: tuple[str, ...]
    tensors: ClassVar[tuple[str, ...]]
    section: ClassVar[str] = "data"

    @classmethod
    def candidates(cls, config: Any) -> list[ModelInput]:
        """Returns variants of this kind; the first one whose columns the records have is used.

        Args:
            config: configuration of the experiment: sections `data` and `image`.

        Raises:
            ValueError: a setting is invalid.
        """
        raise NotImplementedError

    @classmethod
    def substitutes(cls, config: Any) -> list[ModelInput]:
        """Returns further candidates, for captioners that require this kind."""
        del config
        return []

    def assemble(self, rows: Rows) -> Batch:
        """Converts B parsed rows to tensors.

        Args:
            rows: parsed `columns`; in training also `key` int64[2], a stateless seed per batch.

        Returns:
            `tensors` [B, ...]; or the tensors that `finish` converts to them.
        """
        raise NotImplementedError

    def fits(self, other: ModelInput) -> bool:
        """Returns whether a captioner can use both inputs, which must describe the same rows."""
        del other
        return True

    def finish(self, batch: Batch) -> Batch:
        """Runs expensive operations, such as decoding, on the rows that a process computes."""
        return batch

    def from_images(self, images: ImageBatch) -> Batch:
        """Computes the tensors of image files."""
        return self.finish(self.assemble(images.columns(self.columns)))

    def signature(self, saved: Mapping[str, tf.TensorSpec]) -> dict[str, tf.TensorSpec]:
        """Returns the signature of `tensors`, given the signature that a run has saved."""
        return {name: saved[name] for name in self.tensors if name in saved}

    def sizes(self, signature: Mapping[str, tf.TensorSpec]) -> dict[str, int | None]:
        """Returns the constructor arguments of captioners that depend on `signature`."""
        del signature
        return {}

    def evaluated(self) -> ModelInput:
        """Returns this input without settings that only affect training."""
        return self

    def advice(self, record_kind: str, available: Collection[str]) -> str:
        """Returns advice on how to build records with `columns`.

        Args:
            record_kind: `captions` or `images`.
            available: columns of the given records, some of which are missing.
        """
        with_pictures = "image" in available
        if record_kind == "images":
            pictures = ", or train with image.source=pixels" if with_pictures else ""
            return f"build them with --images=FOLDER and --backbone{pictures}"
        pictures = ", or train on their pictures with --config.image.source=pixels"
        return (
            "build them with --backbone (and --store_grid) or with --features"
            f"{pictures if with_pictures else ''}"
        )


_KINDS: dict[str, type[ModelInput]] = {}
_Kind = TypeVar("_Kind", bound=type[ModelInput])


def register_input(name: str) -> Callable[[_Kind], _Kind]:
    """Registers a class under a kind of `models.captioners.base.Inputs`.

    The modules of `pipelines.inputs` are imported at the first lookup.

    Raises:
        ValueError: another class has the name.
    """

    def register(cls: _Kind) -> _Kind:
        known = _KINDS.setdefault(name, cls)
        if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
            raise ValueError(
                f"input {name!r} of {cls.__module__}.{cls.__qualname__} is taken by "
                f"{known.__module__}.{known.__qualname__}: choose another name"
            )
        _KINDS[name] = cls
        return cls

    return register


def input_class(name: str) -> type[ModelInput]:
    """Returns the class of a kind of input; raises `ValueError` for an unknown kind."""
    _import_kinds()
    if name not in _KINDS:
        raise ValueError(f"unknown input {name!r}; known: {', '.join(sorted(_KINDS))}")
    return _KINDS[name]


@functools.cache
def _import_kinds() -> None:
    for module in pkgutil.iter_modules(inputs.__path__, f"{inputs.__name__}."):
        importlib.import_module(module.name)
