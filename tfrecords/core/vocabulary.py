"""The vocabulary: words, their ids and their counts.

A text file with one `word<TAB>count` per line; the id of a word is its line number, from 0. The
first three lines are the markers `<pad>`, `<S>`, `</S>`, the last one is `<unk>`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tfrecords.core.errors import InputError
from tfrecords.core.files import write_atomically
from tfrecords.core.segmentation import join_words
from tfrecords.core.text_files import numbered_lines

PAD, START, END = "<pad>", "<S>", "</S>"
UNK = "<unk>"
PAD_ID, START_ID, END_ID = 0, 1, 2
_MARKERS = (PAD, START, END)


@dataclass(frozen=True)
class Vocabulary:
    """Words and their counts, in the order of their ids.

    Attributes:
        words: [V] `<pad>`, `<S>`, `</S>`, the words by descending count, `<unk>`.
        counts: [V] occurrences of each word; for `<unk>`, the sum over all omitted words.
        segmenter: how text was split into words, see `tfrecords.core.segmentation`; not in the
            file.

    Raises:
        InputError: a word is empty, contains white space or is repeated, or a marker is misplaced.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    segmenter: str = "words"
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Checks the words and builds the map from word to id."""
        _check_words(self.words, self.counts, where="the vocabulary", first_line=None)
        object.__setattr__(self, "_ids", {word: i for i, word in enumerate(self.words)})

    def __len__(self) -> int:
        """Returns the number of words V, including the markers and `<unk>`."""
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        """Returns whether the word has an id; markers have one too."""
        return word in self._ids

    @property
    def unk_id(self) -> int:
        """The id of `<unk>`, the last id."""
        return len(self.words) - 1

    def id_of(self, word: str) -> int:
        """Returns the id of a word; the id of `<unk>` if the word is unknown."""
        return self._ids.get(word, self.unk_id)

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Returns the ids of the tokens, without markers."""
        ids, unk = self._ids, self.unk_id
        return [ids.get(token, unk) for token in tokens]

    def encode_sentence(self, tokens: Iterable[str]) -> list[int]:
        """Returns the ids of the tokens between a start and an end marker."""
        return [START_ID, *self.encode(tokens), END_ID]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the sentence of the ids: skips pad and start, stops at the first end marker.

        Raises:
            InputError: an id is not in the vocabulary.
        """
        found = []
        for number in ids:
            number = int(number)
            if number == END_ID:
                break
            if number in (PAD_ID, START_ID):
                continue
            if not 0 <= number < len(self.words):
                raise InputError(
                    f"word id {number} is not in this vocabulary of {len(self.words)} words "
                    f"(ids 0..{self.unk_id}): the ids were made with another vocabulary"
                )
            found.append(self.words[number])
        return join_words(found, self.segmenter)

    @cached_property
    def file_bytes(self) -> bytes:
        """The bytes of the vocabulary file."""
        lines = (f"{w}\t{c}\n" for w, c in zip(self.words, self.counts, strict=True))
        return "".join(lines).encode()

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal sha256 of the file's bytes, which identifies the vocabulary."""
        return hashlib.sha256(self.file_bytes).hexdigest()

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary file atomically."""
        write_atomically(Path(path), self.file_bytes)

    @classmethod
    def load(cls, path: str | Path, segmenter: str = "words") -> Vocabulary:
        """Reads a vocabulary file.

        Args:
            path: the file.
            segmenter: how text was split into the words.

        Raises:
            InputError: the file is missing, not UTF-8 or empty, a line is malformed, a word is
                repeated, or a marker is misplaced; the message names `path:line`.
        """
        path = Path(path)
        words, counts = [], []
        # Words keep their Unicode form: their bytes identify the vocabulary of records.
        for number, line in numbered_lines(path, "vocabulary file"):
            word, tab, count = line.partition("\t")
            if not tab or not (count.isascii() and count.isdigit()):
                raise InputError(f"{path}:{number}: expected word<TAB>count, found {line[:80]!r}")
            words.append(word)
            counts.append(int(count))
        _check_words(words, counts, where=str(path), first_line=1)
        return cls(tuple(words), tuple(counts), segmenter)


def build_vocabulary(
    counts: Mapping[str, int],
    *,
    min_count: int,
    always: Iterable[str] = (),
    allowed: Container[str] | None = None,
    segmenter: str = "words",
) -> Vocabulary:
    """Chooses the words of a vocabulary.

    Args:
        counts: occurrences of each word of the corpus. Counts of `<S>` and `</S>`, if given, are
            written to the file but do not select words. A count of `<unk>` is added to the omitted
            words.
        min_count: minimum count of a selected word.
        always: words selected with any count (the concept words).
        allowed: if given, only these words and those of `always` are selected.
        segmenter: how text was split into the words.

    Returns:
        The vocabulary, words by descending count, ties in alphabetical order.

    Raises:
        InputError: no word is selected.
    """
    special = {*_MARKERS, UNK}
    forced = set(always) - special
    kept = {
        word: count
        for word, count in counts.items()
        if count >= min_count and (allowed is None or word in allowed) and word not in special
    }
    kept.update({word: counts.get(word, 0) for word in forced})
    if not kept:
        seen = {word: count for word, count in counts.items() if word not in special}
        most = max(seen.items(), key=lambda item: item[1], default=("", 0))
        raise InputError(
            f"the vocabulary would be empty: none of {len(seen)} different words was seen "
            f"{min_count} times (the most frequent, {most[0]!r}, {most[1]} times) and is allowed "
            "by the word list; lower --min_count or use a larger corpus"
        )
    ranked = sorted(kept.items(), key=lambda item: (-item[1], item[0]))
    known = {*kept, *_MARKERS}
    unknown = sum(n for word, n in counts.items() if word not in known)
    return Vocabulary(
        words=(*_MARKERS, *(word for word, _ in ranked), UNK),
        counts=(*(counts.get(m, 0) for m in _MARKERS), *(n for _, n in ranked), unknown),
        segmenter=segmenter,
    )


def _check_words(
    words: Sequence[str], counts: Sequence[int], *, where: str, first_line: int | None
) -> None:
    def place(index: int) -> str:
        return f"{where}, id {index}" if first_line is None else f"{where}:{index + first_line}"

    if not words:
        raise InputError(f"{where} is empty: expected one word per line, the first {PAD}")
    if len(words) != len(counts):
        raise InputError(f"{where} has {len(words)} words but {len(counts)} counts")
    for index, marker in enumerate(_MARKERS):
        found = words[index] if index < len(words) else "the end"
        if found != marker:
            raise InputError(f"{place(index)}: expected the marker {marker}, found {found!r}")
    if words[-1] != UNK:
        raise InputError(
            f"{place(len(words) - 1)}: the last word must be {UNK}, found {words[-1]!r}; "
            "is the file cut short?"
        )
    seen: dict[str, int] = {}
    for index, word in enumerate(words):
        if not word or len(word.split()) != 1 or word != word.strip():
            raise InputError(f"{place(index)}: a word is empty or contains white space: {word!r}")
        if word in seen:
            raise InputError(
                f"{place(index)}: the word {word!r} is repeated, first as id {seen[word]}"
            )
        seen[word] = index
