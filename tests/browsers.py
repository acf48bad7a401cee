"""The browser of tests of pages."""

from __future__ import annotations

import shutil

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
"""Path of Chromium; None where none is installed."""

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
