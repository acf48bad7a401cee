"""Tokenization in the graph: `tfrecords.language.tokenization.tokenize` for batches of sentences.

The builders tokenize in Python. Code that tokenizes later (a pipeline over raw captions, an
exported model) uses this module and must find the same words. The substitutions of NLTK's word
tokenizer are repeated one by one, in its order, as RE2 expressions. RE2 has no look-around, and its
`\\b`, `\\w`, `\\s` and `\\d` match ASCII only, so word boundaries are written as the adjacent
characters.

The words are the same for every UTF-8 text of characters that Python, TensorFlow and the package
regex (which NLTK uses since 3.10) all support. Their versions of Unicode differ: in one of them a
new character may not be a letter yet, or may have no lower-case form. In a build, invalid UTF-8
never reaches `tokenize` (the reader skips the sentence); here it becomes U+FFFD, which is not a
letter.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from pipelines.normal_form import NormalForm
from tfrecords.core.errors import InputError
from tfrecords.core.segmentation import CLUSTER, COMPOSED
from tfrecords.core.vocabulary import END_ID, START_ID, Vocabulary

_Rule = tuple[str, str]

# NLTK compiles its rules for quotes with the package regex, those for contractions with re, and
# their \w differ. The last two ranges are letters in circles and squares, which NFKC does not
# change.
_REGEX_W = r"\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}"
_NO_WORD = r"[^\p{L}\p{N}_]"

_QUOTES: tuple[_Rule, ...] = (
    (r"[\x{2018}\x{2019}\x{201a}\x{201b}\x{02bc}\x{00b4}]", "'"),
    (r"[\x{201c}\x{201d}\x{201e}\x{00ab}\x{00bb}]", '"'),
    (r"[\x{2010}\x{2011}]", "-"),
)
_CONTROLS: tuple[_Rule, ...] = (
    (r"\p{Cf}", ""),
    (r"\p{Cc}", " "),
    # White space in Python but not in RE2, and not a space: replaced by a tab. No other tab is left
    # at this point.
    (r"[\x{1680}\x{2028}\x{2029}]", "\t"),
)
# ICU lower-cases these (and the ASCII I) by the rules of the locale, such as Turkish or Lithuanian.
_CAPITAL_I: tuple[_Rule, ...] = (
    ("\u0130", "i\u0307"),
    ("\u00cc", "\u00ec"),
    ("\u00cd", "\u00ed"),
    ("\u0128", "\u0129"),
    ("\u012e", "\u012f"),
)
# The segmenter `characters`.
_CHARACTERS: tuple[_Rule, ...] = (*COMPOSED, (CLUSTER, r" \0 "))
_LAST_STOP: _Rule = (r"([^.])(\.)([\])}>\"' ]*)\s*$", r"\1 \2 \3 ")
_WORDS: tuple[_Rule, ...] = (
    # Opening quotes.
    (r"`+", r" \0 "),
    (r"^\"", "``"),
    (r"``", r" \0 "),
    (r"([ (\[{<])(?:\"|'')", r"\1 `` "),
    # An apostrophe before a word is a quote; one that begins a clitic ("'s") is set aside as \x01.
    (rf"'(re|ve|ll|m|t|s|d|n)($|[^{_REGEX_W}])", "\x01\\1\\2"),
    (rf"(^|[^{_REGEX_W}])'([{_REGEX_W}])", r"\1' \2"),
    ("\x01", "'"),
    # Punctuation.
    _LAST_STOP,
    (r"([:,])(\P{Nd})", r" \1 \2"),
    (r"[:,]$", r" \0 "),
    (r"\.{2,}", r" \0 "),
    (r"[;@#$%&]", r" \0 "),
    (r"[\x{2012}-\x{2015}]", r" \0 "),
    _LAST_STOP,
    (r"[?!]", r" \0 "),
    (r"([^'])' ", r"\1 ' "),
    (r"[*\]\[(){}<>]", r" \0 "),
    (r"--", r" \0 "),
    # The later rules need something before and after every word.
    (r"^|$", " "),
    # Closing quotes and clitics.
    (r"''|\"", " '' "),
    (r"\s+", " "),
    (r"([^' ])('[smd]|') ", r"\1 \2 "),
    (r"([^' ])('ll|'re|'ve|n't) ", r"\1 \2 "),
)
# Contractions: the two parts, and the character after them. Each rule occurs twice, because two
# adjacent matches share the character between them, and the first match consumes it.
_CONTRACTIONS: tuple[_Rule, ...] = tuple(
    (f"({_NO_WORD}){first}{second}({after})", rf"\1 {first} {second} \2")
    for first, second, after in (
        ("can", "not", _NO_WORD),
        ("d", "'ye", _NO_WORD),
        ("gim", "me", _NO_WORD),
        ("gon", "na", _NO_WORD),
        ("got", "ta", _NO_WORD),
        ("lem", "me", _NO_WORD),
        ("more", "'n", _NO_WORD),
        ("wan", "na", " "),
    )
    for _ in range(2)
)
_LAST: tuple[_Rule, ...] = (
    # From here on, spaces are doubled, so that adjacent words do not share one.
    (r" ", "  "),
    (rf" 't(is|was)({_NO_WORD})", r" 't  \1  \2"),
    # The full stop of a sentence that is not the last one of the text; "u.s." keeps its stop.
    (r" ([^. ]*[\p{L}\p{N}])\. ", r" \1  . "),
)


def tokenize(
    text: tf.Tensor,
    *,
    keep_punctuation: bool = False,
    segmenter: str = "words",
    normal_form: NormalForm | None = None,
) -> tf.RaggedTensor:
    """Splits sentences into lower-case words, as `tfrecords.language.tokenization.tokenize` does.

    Args:
        text: string [B], UTF-8.
        keep_punctuation: whether to keep words without any letter or digit; must be the setting
            that the corpus was built with.
        segmenter: `words` or `characters`; must be the setting that the corpus was built with.
        normal_form: replaces an operation of tensorflow_text, for models that run on servers
            without that package.

    Returns:
        string [B, (T)] words; the row of a sentence without words is empty.

    Raises:
        InputError: the segmenter is another one, which cannot run in a graph.
    """
    if segmenter not in ("words", "characters"):
        raise InputError(
            f"the segmenter {segmenter!r} cannot run in a graph; supported: words, characters"
        )
    text = _lower(_normalize(tf.convert_to_tensor(text, tf.string), normal_form))
    if segmenter == "characters":
        text = _replace(text, _CHARACTERS)
    words = tf.strings.split(_replace(text, (*_WORDS, *_CONTRACTIONS, *_LAST)))
    if keep_punctuation:
        return words
    spoken = tf.strings.regex_full_match(words.flat_values, r".*[\p{L}\p{N}].*")
    return tf.ragged.boolean_mask(words, words.with_flat_values(spoken))


def word_table(vocabulary: Vocabulary) -> tf.lookup.StaticHashTable:
    """Returns the lookup table from words, string, to ids, int32; `<unk>` for unknown words.

    An exported model must keep the table as an attribute, so that the table is saved with it.
    """
    ids = tf.range(len(vocabulary), dtype=tf.int32)
    entries = tf.lookup.KeyValueTensorInitializer(tf.constant(vocabulary.words), ids)
    return tf.lookup.StaticHashTable(entries, default_value=vocabulary.unk_id)


def encode(
    text: tf.Tensor,
    table: tf.lookup.StaticHashTable,
    *,
    keep_punctuation: bool = False,
    segmenter: str = "words",
) -> tf.RaggedTensor:
    """Converts sentences to word ids with start and end marker, as `Vocabulary.encode_sentence`.

    The result equals the feature `sentence` of `corpora` records, unless the records were built
    with plurals folded.

    Args:
        text: string [B], UTF-8.
        table: result of `word_table`.
        keep_punctuation: see `tokenize`.
        segmenter: see `tokenize`.

    Returns:
        int32 [B, (T)], T >= 2.
    """
    words = tokenize(text, keep_punctuation=keep_punctuation, segmenter=segmenter)
    ids = words.with_flat_values(table.lookup(words.flat_values))
    rows = words.nrows(tf.int32)[None]
    start, end = (
        tf.RaggedTensor.from_uniform_row_length(tf.fill(rows, marker), 1)
        for marker in (START_ID, END_ID)
    )
    return tf.concat([start, ids, end], axis=1)


def _normalize(text: tf.Tensor, normal_form: NormalForm | None) -> tf.Tensor:
    # Quotes first: NFKC would convert an acute accent that is used as an apostrophe to a space.
    text = _replace(text, _QUOTES)
    text = tf_text.normalize_utf8(text, "NFKC") if normal_form is None else normal_form(text)
    return _replace(text, (*_QUOTES, *_CONTROLS))


def _lower(text: tf.Tensor) -> tf.Tensor:
    text = _replace(tf.strings.lower(text), _CAPITAL_I)
    return tf.strings.lower(text, encoding="utf-8")


def _replace(text: tf.Tensor, rules: Sequence[_Rule]) -> tf.Tensor:
    for pattern, rewrite in rules:
        text = tf.strings.regex_replace(text, pattern, rewrite)
    return text
