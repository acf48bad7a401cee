"""English plurals, by the `inflect` library; words of other scripts have none."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import lru_cache
from unittest import mock


def plural_of(noun: str) -> str:
    """The plural of a noun of one word in lower case: dogs, men, buses, sheep.

    A noun of another script than Latin is returned as it is.
    """
    if not noun.isascii() and any(
        letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in noun
    ):
        return noun
    return str(_inflect()(noun))


@lru_cache(maxsize=1)
def _inflect() -> Callable[[str], str]:
    # Of the 2.7 s an import of inflect takes, 2.5 go into rewriting its functions so that they
    # check the types of their arguments; the one we call is checked by mypy.
    with mock.patch("typeguard.typechecked", lambda function: function):
        import inflect

    return inflect.engine().plural_noun
