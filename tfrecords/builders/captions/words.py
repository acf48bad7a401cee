"""Words of the captions of a build, and selection of its vocabulary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from absl import logging

from tfrecords.builders.captions.splits import Choice, ChosenImage
from tfrecords.core.errors import InputError
from tfrecords.core.segmentation import UnspacedText
from tfrecords.core.shards import Skip
from tfrecords.core.vocabulary import END, PAD, START, UNK, Vocabulary, build_vocabulary
from tfrecords.formats.paired.word_rules import RULES, given_tokens

# The images of each split and the words of each of their captions.
SplitWords = dict[str, list[tuple[ChosenImage, list[list[str]]]]]
_MARKERS = frozenset((PAD, START, END))


def split_captions(
    choice: Choice, rule: str, segmenter: str | None = None
) -> tuple[SplitWords, list[Skip]]:
    """Splits every caption into its words.

    Args:
        choice: the images.
        rule: a name of `RULES`. If the source stores word ids, its words are used unchanged.
        segmenter: one of `tfrecords.core.segmentation.SEGMENTERS`; None splits at spaces, and
            rejects text written without spaces.

    Returns:
        The images with at least one caption, with one list of words per caption; and a `Skip` for
        each caption without a word and each image without a caption.

    Raises:
        InputError: no image of a split is left, captions are written without spaces, or a segmenter
            is given for a source with stored word ids.
    """
    unspaced = UnspacedText()
    found: SplitWords = {}
    skipped: list[Skip] = []
    # Millions of words, but only some ten thousand different ones: share equal strings.
    shared: dict[str, str] = {}
    for split, images in choice.splits.items():
        found[split] = []
        for chosen in images:
            words_of = given_tokens if chosen.fixed_words else RULES[rule].split
            if chosen.fixed_words and (segmenter or "words") != "words":
                raise InputError(
                    f"{chosen.image.place}: this source stores word ids, so its captions cannot be "
                    f"split by the segmenter {segmenter}: leave it out"
                )
            captions, sentences = [], []
            for caption in chosen.captions:
                # Markers in the text become unknown words.
                words = [
                    UNK if word in _MARKERS else word
                    for word in words_of(caption, segmenter or "words")
                ]
                if not chosen.fixed_words:
                    unspaced.add(caption.text, words)
                if words:
                    captions.append(caption)
                    sentences.append([shared.setdefault(word, word) for word in words])
                else:
                    detail = f"no word: {caption.text[:60]!r}"
                    skipped.append(Skip(chosen.image.place, "empty", detail))
            if captions:
                found[split].append((replace(chosen, captions=tuple(captions)), sentences))
            else:
                skipped.append(Skip(chosen.image.image_id, "no_caption", chosen.image.place))
        if not found[split]:
            raise InputError(f"split {split!r}: no caption of its {len(images)} images has a word")
    unspaced.check(segmenter)
    return found, skipped


def count_words(
    words: Mapping[str, Sequence[tuple[ChosenImage, Sequence[Sequence[str]]]]],
    splits: Sequence[str],
    *,
    rule: str,
    min_count: int | None,
    own_words: Iterable[str],
    segmenter: str = "words",
) -> Vocabulary:
    """Builds the vocabulary of captions.

    Args:
        words: from `split_captions`.
        splits: splits whose captions are counted.
        rule: a name of `RULES`.
        min_count: minimum count of a word; None uses the number of the rule, and then includes all
            `own_words`.
        own_words: the words of the vocabularies that come with the sources.
        segmenter: how the captions were split.

    Raises:
        InputError: these splits contain no caption, or no word is frequent enough.
    """
    counts: Counter[str] = Counter()
    for split in splits:
        for _, sentences in words.get(split, ()):
            for sentence in sentences:
                counts.update(sentence)
                counts.update((START, END))
    if not counts:
        raise InputError(
            f"there is no caption in {', '.join(splits)} to build a vocabulary from (found "
            f"{', '.join(words)}): give other vocabulary_splits, or an existing vocabulary"
        )
    if min_count is None:
        return build_vocabulary(
            counts, min_count=RULES[rule].min_count, always=own_words, segmenter=segmenter
        )
    return build_vocabulary(counts, min_count=min_count, segmenter=segmenter)


def log_splits(words: SplitWords, vocabulary: Vocabulary, max_length: int | None) -> int:
    """Logs the numbers of images, captions and unknown words of each split.

    Args:
        words: words of the captions of each split.
        vocabulary: the known words.
        max_length: number of words that sentences are truncated to; None disables truncation.

    Returns:
        The number of sentences that are longer.
    """
    too_long = 0
    for split, rows in words.items():
        every = [sentence for _, sentences in rows for sentence in sentences]
        total = sum(map(len, every))
        unknown = sum(word not in vocabulary for sentence in every for word in sentence)
        if max_length is not None:
            too_long += sum(len(sentence) > max_length for sentence in every)
        logging.info(
            "%s: %d images, %d captions, %.1f words each, %.2f %% of the words unknown",
            split,
            len(rows),
            len(every),
            total / len(every),
            100 * unknown / total,
        )
    if too_long:
        logging.info("%d sentences were cut to %d words", too_long, max_length)
    return too_long
