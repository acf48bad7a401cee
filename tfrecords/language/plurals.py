"""English plurals by the `inflect` library; words of non-Latin scripts are unchanged."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from unittest import mock


def plural_of(noun: str) -> str:
    """Returns the plural of a single lower-case noun: dogs, men, buses, sheep.

    A noun of a non-Latin script is returned unchanged.
    """
    if not noun.isascii() and any(
        letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in noun
    ):
        return noun
    return str(_inflect()(noun))


@lru_cache(maxsize=1)
def _inflect() -> Callable[[str], str]:
    # An import of inflect takes 2.7 s, of which 2.5 s rewrite its functions to check argument
    # types. mypy checks the only function called here.
    with mock.patch("typeguard.typechecked", lambda function: function):
        import inflect

    return inflect.engine().plural_noun
