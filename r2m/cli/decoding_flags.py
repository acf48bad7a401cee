"""Flags of the caption search, shared by the commands that caption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from absl import flags

from r2m.cli.flag_groups import DECODING
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.value_flags import define_switch, define_text
from r2m.configuration.limits import MOST_ALPHA, MOST_BEAMS, MOST_WORDS

if TYPE_CHECKING:
    from r2m.inference.consensus import ConsensusOptions

_SWITCHES = {
    "block_trigrams": "No three words in a row twice in a caption",
    "block_repeats": "No word twice in a row",
    "block_bad_endings": "No caption that ends with an article, a preposition or a form of 'to be'",
    "allow_unknown": "Captions may contain <unk>",
}
_NAMES = (
    *("beam_size", "max_length", "length_penalty", "length_normalization", "beam_groups"),
    *("diversity", "min_length", *_SWITCHES),
)


def define_decoding_flags() -> None:
    """Defines flags that override the search settings of a trained run."""
    define_whole(
        "beam_size",
        None,
        "Hypotheses kept alive; default: as trained.",
        least=1,
        most=MOST_BEAMS,
        group=DECODING,
    )
    define_whole(
        "max_length",
        None,
        "Most words of a caption; default: as trained.",
        least=1,
        most=MOST_WORDS,
        group=DECODING,
    )
    define_number(
        "length_normalization",
        None,
        "alpha of the length penalty, 0 favors short captions; default: as trained.",
        most=MOST_ALPHA,
        group=DECODING,
    )
    define_text(
        "length_penalty",
        None,
        "Divisor of log p in the score of n words, the end marker included: power (n**alpha), wu "
        "(((5 + n) / 6)**alpha), avg (n). wu_0.9 sets alpha too; default: as trained.",
        group=DECODING,
        value="power|wu|avg|wu_ALPHA",
    )
    define_whole(
        "beam_groups",
        None,
        "Groups of the beam, which avoid each other's words (diverse beam search); they divide "
        "--beam_size. Default: as trained.",
        least=1,
        most=MOST_BEAMS,
        group=DECODING,
    )
    define_number(
        "diversity",
        None,
        "With --beam_groups: what a word loses in log p per hypothesis of earlier groups that has "
        "it at the same place. Default: as trained.",
        group=DECODING,
    )
    define_whole(
        "min_length",
        None,
        "Fewest words of a caption; default: as trained.",
        least=0,
        most=MOST_WORDS,
        group=DECODING,
    )
    for name, description in _SWITCHES.items():
        define_switch(name, None, f"{description}; default: as trained.", group=DECODING)


def decoding_overrides() -> dict[str, Any]:
    """Returns the decoding settings that the command line gives."""
    values = {name: flags.FLAGS[name].value for name in _NAMES}
    return {name: value for name, value in values.items() if value is not None}


def define_consensus_flags() -> None:
    """Defines flags of reranking by consensus."""
    define_whole(
        "neighbours",
        None,
        "Of captioners, whose training records must be there with a vector of each image: so many "
        "training images that are most like the one to caption choose among the hypotheses of the "
        "beam (--beam_size), by the CIDEr-D with their captions. Default: the likeliest is said.",
        least=1,
        group=DECODING,
    )
    define_number(
        "sharpness",
        None,
        "With --neighbours: an image of cosine similarity s counts exp(sharpness * s). Default: 8.",
        most=80,
        group=DECODING,
    )
    define_number(
        "likelihood",
        None,
        "With --neighbours: what the score of a hypothesis (log p, normalized) counts beside "
        "CIDEr-D. Default: 0.2.",
        group=DECODING,
    )


def consensus_options() -> ConsensusOptions | None:
    """Returns the options of reranking by consensus; None for the likeliest captions.

    Raises:
        InputError: a choice is described that is not made, as there is no --neighbours.
    """
    from r2m.inference.consensus import ConsensusOptions
    from tfrecords.errors import InputError

    names = ("neighbours", "sharpness", "likelihood")
    given: dict[str, Any] = {name: flags.FLAGS[name].value for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    if "neighbours" not in given:
        raise InputError(f"--{next(iter(given))} requires --neighbours")
    return ConsensusOptions(**given)
