"""Decoding settings given by commands and programs. Needs no TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

from ml_collections import ConfigDict

from configs import common
from models.decoding.options import DecodingOptions
from r2m.configuration.config_fields import DECODING
from tfrecords.core.errors import InputError

# Words that a caption must not end with (`bad_endings` of self-critical.pytorch).
BAD_ENDINGS = (
    *("a", "an", "the", "in", "for", "at", "of", "with", "before", "after", "on", "upon", "near"),
    *("to", "is", "are", "am"),
)


class DecodingChanges(TypedDict, total=False):
    """Decoding settings that replace those of a trained run.

    Attributes:
        method: `beam`, or `sample` or `gumbel`, which draw captions.
        beam_size: number of hypotheses that the search keeps; 1 searches greedily.
        max_length: maximum number of words of a caption, end marker included.
        min_length: minimum number of words of a caption, end marker not included.
        length_penalty: `power`, `wu` or `avg`: log p of a caption is divided by n**alpha, by
            ((5 + n) / 6)**alpha or by n, for n words with the end marker. `wu_0.9` sets alpha too.
        length_normalization: alpha.
        beam_groups: groups of the beam that avoid each other's words (diverse beam search).
        diversity: penalty on log p of a word per hypothesis of earlier groups that has it.
        block_trigrams: whether no trigram may occur twice in a caption.
        block_repeats: whether no word may occur twice in a row.
        block_bad_endings: whether no caption may end with one of `BAD_ENDINGS`.
        must_contain: words and phrases that each caption must contain, as in `["dog", "red car"]`,
            or as one comma-separated text.
        must_not_contain: words and phrases that no caption may contain.
        temperature: temperature of drawn captions; log p is divided by it.
        top_k: words are drawn among this many of the most likely ones.
        top_p: words are drawn among the most likely ones whose probabilities sum to this.
        sampling_seed: seed of sampling; equal seeds draw equal captions of an image.
        allow_unknown: whether captions may contain `<unk>`.
    """

    method: str | None
    beam_size: int | None
    max_length: int | None
    min_length: int | None
    length_penalty: str | None
    length_normalization: float | None
    beam_groups: int | None
    diversity: float | None
    block_trigrams: bool | None
    block_repeats: bool | None
    block_bad_endings: bool | None
    must_contain: str | Sequence[str] | None
    must_not_contain: str | Sequence[str] | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    sampling_seed: int | None
    allow_unknown: bool | None


# Fields of `config.decoding` that are fields of `DecodingOptions` with the same name.
_OPTIONS = (
    "method", "beam_size", "max_length", "length_penalty", "length_normalization", "beam_groups",
    "diversity", "min_length", "block_trigrams", "block_repeats",
    "temperature", "top_k", "top_p",
)  # fmt: skip
# Settings that only one kind of method reads.
_OF_SAMPLING = ("temperature", "top_k", "top_p", "sampling_seed")
_OF_GROUPS = ("beam_groups", "diversity")
# Settings that reports always contain.
_MAIN = ("beam_size", "max_length", "length_normalization", "allow_unknown")
_PENALTY = re.compile(r"(?P<kind>power|wu|avg)(?:_(?P<alpha>\d+(?:\.\d*)?|\.\d+))?")


def option_values(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `DecodingOptions` that do not depend on the vocabulary."""
    return {**{name: decoding[name] for name in _OPTIONS}, "seed": decoding["sampling_seed"]}


def default_decoding() -> dict[str, Any]:
    """Returns the defaults of `config.decoding`."""
    defaults: dict[str, Any] = ConfigDict(common.decoding()).to_dict()
    return defaults


def settings_to_report(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of `config.decoding` for reports: the main ones and unusual values."""
    defaults = default_decoding()
    return {
        name: value
        for name, value in decoding.items()
        if name in _MAIN or name not in defaults or value != defaults[name]
    }


def decoding_problems(decoding: Mapping[str, Any]) -> Iterator[str]:
    """Yields a message for values of `config.decoding` that contradict each other."""
    try:
        DecodingOptions(**option_values(decoding))
    except ValueError as error:
        yield f"--config.decoding.{error}"


def decoding_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Converts decoding settings from flags and programs to fields.

    Args:
        given: values by field of `config.decoding`; None keeps the value from the training.
            `length_penalty` may include alpha: `wu_0.9` and `power_0.7`, and `avg`, or `avg_0` of
            self-critical.pytorch, for the mean of log p per word.

    Returns:
        The fields that change.

    Raises:
        InputError: a field does not exist, a value is invalid, or alpha is given twice.
    """
    changes = {name: value for name, value in given.items() if value is not None}
    if unknown := changes.keys() - DECODING.keys():
        known = ", ".join(DECODING)
        raise InputError(f"decoding has no setting {', '.join(sorted(unknown))}; known: {known}")
    for name in ("must_contain", "must_not_contain"):
        if name in changes and not isinstance(changes[name], str):
            changes[name] = ",".join(_phrases(name, changes[name]))
    if "length_penalty" in changes:
        kind, alpha = _length_penalty(changes["length_penalty"])
        changes["length_penalty"] = kind
        if alpha is not None and "length_normalization" in changes:
            raise InputError(
                f"length_penalty={given['length_penalty']} contains alpha={alpha:g}: give no "
                "length_normalization in addition"
            )
        if alpha is not None:
            changes["length_normalization"] = alpha
    for name, value in changes.items():
        if expected := DECODING[name](value):
            raise InputError(f"{name}={value}: must be {expected}")
    return changes


def check_in_use(changes: Mapping[str, Any], decoding: Mapping[str, Any]) -> None:
    """Raises `InputError` for a change that decoding does not read, unless it is a default.

    Args:
        changes: result of `decoding_changes`.
        decoding: fields of `config.decoding`, with the changes.
    """
    draws, defaults = decoding["method"] != "beam", default_decoding()
    for name in (name for name in changes if changes[name] != defaults[name]):
        if name in _OF_SAMPLING and not draws:
            raise InputError(
                f"{name}={changes[name]} is not read by method=beam: give method=sample or "
                f"method=gumbel too, or leave out {name}"
            )
        if name == "diversity" and not draws and decoding["beam_groups"] == 1:
            raise InputError(
                f"diversity={changes[name]} is not read with beam_groups=1: give beam_groups too, "
                "or leave out diversity"
            )
        if name in _OF_GROUPS and draws:
            raise InputError(
                f"{name}={changes[name]} is not read by method={decoding['method']}: leave out "
                f"{name}, or give method=beam"
            )


def _phrases(name: str, given: Any) -> list[str]:
    """Returns the words and phrases of a list; raises `InputError` for anything else."""
    if not isinstance(given, Iterable) or not all(isinstance(phrase, str) for phrase in given):
        raise InputError(f"{name}={given!r}: must be words and phrases, as in ['dog', 'red car']")
    return list(given)


def _length_penalty(text: Any) -> tuple[str, float | None]:
    """Returns a length penalty and its alpha, or None without alpha."""
    found = _PENALTY.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InputError(
            f"length_penalty={text}: must be power, wu or avg, optionally with alpha, as in wu_0.9"
        )
    # Upstream's number after avg has no meaning.
    if found["kind"] == "avg":
        return "power", 1.0
    return found["kind"], None if found["alpha"] is None else float(found["alpha"])
