"""Segmentation of text written without spaces: Chinese, Japanese, Thai, Khmer, Lao, Burmese.

| segmenter | words |
|---|---|
| `words` | text between spaces, as in languages that use them |
| `characters` | every character of these scripts, with its combining marks; other words unchanged |
| `icu` | words from the dictionaries of the ICU library; requires the extra `[segmenter]` |

Text of all other scripts, and numbers, remain unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from absl import logging

from tfrecords.core.errors import InputError

SEGMENTERS = ("words", "characters", "icu")

# Chinese and Japanese: ideographs, kana, bopomofo; no digits and no punctuation.
_EAST_ASIAN = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3041-\u3096\u309d-\u309f"
    "\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U000323af"
)
# Thai, Lao, Tibetan, Burmese, Khmer, and the scripts of the Tai languages.
_SOUTH_EAST_ASIAN_BLOCKS = (
    *((0x0E00, 0x1000), (0x1000, 0x10A0), (0x1780, 0x1800), (0x1950, 0x19E0), (0x1A20, 0x1AB0)),
    *((0xA9E0, 0xAA00), (0xAA60, 0xAAE0)),
)
# All scripts with combining marks in the middle of words.
_MARK_BLOCKS = ((0x0300, 0x2100), (0x3099, 0x309B), (0xA800, 0xAC00), (0xFE00, 0xFE10))


def _class_of(kind: str, blocks: Iterable[tuple[int, int]]) -> str:
    """Returns the characters of a kind ("L": letters, "M": marks) as regex ranges."""
    found = [
        number
        for first, end in blocks
        for number in range(first, end)
        if unicodedata.category(chr(number))[0] == kind
    ]
    ranges: list[list[int]] = []
    for number in found:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


MARKS = _class_of("M", _MARK_BLOCKS)
"""Combining marks, for use inside a character class of a regular expression."""
CLUSTER = f"[{_EAST_ASIAN}{_class_of('L', _SOUTH_EAST_ASIAN_BLOCKS)}][{MARKS}]*"
"""Pattern of a character of these scripts with its marks, for `re` and RE2."""
COMPOSED = (("\u0e4d\u0e32", "\u0e33"), ("\u0ecd\u0eb2", "\u0eb3"))
"""Vowels of Thai and Lao that NFKC decomposes -> the composed form in texts and dictionaries."""
_CLUSTER = re.compile(CLUSTER)
_RUN = re.compile(f"(?:{CLUSTER})+")
_EAST_ASIAN_CHARACTER = re.compile(f"[{_EAST_ASIAN}]")

# Average characters per word: segmented text has fewer. Chinese and Japanese have 1 to 2.
_LONG_EAST_ASIAN, _LONG = 3.0, 4.5
# Limits for the fraction of unspaced sentences; a few may contain names on signs.
_WARNED, _REFUSED = 0.01, 0.1


def check_segmenter(name: str) -> None:
    """Checks that a segmenter exists and can run.

    Raises:
        InputError: the name is unknown, or the required package is missing.
    """
    if name not in SEGMENTERS:
        raise InputError(f"segmenter {name!r} is not known; known: {', '.join(SEGMENTERS)}")
    if name == "icu":
        _word_breaker()


def segment(text: str, segmenter: str) -> str:
    """Inserts spaces around the words of scripts that are written without spaces.

    Args:
        text: any text.
        segmenter: one of `SEGMENTERS`; `words` leaves the text unchanged.

    Raises:
        InputError: see `check_segmenter`.
    """
    if segmenter == "words" or text.isascii():
        return text
    for apart, composed in COMPOSED:
        text = text.replace(apart, composed)
    if segmenter == "characters":
        return _CLUSTER.sub(r" \g<0> ", text)
    check_segmenter(segmenter)
    breaker = _word_breaker()
    return _RUN.sub(lambda run: f" {' '.join(breaker(run.group()))} ", text)


def join_words(words: Sequence[str], segmenter: str) -> str:
    """Joins words to a sentence with single spaces, except next to scripts without spaces."""
    if segmenter == "words":
        return " ".join(words)
    parts: list[str] = []
    was_unspaced = True
    for word in words:
        unspaced = is_unspaced(word)
        parts.append(word if was_unspaced or unspaced else f" {word}")
        was_unspaced = unspaced
    return "".join(parts)


def is_unspaced(word: str) -> bool:
    """Returns whether a word is of a script that is written without spaces."""
    return _CLUSTER.match(word) is not None


@lru_cache(maxsize=1)
def _word_breaker() -> Callable[[str], Iterable[str]]:
    try:
        from icu4py.breakers import WordBreaker
    except ImportError as error:
        raise InputError(
            f"the segmenter icu needs a package that is not installed ({error}): "
            "pip install 'r2m[segmenter]'"
        ) from error
    # ICU chooses the dictionary by script, not by locale.
    return lambda text: WordBreaker(text, "en")


@dataclass
class UnspacedText:
    """Counts of the sentences of a source that are written without spaces.

    Attributes:
        sentences: number of counted sentences.
        unspaced: number of sentences with a word that is too long.
        words: number of words of scripts without spaces.
        excess: sum over these words of their length divided by the length of a long word.
        example: a sentence that counts as `unspaced`.
    """

    sentences: int = 0
    unspaced: int = 0
    words: int = 0
    excess: float = 0.0
    example: str = ""

    def add(self, text: str, words: Iterable[str]) -> None:
        """Counts a sentence and its words."""
        self.sentences += 1
        if text.isascii():
            return
        has_unspaced = False
        for word in words:
            if word.isascii() or not (length := len(_CLUSTER.findall(word))):
                continue
            long = _LONG_EAST_ASIAN if _EAST_ASIAN_CHARACTER.search(word) else _LONG
            self.words += 1
            self.excess += length / long
            has_unspaced = has_unspaced or length > long
        if has_unspaced:
            self.unspaced += 1
            self.example = self.example or " ".join(text.split())[:60]

    def merge(self, other: UnspacedText) -> None:
        """Adds the counts of another part of the source."""
        self.sentences += other.sentences
        self.unspaced += other.unspaced
        self.words += other.words
        self.excess += other.excess
        self.example = self.example or other.example

    def describe(self, least: float = _WARNED) -> str | None:
        """Describes why these sentences should not be split at spaces; None if they can be.

        Args:
            least: minimum fraction of unspaced sentences.
        """
        if not self.unspaced or self.excess < self.words or self.unspaced < least * self.sentences:
            return None
        return (
            f"{self.unspaced} of {self.sentences} sentences are written without spaces between "
            f"words, for example {self.example!r}: split at spaces, whole phrases become words"
        )

    def check(self, segmenter: str | None) -> None:
        """Raises an error for unspaced text unless a segmenter was requested.

        Args:
            segmenter: the requested segmenter; None if none was requested.

        Raises:
            InputError: no segmenter was requested, and a tenth of the sentences is unspaced.
        """
        found = self.describe()
        if found is None:
            return
        if segmenter is None and self.describe(_REFUSED):
            raise InputError(
                f"{found}. Give --segmenter=characters (each character is a word) or "
                "--segmenter=icu (words by dictionary; pip install 'r2m[segmenter]'); "
                "--segmenter=words splits at spaces anyway"
            )
        logging.warning("%s; see --segmenter", found)
