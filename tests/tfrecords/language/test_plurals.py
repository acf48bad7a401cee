from __future__ import annotations

import typeguard

from tfrecords.language.plurals import plural_of


def test_plurals() -> None:
    words = ["dog", "man", "bus", "knife", "sheep", "box"]
    assert [plural_of(word) for word in words] == [
        "dogs",
        "men",
        "buses",
        "knives",
        "sheep",
        "boxes",
    ]
    assert typeguard.typechecked.__module__.startswith("typeguard")  # only inflect goes without
