"""The error that means "your input is wrong", as opposed to "our code is wrong"."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave (a file, an option, a record) cannot be used.

    The message says what was wrong, where (`path:line` when there is one), what was found, what was
    expected and what to do about it. Command line scripts print it alone, without a traceback.
    """
