"""Error class for wrong input, as opposed to errors in this code base."""

from __future__ import annotations


class InputError(ValueError):
    """A file, an option or a record given by the user cannot be used.

    The message names the problem, its place (`path:line` if there is one), the value found, the
    value expected and the remedy. Command line scripts print it without a traceback.
    """
