"""Groups of flags in `--help`, and placeholders of their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from absl import flags

INPUT = "Input"
TEXT = "Words and sentences"
CONCEPTS = "Concepts"
MODEL = "Model"
FEATURES = "Image features"
TRAINING = "Training"
DECODING = "Decoding"
SELECTION = "Selection"
SCORING = "Scoring"
REQUESTS = "Requests"
OUTPUT = "Output"
MACHINE = "Machine and distribution"
# Group of flags without an explicit one.
OTHER = "Other"

# In the order of `--help`.
GROUPS = (
    *(INPUT, TEXT, CONCEPTS, MODEL, FEATURES, TRAINING, DECODING, SELECTION, SCORING, REQUESTS),
    *(OUTPUT, MACHINE, OTHER),
)


@dataclass(frozen=True)
class Place:
    """Place of a flag in `--help`.

    Attributes:
        group: one of `GROUPS`.
        value: placeholder of the flag's value, such as FOLDER; None derives it from the flag.
    """

    group: str = OTHER
    value: str | None = None


_places: dict[Any, Place] = {}


def put_flag(name: str, group: str, value: str | None = None) -> None:
    """Puts an already defined flag into a group."""
    assert group in GROUPS, group
    _places[flags.FLAGS[name]] = Place(group, value)


def place_of(flag: Any) -> Place:
    """Returns the place of a flag in `--help`."""
    return _places.get(flag, Place())
