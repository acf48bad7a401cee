"""The descriptions in a search page: its JSON-LD blocks."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

_TAG_LENGTH = 1000


class NoSearchPageError(ValueError):
    """Error for a page that is no search page: an error text, a captcha, a truncated page."""


def read_descriptions(page: str) -> list[str]:
    """The descriptions of the pictures on a search page, in its order.

    They are in `<script type="application/ld+json">` blocks: an object, or a list of them, of type
    `ImageObject` with a `description`. A page behind the last result has blocks, but no picture.

    Raises:
        NoSearchPageError: it has no such block, or one that is not JSON, or no end.
    """
    if "</html" not in page[-_TAG_LENGTH:].lower():
        # Without this half a page would look like the page behind the last result.
        raise NoSearchPageError("no end of the page")
    found, blocks = [], 0
    for block in _json_ld_blocks(page):
        blocks += 1
        try:
            content = json.loads(block)
        except (ValueError, RecursionError) as error:
            raise NoSearchPageError(f"a JSON-LD block that is not JSON ({error})") from None
        for item in content if isinstance(content, list) else [content]:
            text = item.get("description") if _is_image(item) else None
            # U+FFFD: bytes that were no text.
            if isinstance(text, str) and text.strip() and "\ufffd" not in text:
                found.append(html.unescape(text).strip())
    if not blocks:
        raise NoSearchPageError("no JSON-LD block")
    return found


def _is_image(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("@type", "ImageObject")
    return kind == "ImageObject" or (isinstance(kind, list) and "ImageObject" in kind)


def _json_ld_blocks(page: str) -> Iterator[str]:
    # Found by hand: a regular expression takes for ever on a page made to do that.
    lower = page.lower()
    if len(lower) != len(page):  # a few letters change their length
        lower = "".join(c if len(c.lower()) != 1 else c.lower() for c in page)
    at = 0
    while (start := lower.find("<script", at)) >= 0:
        opened = lower.find(">", start)
        closed = lower.find("</script", opened)
        if opened < 0 or closed < 0:
            return
        if opened - start < _TAG_LENGTH and "application/ld+json" in lower[start:opened]:
            yield page[opened + 1 : closed]
        at = closed
