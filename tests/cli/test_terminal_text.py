"""Untrusted text on terminals."""

from __future__ import annotations

from r2m.cli.terminal_text import terminal_text


def test_control_characters_are_printed_as_escapes() -> None:
    evil = "a\x1b]0;title\x07 \x9b2J\rb\x00"
    assert terminal_text(evil) == r"a\x1b]0;title\x07 \x9b2J\x0db\x00"
    text = "caf\u00e9 \u72d7\u200d \u0646\n\tb"
    assert terminal_text(text) == text
