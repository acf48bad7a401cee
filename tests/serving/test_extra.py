"""Messages for packages of extras that are not installed."""

from __future__ import annotations

import sys

import pytest

from r2m.serving.extra import importing
from tfrecords.core.errors import InputError


def test_the_extra_of_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"pip install 'r2m\[serve\]'"), importing("serve"):
        import uvicorn  # noqa: F401
