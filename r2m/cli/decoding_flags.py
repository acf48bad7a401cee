"""Flags of the caption search, shared by the commands that caption."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from absl import flags

from models.decoding.options import METHODS
from r2m.cli.flag_groups import DECODING, MODEL
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.value_flags import define_choice, define_list, define_switch, define_text, define_texts
from r2m.configuration.limits import MOST_ALPHA, MOST_BEAMS, MOST_TEMPERATURE, MOST_WORDS
from r2m.configuration.training_fields import PRECISIONS
from r2m.engine.value_rules import number

if TYPE_CHECKING:
    from r2m.inference.consensus import ConsensusOptions

_SWITCHES = {
    "block_trigrams": "No trigram twice in a caption",
    "block_repeats": "No word twice in a row",
    "block_bad_endings": "No caption that ends with an article, a preposition or a form of 'to be'",
    "allow_unknown": "Captions may contain <unk>",
}
_PHRASES = {
    "must_contain": "Words or phrases that each caption contains",
    "must_not_contain": "Words or phrases that no caption contains",
}
_NAMES = (
    *("method", "temperature", "top_k", "top_p", "sampling_seed", *_PHRASES),
    *("beam_size", "max_length", "length_penalty", "length_normalization", "beam_groups"),
    *("diversity", "min_length", *_SWITCHES),
)


def define_decoding_flags() -> None:
    """Defines flags that override the search settings of a trained run."""
    define_whole(
        "beam_size",
        None,
        "Number of hypotheses of the beam search, 1 for greedy search; default: as trained.",
        least=1,
        most=MOST_BEAMS,
        group=DECODING,
    )
    define_whole(
        "max_length",
        None,
        "Maximum number of words of a caption; default: as trained.",
        least=1,
        most=MOST_WORDS,
        group=DECODING,
    )
    define_number(
        "length_normalization",
        None,
        "Exponent alpha of the length penalty; 0 favors short captions; default: as trained.",
        most=MOST_ALPHA,
        group=DECODING,
    )
    define_text(
        "length_penalty",
        None,
        "Divisor of log p for n words, end marker included: power (n**alpha), wu "
        "(((5 + n) / 6)**alpha), avg (n). wu_0.9 sets alpha too; default: as trained.",
        group=DECODING,
        value="power|wu|avg|wu_ALPHA",
    )
    define_whole(
        "beam_groups",
        None,
        "Groups of diverse beam search, which avoid each other's words; the number must divide "
        "--beam_size. Default: as trained.",
        least=1,
        most=MOST_BEAMS,
        group=DECODING,
    )
    define_number(
        "diversity",
        None,
        "With --beam_groups: penalty on log p of a word per hypothesis of earlier groups that has "
        "it at the same position. Default: as trained.",
        group=DECODING,
    )
    define_whole(
        "min_length",
        None,
        "Minimum number of words of a caption; default: as trained.",
        least=0,
        most=MOST_WORDS,
        group=DECODING,
    )
    for name, description in _SWITCHES.items():
        define_switch(name, None, f"{description}; default: as trained.", group=DECODING)
    for name, description in _PHRASES.items():
        define_texts(
            name,
            None,
            f"{description}; separate several by commas or repeat the flag. Default: as trained.",
            group=DECODING,
            value="WORDS[,WORDS]",
        )
    _define_sampling_flags()


def _define_sampling_flags() -> None:
    define_choice(
        "method",
        None,
        METHODS,
        "Search, or draw captions word by word: sample, or gumbel, the largest log p with Gumbel "
        "noise. Default: as trained.",
        group=DECODING,
    )
    define_number(
        "temperature",
        None,
        "Temperature of sampling: log p is divided by it before a word is drawn. Default: as "
        "trained.",
        above=0,
        most=MOST_TEMPERATURE,
        group=DECODING,
    )
    define_whole(
        "top_k",
        None,
        "Draw among this many of the most likely words; default: as trained.",
        least=1,
        group=DECODING,
    )
    define_number(
        "top_p",
        None,
        "Draw among the most likely words whose probabilities sum to this; default: as trained.",
        above=0,
        most=1,
        group=DECODING,
    )
    define_whole(
        "sampling_seed",
        None,
        "Seed of sampling; equal seeds draw equal captions of an image. Default: as trained.",
        least=0,
        group=DECODING,
    )


def define_ensemble_flag() -> None:
    """Defines the flag for the weights of an ensemble's members."""
    define_list(
        "ensemble_weights",
        None,
        "With several --run: weight of the word probabilities of each run, in their order. "
        "Default: all equal.",
        group=MODEL,
        value="WEIGHT,WEIGHT",
    )


