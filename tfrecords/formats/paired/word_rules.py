"""Rules by which captions are split into words, one per family of programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tfrecords.core.segmentation import segment
from tfrecords.formats.paired.types import Caption
from tfrecords.language.tokenization import tokenize


@dataclass(frozen=True)
class VocabularyRule:
    """Rules of a family of programs for splitting captions and selecting words.

    Attributes:
        min_count: minimum count of a word in the vocabulary.
        split: caption and segmenter -> its words.
    """

    min_count: int
    split: Callable[[Caption, str], list[str]]


def given_tokens(caption: Caption, segmenter: str) -> list[str]:
    """Returns the words of the source, else those of R2M's tokenizer."""
    if caption.tokens is not None and segmenter == "words":
        return list(caption.tokens)
    return tokenize(caption.text, segmenter=segmenter)


def _nltk_words(caption: Caption, segmenter: str) -> list[str]:
    return tokenize(caption.text, keep_punctuation=True, segmenter=segmenter)


def _white_space(caption: Caption, segmenter: str) -> list[str]:
    return segment(caption.text, segmenter).split()


RULES: dict[str, VocabularyRule] = {
    # neuraltalk, self-critical.pytorch (prepro_labels): count > 5, Karpathy's tokens.
    "neuraltalk": VocabularyRule(6, given_tokens),
    # VSE++ (vocab.py): count >= 4, NLTK's words in lower case, punctuation among them.
    "vsepp": VocabularyRule(4, _nltk_words),
    # VSE (build_dictionary): all words between white space, unchanged.
    "kiros": VocabularyRule(1, _white_space),
}
