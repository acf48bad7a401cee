"""Text to words and word ids inside a graph, for whole batches.

The words are those of `tfrecords.language.tokenization.tokenize`.

The builders tokenize in Python; what meets text later (a pipeline over raw captions, an exported
model) tokenizes here and must find the same words. The substitutions of NLTK's word tokenizer are
repeated one by one, in its order, as RE2 expressions. RE2 has no look-around and its `\\b`, `\\w`,
`\\s`, `\\d` know ASCII only, so word boundaries are written as the characters beside them.

The words are the same for every text in UTF-8 of characters that Python, TensorFlow and the package
regex (which NLTK uses since 3.10) all know. Their versions of Unicode differ: to one of them a new
character may not be a letter yet, or have no small letter. Bytes that are no UTF-8 never get to
`tokenize` in a build (the reader skips the sentence); here they become U+FFFD, which is no letter.
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
# their \w differ. The last two ranges are letters in circles and squares, which NFKC leaves alone.
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
    # White space to Python, not to RE2, and no space: a tab, of which none is left by now.
    (r"[\x{1680}\x{2028}\x{2029}]", "\t"),
)
# ICU lower-cases these (and the ASCII I) by the rules of the user's language: Turkish, Lithuanian.
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
# Contractions: the two parts, and what follows them. Each rule stands twice, because two matches
# side by side share what is between them, and the first one takes it.
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
    # From here on every word has spaces of its own.
    (r" ", "  "),
    (rf" 't(is|was)({_NO_WORD})", r" 't  \1  \2"),
    # The stop of a sentence that is not the last one of the text; "u.s." keeps it.
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
        keep_punctuation: keep words without any letter or digit; as the corpus was built.
        segmenter: `words` or `characters`; as the corpus was built.
        normal_form: takes the place of an operation of tensorflow_text, for models that servers
            without that package run.

    Returns:
        string [B, (T)] words; a row is empty where a sentence has none.

    Raises:
        InputError: another segmenter, which cannot run in a graph.
    """
    if segmenter not in ("words", "characters"):
        raise InputError(
            f"the segmenter {segmenter!r} cannot run in a graph; those that can: words, characters"
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
    """Returns the map from words, string, to ids, int32, `<unk>` for all others.

    A model that is exported has to hold the table as an attribute, or it is not saved with it.
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
    """Returns word ids of sentences with start and end marker: `Vocabulary.encode_sentence`.

    Equal to the feature `sentence` of `corpora` records, unless these were built with plurals
    folded.

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
    # Quotes first: NFKC would turn the acute accent used as an apostrophe into a space.
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
