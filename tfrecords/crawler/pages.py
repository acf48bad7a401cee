"""Parser of the descriptions in a search page, from its JSON-LD blocks."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

_TAG_LENGTH = 1000


class NoSearchPageError(ValueError):
    """Error for a page that is not a search page: an error text, a captcha, a truncated page."""


def read_descriptions(page: str) -> list[str]:
    """Reads the descriptions of the pictures on a search page, in order.

    They are in `<script type="application/ld+json">` blocks: an object, or a list of objects, of
    type `ImageObject` with a `description`. A page after the last result has blocks, but no
    picture.

    Raises:
        NoSearchPageError: the page has no such block, a block that is not JSON, or no end.
    """
    if "</html" not in page[-_TAG_LENGTH:].lower():
        # Otherwise a truncated page would look like the page after the last result.
        raise NoSearchPageError("the page is truncated")
    found, blocks = [], 0
    for block in _json_ld_blocks(page):
        blocks += 1
        try:
            content = json.loads(block)
        except (ValueError, RecursionError) as error:
            raise NoSearchPageError(f"a JSON-LD block that is not JSON ({error})") from None
        for item in content if isinstance(content, list) else [content]:
            text = item.get("description") if _is_image(item) else None
            # U+FFFD marks bytes that are not valid text.
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
    # No regular expression: malicious pages would make it very slow.
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
