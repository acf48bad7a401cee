"""Public names of R2M, imported when they are first used.

`import r2m` imports nothing else, so that commands can first check for other packages of the same
names (`r2m.own_packages`).
"""

from __future__ import annotations

import importlib
from typing import Any

from r2m.own_packages import hidden_packages

HOMES = {
    "Alternative": "r2m.api",
    "Caption": "r2m.api",
    "ImageCaptioner": "r2m.api",
    "InputError": "tfrecords.core.errors",
    "TrainingError": "r2m.engine.errors",
    "encode_images": "r2m.retrieval_api",
    "encode_sentences": "r2m.retrieval_api",
    "evalrank": "r2m.retrieval_api",
    "load": "r2m.api",
    "regularities": "r2m.retrieval_api",
    "retrieve_captions": "r2m.retrieval_api",
    "retrieve_images": "r2m.retrieval_api",
}


def __getattr__(name: str) -> Any:
    """Imports a public name of R2M.

    Raises:
        AttributeError: the name does not exist.
        ImportError: another package on Python's path hides one of R2M's.
    """
    if name not in HOMES:
        raise AttributeError(f"module 'r2m' has no attribute {name!r}; it has {', '.join(HOMES)}")
    if message := hidden_packages():
        raise ImportError(message)
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    """Returns the public names."""
    return [*HOMES, "__version__"]
