"""English plurals, by the `inflect` library."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from unittest import mock


def plural_of(noun: str) -> str:
    """The plural of a noun of one word in lower case: dogs, men, buses, sheep."""
    return str(_inflect()(noun))


@lru_cache(maxsize=1)
def _inflect() -> Callable[[str], str]:
    # Of the 2.7 s an import of inflect takes, 2.5 go into rewriting its functions so that they
    # check the types of their arguments; the one we call is checked by mypy.
    with mock.patch("typeguard.typechecked", lambda function: function):
        import inflect

    return inflect.engine().plural_noun
