"""Words that captions must or must not contain, as ids of a vocabulary."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from typing import Any

from models.decoding.options import Phrase, contains
from tfrecords.core.errors import InputError
from tfrecords.core.vocabulary import END_ID, Vocabulary
from tfrecords.language.tokenization import tokenize


def constraint_phrases(
    decoding: Mapping[str, Any], vocabulary: Vocabulary
) -> tuple[tuple[Phrase, ...], tuple[Phrase, ...]]:
    """Returns the phrases that captions must contain, and those that they must not contain.

    Args:
        decoding: settings `must_contain`, `must_not_contain` and `block_repeats`.
        vocabulary: vocabulary of the model.

    Raises:
        InputError: a word is not in the vocabulary, or no caption can satisfy both.
    """
    required, excluded = (
        phrase_ids(name, decoding[name], vocabulary)
        for name in ("must_contain", "must_not_contain")
    )
    for phrase in required:
        own = vocabulary.decode(phrase)
        for other in excluded:
            if contains(phrase, other):
                raise InputError(
                    f"must_contain={own!r} contains {vocabulary.decode(other)!r}, which "
                    "must_not_contain excludes: remove one of them"
                )
        if decoding["block_repeats"] and any(a == b for a, b in itertools.pairwise(phrase)):
            raise InputError(
                f"must_contain={own!r} repeats a word, which block_repeats excludes: remove one of "
                "them"
            )
    return required, excluded


def phrase_ids(name: str, text: str, vocabulary: Vocabulary) -> tuple[Phrase, ...]:
    """Returns the ids of words and phrases.

    Args:
        name: name of the setting, for messages.
        text: words and phrases, separated by commas, and tokenized like captions.
        vocabulary: vocabulary of the model.

    Returns:
        The ids of each phrase, in order and without duplicates.

    Raises:
        InputError: a word is not in the vocabulary, or no word is between two commas.
    """
    if not text.strip():
        return ()
    phrases = []
    for part in text.split(","):
        words = tokenize(part, segmenter=vocabulary.segmenter)
        if not words:
            raise InputError(f"{name}={text!r}: expected words, found {part!r}")
        phrases.append(tuple(_word_id(name, word, vocabulary) for word in words))
    return tuple(dict.fromkeys(phrases))


def _word_id(name: str, word: str, vocabulary: Vocabulary) -> int:
    found = vocabulary.id_of(word)
    if END_ID < found < vocabulary.unk_id:
        return found
    similar = difflib.get_close_matches(word, vocabulary.words[END_ID + 1 : -1])
    hint = f"; did you mean {' or '.join(similar)}?" if similar else ""
    raise InputError(
        f"{name}: {word!r} is not among the {len(vocabulary):,} words of the vocabulary, which are "
        f"all that the model can generate{hint}"
    )
