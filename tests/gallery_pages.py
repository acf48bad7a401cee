"""Reader of gallery pages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from r2m.evaluation.pages.gallery import FILES


def read_items(page: Path) -> list[dict[str, Any]]:
    """Returns the items of a page of `write_gallery`, as its script receives them."""
    data = page.parent / FILES / "items.js"
    text = (data if data.is_file() else page).read_text(encoding="utf-8")
    found = re.findall(r"^showGallery\((.*)\);$", text, re.MULTILINE)
    assert len(found) == 1
    items: list[dict[str, Any]] = json.loads(found[0])["items"]
    return items
