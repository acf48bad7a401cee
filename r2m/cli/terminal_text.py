"""Untrusted text, such as captions and file names, on terminals."""

from __future__ import annotations

import re

# Control characters of ASCII and Latin-1, except line breaks and tabs: terminals execute them.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def terminal_text(text: str) -> str:
    """Returns text with escapes such as `\\x1b` in place of control characters."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