def define_precision_flag() -> flags.FlagHolder[Any]:
    """Defines the flag for the precision that a trained run is loaded in; returns it."""
    return define_choice(
        "precision",
        "float32",
        PRECISIONS,
        "Precision of activations, independent of the training. mixed_bfloat16 is faster on "
        "processors with bfloat16 instructions (AVX512_BF16, AMX, GPUs); scores differ in the "
        "third digit.",
        group=MODEL,
    )


def ensemble_weights() -> list[float] | None:
    """Returns the weights of an ensemble's members; raises `InputError` for invalid text."""
    from tfrecords.core.errors import InputError

    given = flags.FLAGS["ensemble_weights"].value
    if given is None:
        return None
    found, rule = [], number(above=0)
    for text in given:
        try:
            found.append(float(text))
        except ValueError:
            found.append(math.nan)
        if expected := rule(found[-1]):
            raise InputError(f"--ensemble_weights={','.join(given)}: {text!r} must be {expected}")
    return found


def decoding_overrides() -> dict[str, Any]:
    """Returns the decoding settings given on the command line."""
    values = {name: flags.FLAGS[name].value for name in _NAMES}
    return {name: value for name, value in values.items() if value is not None}


def define_consensus_flags() -> None:
    """Defines the flags of reranking by consensus."""
    define_whole(
        "neighbors",
        None,
        "Rerank the hypotheses of the beam search (--beam_size) by their CIDEr-D with the captions "
        "of the N most similar training images. For captioners; their training records must "
        "contain a vector per image. Default: the most likely hypothesis.",
        least=1,
        group=DECODING,
    )
    flags.DEFINE_alias("neighbours", "neighbors")  # until the next version
    define_number(
        "sharpness",
        None,
        "With --neighbors: a training image with cosine similarity s has the weight "
        "exp(sharpness * s). Default: 8, or 16 with --consensus_embedding.",
        most=80,
        group=DECODING,
    )
    define_number(
        "likelihood",
        None,
        "With --neighbors: weight of the score of a hypothesis (normalized log p), which is "
        "added to its CIDEr-D. Default: 0.2.",
        group=DECODING,
    )
    define_texts(
        "consensus_embedding",
        None,
        "With --neighbors: run folder of a visual-semantic embedding, with whose vectors images "
        "are compared; with several, by their mean similarity. Default: compare features.",
        group=DECODING,
        value="FOLDER",
    )
    define_whole(
        "nearest_captions",
        None,
        "With --consensus_embedding: this many training captions, those most similar to the image "
        "in the embedding, count as much as the captions of similar images. Default: 150.",
        least=0,
        group=DECODING,
    )
    define_number(
        "image_text",
        None,
        "With --consensus_embedding: weight of the similarity of hypothesis and image, which is "
        "added to CIDEr-D. Default: 1.",
        group=DECODING,
    )


def consensus_options() -> ConsensusOptions | None:
    """Returns the options of reranking by consensus; None without reranking.

    Raises:
        InputError: options of reranking are given without --neighbors.
    """
    from r2m.inference.consensus import ConsensusOptions
    from tfrecords.core.errors import InputError

    of_embeddings = ("nearest_captions", "image_text")
    names = ("neighbors", "sharpness", "likelihood", "consensus_embedding", *of_embeddings)
    given: dict[str, Any] = {name: flags.FLAGS[name].value for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    if "neighbors" not in given:
        raise InputError(f"--{next(iter(given))} requires --neighbors")
    for name in of_embeddings:
        if name in given and "consensus_embedding" not in given:
            raise InputError(f"--{name} requires --consensus_embedding")
    if "consensus_embedding" in given:
        given["embeddings"] = tuple(given.pop("consensus_embedding"))
    return ConsensusOptions(**given)
