"""Registry of captioners by name."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

import keras

from models import captioners
from models.captioners.base import Captioner

_CLASSES: dict[str, type[Captioner]] = {}
_Class = TypeVar("_Class", bound=type[Captioner])


def register_captioner(name: str) -> Callable[[_Class], _Class]:
    """Returns a class decorator that registers a captioner with Keras and under a name.

    All modules of `models.captioners` are imported at the first lookup, so a captioner that is
    defined in one of them is registered without an explicit import.

    Args:
        name: name of the captioner in configurations.

    Raises:
        ValueError: (when the decorator is applied) the name is taken by another class.
    """

    def register(cls: _Class) -> _Class:
        known = _CLASSES.setdefault(name, cls)
        if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
            raise ValueError(
                f"captioner name {name!r} of {cls.__module__}.{cls.__qualname__} is taken by "
                f"{known.__module__}.{known.__qualname__}: choose another name"
            )
        _CLASSES[name] = cls
        registered: _Class = keras.saving.register_keras_serializable("r2m")(cls)
        return registered

    return register


def captioner_names(*, with_attention: bool = False) -> tuple[str, ...]:
    """Returns the names of all captioners, or of those with attention, in alphabetical order."""
    _import_captioners()
    return tuple(
        sorted(n for n, cls in _CLASSES.items() if cls.has_attention or not with_attention)
    )


def captioner_class(name: str) -> type[Captioner]:
    """Returns the class of a captioner.

    Raises:
        ValueError: no captioner has the name.
    """
    _import_captioners()
    if name not in _CLASSES:
        known = captioner_names()
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"unknown captioner {name!r}; {hint}known: {', '.join(known)}")
    return _CLASSES[name]


def build_captioner(
    name: str,
    *,
    vocabulary_size: int,
    global_size: int | None = None,
    region_size: int | None = None,
    grid_cells: int | None = None,
    **settings: Any,
) -> Captioner:
    """Builds a captioner for images of given sizes.

    Args:
        name: from `captioner_names`; the model's name too.
        vocabulary_size: V, markers included.
        global_size: size of the vector per image; None if images have no vector.
        region_size: size of the rows of an image; None if images have no rows.
        grid_cells: number of rows per image, if it is the same for all images; else None.
        **settings: constructor arguments of the class; None stands for the default.

    Raises:
        ValueError: the name or a setting is unknown, or the images do not have the features that
            the captioner requires.
    """
    cls = captioner_class(name)
    try:
        sizes = cls.feature_arguments(
            global_size=global_size, region_size=region_size, grid_cells=grid_cells
        )
    except ValueError as error:
        raise ValueError(f"captioner {name!r} {error}") from error
    given = {key: value for key, value in settings.items() if value is not None}
    known = _settings(cls)
    for key, value in given.items():
        if key not in known:
            others = [other for other in captioner_names() if key in _settings(_CLASSES[other])]
            where = f"only {', '.join(others)} have it" if others else "no captioner has it"
            raise ValueError(
                f"captioner {name!r} has no setting {key} (found {key}={value!r}; {where}): leave "
                f"it out; settings of {name}: {', '.join(known)}"
            )
    return cls(vocabulary_size=vocabulary_size, name=name, **sizes, **given)


def _settings(cls: type[Captioner]) -> tuple[str, ...]:
    """Returns the constructor arguments that `build_captioner` accepts as settings."""
    parameters = inspect.signature(cls).parameters.values()
    given = {"vocabulary_size", "feature_size", "global_size", "grid_cells"}
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in given)


@functools.cache
def _import_captioners() -> None:
    for module in pkgutil.iter_modules(captioners.__path__, f"{captioners.__name__}."):
        importlib.import_module(module.name)
