"""Decoding of HTML entities in texts from web pages: `&amp;`, `&quot;`, `&#39;`."""

from __future__ import annotations

import html
import re

# The semicolon is required: "AT&T" and "?a=1&copy=2" contain no entities.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def decode_entities(text: str) -> str:
    """Replaces HTML entities by the characters they represent, once.

    The result is not decoded again: `&amp;lt;` becomes `&lt;`. Unknown entities are kept.
    """
    if "&" not in text:
        return text
    return _ENTITY.sub(lambda entity: html.unescape(entity.group()), text)
