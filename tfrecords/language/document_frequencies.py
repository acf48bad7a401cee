"""Document frequencies of n-grams, the basis of the word weights in CIDEr and CIDEr-D.

An n-gram is n consecutive words of a sentence, n = 1..4. Its document frequency is the number of
images with at least one reference caption that contains it (Vedantam et al. 2015). References end
with the end marker `</S>`, which counts as a word, and have no start marker. The file contains the
sha256 of the vocabulary that the word ids belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from tfrecords.core.errors import InputError
from tfrecords.core.examples import decode_example, read_frames
from tfrecords.core.files import atomic_file, clear_disk_errors, make_folder, open_unpacked
from tfrecords.core.records import SENTENCE_LENGTHS, SENTENCE_WORDS, Records, check_same_vocabulary
from tfrecords.core.vocabulary import END_ID, START_ID

MAX_ORDER = 4
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class DocumentFrequencies:
    """Number of images whose references contain each n-gram.

    Attributes:
        ngrams: for n = 1..4 an int32 [G_n, n] of word ids, rows in ascending order.
        counts: for n = 1..4 an int32 [G_n]: number of images with that n-gram in a reference.
        images: number of images with at least one reference; CIDEr uses its logarithm.
        vocabulary_sha256: sha256 of the vocabulary of the ids.
        records_digest: digest of the records that the n-grams were counted in; None if they were
            counted elsewhere.

    Raises:
        InputError: shapes, order or counts are wrong, or an n-gram is present without its prefix.
    """

    ngrams: tuple[np.ndarray, ...]
    counts: tuple[np.ndarray, ...]
    images: int
    vocabulary_sha256: str
    records_digest: str | None = None

    def __post_init__(self) -> None:
        """Checks shapes, types, counts and order."""
        problem = None
        if len(self.ngrams) != MAX_ORDER or len(self.counts) != MAX_ORDER:
            problem = f"expected the orders 1 to {MAX_ORDER}"
        for order, (rows, counts) in enumerate(zip(self.ngrams, self.counts, strict=False), 1):
            if rows.shape != (len(counts), order) or counts.ndim != 1:
                problem = f"{order}-grams {rows.shape} with counts {counts.shape}"
            elif rows.dtype != np.int32 or counts.dtype != np.int32:
                problem = f"{order}-grams of {rows.dtype} with counts of {counts.dtype}, not int32"
            elif rows.size and (rows.min() < 0 or counts.min() < 1 or counts.max() > self.images):
                problem = f"{order}-grams with ids below 0 or counts outside 1..{self.images}"
        if problem is not None or not self.counts[0].size:
            raise InputError(f"not document frequencies: {problem or 'no n-gram at all'}")
        _ = self._ended_keys  # checks the order

    @property
    def keys(self) -> list[np.ndarray]:
        """Per order int64 [G_n], ascending: 2**32 * index of the first n - 1 words + last word."""
        return [keys[:-1] for keys in self._ended_keys]

    @cached_property
    def _ended_keys(self) -> list[np.ndarray]:
        """`keys` with a sentinel larger than any key, so that a search is never out of range."""
        keys: list[np.ndarray] = []
        for order, rows in enumerate(self.ngrams, 1):
            index, known = _find(keys, rows[:, :-1])
            if not known.all():
                missing = rows[np.flatnonzero(~known)[0]].tolist()
                raise InputError(
                    f"not document frequencies: the {order}-gram {missing} exists but not its "
                    f"first {order - 1} words"
                )
            keys.append(np.append(index << 32 | rows[:, -1], np.iinfo(np.int64).max))
            if (np.diff(keys[-1]) <= 0).any():
                raise InputError(
                    f"not document frequencies: the {order}-grams are out of order, or one is "
                    "repeated"
                )
        return keys

    def lookup(self, ngrams: np.ndarray) -> np.ndarray:
        """Returns the document frequencies of n-grams of one order.

        Args:
            ngrams: integers [..., n], n = 1..4.

        Returns:
            int32 [...]; 0 for n-grams of no reference.
        """
        order = ngrams.shape[-1]
        if not 1 <= order <= MAX_ORDER:
            raise ValueError(f"expected n-grams of 1 to {MAX_ORDER} words, found {order}")
        index, known = _find(self._ended_keys, ngrams)
        found = np.zeros(known.shape, np.int32)
        found[known] = self.counts[order - 1][index[known]]
        return found

    def save(self, path: str | Path) -> None:
        """Writes the file (`.npz`) atomically."""
        path = Path(path)
        arrays: dict[str, Any] = {
            "format_version": np.int64(FORMAT_VERSION),
            "images": np.int64(self.images),
            "vocabulary_sha256": np.array(self.vocabulary_sha256),
        }
        if self.records_digest is not None:
            arrays["records_digest"] = np.array(self.records_digest)
        for order in range(1, MAX_ORDER + 1):
            arrays[f"ngrams_{order}"] = self.ngrams[order - 1]
            arrays[f"counts_{order}"] = self.counts[order - 1]
        make_folder(path.parent)
        with (
            clear_disk_errors(path.parent, resumes=False),
            atomic_file(path) as temporary,
            temporary.open("wb") as stream,
        ):
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(
        cls, path: str | Path, *, vocabulary_sha256: str | None, vocabulary_of: str
    ) -> DocumentFrequencies:
        """Reads a file.

        Args:
            path: a file written by `save`.
            vocabulary_sha256: sha256 of the vocabulary that the frequencies will be used with.
            vocabulary_of: owner of that vocabulary, for error messages.

        Raises:
            InputError: the file is missing, damaged, of another format version, or was built with
                another vocabulary (names both).
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(
                f"there is no file of document frequencies {path}: make it with "
                "r2m-build-document-frequencies"
            )
        try:
            with np.load(path, allow_pickle=False) as arrays:
                version = int(arrays["format_version"])
                found = {name: arrays[name] for name in arrays.files}
        except Exception as error:  # a damaged zip file can fail in any way
            raise InputError(
                f"{path} is not a file of document frequencies ({type(error).__name__}: {error}): "
                "make it again with r2m-build-document-frequencies"
            ) from error
        if version != FORMAT_VERSION:
            raise InputError(
                f"{path} has format version {version}, this program reads {FORMAT_VERSION}: make "
                "it again"
            )
        try:
            orders = range(1, MAX_ORDER + 1)
            frequencies = cls(
                ngrams=tuple(found[f"ngrams_{order}"] for order in orders),
                counts=tuple(found[f"counts_{order}"] for order in orders),
                images=int(found["images"]),
                vocabulary_sha256=str(found["vocabulary_sha256"]),
                records_digest=str(found["records_digest"]) if "records_digest" in found else None,
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path}: {error}; make it again") from error
        check_same_vocabulary(
            f"the document frequencies {path}",
            frequencies.vocabulary_sha256,
            vocabulary_of,
            vocabulary_sha256,
        )
        return frequencies


def frequencies_of_records(records: Records, split: str = "train") -> DocumentFrequencies:
    """Counts the n-grams of a split of `captions` records.

    Keeps all references in memory: about 80 bytes per word at the peak (0.5 GB for COCO).

    Raises:
        InputError: the records are of another kind or have no such split, a shard or sentence is
            damaged, or there is no reference.
    """
    if records.kind != "captions":
        raise InputError(f"{records.folder} contains {records.kind!r} records, expected 'captions'")
    vocabulary = records.vocabulary()
    found = count_ngrams(
        _references(records, split, len(vocabulary)), vocabulary_sha256=vocabulary.sha256
    )
    return replace(found, records_digest=records.digest)


def kept_frequencies(
    records: Records, split: str = "train", *, keep: bool = True
) -> DocumentFrequencies:
    """Returns the document frequencies of a split, counted once per folder of records.

    They are cached in the folder of the records, as `document_frequencies-<split>.npz`. They are
    counted again if that file is damaged or belongs to other records. If the folder is not
    writable, only the time of counting is lost.

    Args:
        records: records of kind `captions`.
        split: split of the records.
        keep: whether to write the file; only one of several processes should.

    Raises:
        InputError: see `frequencies_of_records`.
    """
    path = records.folder / f"document_frequencies-{split}.npz"
    if path.is_file():
        try:
            found = DocumentFrequencies.load(
                path,
                vocabulary_sha256=records.vocabulary_sha256,
                vocabulary_of=str(records.folder),
            )
            if found.records_digest == records.digest:
                return found
            reason = "it was computed from other records"
        except InputError as error:
            reason = str(error)
        logging.warning("counting the n-grams of %s again: %s: %s", records.folder, path, reason)
    found = frequencies_of_records(records, split)
    if keep:
        try:
            found.save(path)
        except (OSError, InputError) as error:
            logging.warning(
                "the document frequencies of %s were counted in memory only, and again at every "
                "start: cannot write %s (%s); r2m-build-document-frequencies writes them elsewhere",
                records.folder,
                path,
                getattr(error, "strerror", None) or error,
            )
    return found


def count_ngrams(
    images: Iterable[tuple[np.ndarray, np.ndarray]], *, vocabulary_sha256: str
) -> DocumentFrequencies:
    """Counts the n-grams of images.

    Args:
        images: the references of each image: word ids [P], one sentence after the other, and the
            number of words of each sentence [S].
        vocabulary_sha256: sha256 of the vocabulary of the ids.

    Raises:
        InputError: the images have no sentence.
    """
    words, lengths, sizes = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], []
    for image_words, image_lengths in images:
        if image_words.size:
            words.append(image_words.astype(np.int32))
            lengths.append(image_lengths.astype(np.int64))
            sizes.append(image_words.size)
    if not sizes:
        raise InputError("there is no reference sentence to count the n-grams of")
    tokens = np.concatenate(words)
    ends = np.repeat(np.cumsum(np.concatenate(lengths)), np.concatenate(lengths))
    left = ends - np.arange(len(tokens))  # words from here to the end of the sentence
    image = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    del words, lengths, ends
    ngrams, counts = [], []
    at, key = np.arange(len(tokens)), tokens.astype(np.int64)
    for order in range(1, MAX_ORDER + 1):
        if order > 1:
            # The key of an n-gram is the number of its first n - 1 words, and its last word.
            longer = left[at] >= order
            at, key = at[longer], key[longer]
            key = key << 32 | tokens[at + (order - 1)]
        by_key = np.argsort(key, kind="stable")
        key, image_by_key = key[by_key], image[at[by_key]]
        new = np.diff(key, prepend=-1) != 0
        # The sort is stable: the occurrences of an n-gram are in the order of the images.
        new_image = new | (np.diff(image_by_key, prepend=-1) != 0)
        number = np.cumsum(new) - 1
        counts.append(np.bincount(number[new_image]).astype(np.int32))
        rows = at[by_key[new]]
        ngrams.append(tokens[rows[:, None] + np.arange(order)])
        key[by_key] = number  # in the order of the text again
    return DocumentFrequencies(
        ngrams=tuple(ngrams),
        counts=tuple(counts),
        images=len(sizes),
        vocabulary_sha256=vocabulary_sha256,
    )


def frequencies_from_counts(
    counts: Mapping[tuple[int, ...], int], *, images: int, vocabulary_sha256: str
) -> DocumentFrequencies:
    """Builds document frequencies from counts: n-gram of word ids -> number of images.

    Raises:
        InputError: see `DocumentFrequencies`.
    """
    tables, numbers = [], []
    for order in range(1, MAX_ORDER + 1):
        chosen = sorted(ngram for ngram in counts if len(ngram) == order)
        tables.append(np.array(chosen, np.int32).reshape(-1, order))
        numbers.append(np.array([counts[ngram] for ngram in chosen], np.int32))
    return DocumentFrequencies(
        ngrams=tuple(tables),
        counts=tuple(numbers),
        images=images,
        vocabulary_sha256=vocabulary_sha256,
    )


def _find(keys: list[np.ndarray], ngrams: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each n-gram's index among those of its order, and whether it is one of them."""
    index = np.zeros(ngrams.shape[:-1], np.int64)
    known = np.ones(ngrams.shape[:-1], bool)
    for order in range(ngrams.shape[-1]):
        word = ngrams[..., order].astype(np.int64)
        key = index << 32 | word
        index = np.searchsorted(keys[order], key)
        known &= (keys[order][index] == key) & (word >= 0) & (word < 1 << 31)
    return index, known


def _references(
    records: Records, split: str, words: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    count = 0
    for shard in records.shards(split):
        before = count
        with open_unpacked(Path(shard)) as stream:
            try:
                for record in read_frames(stream, shard):
                    count += 1
                    yield _record_references(record, words)
            except ValueError as error:
                raise InputError(
                    f"{shard}, record {count - before}: {error}; build the records again "
                    "with --overwrite"
                ) from error
    if count != records.count(split):
        raise InputError(
            f"split {split!r} of {records.folder} has {count} records, its manifest lists "
            f"{records.count(split)}: build the records again with --overwrite"
        )


def _record_references(record: bytes, words: int) -> tuple[np.ndarray, np.ndarray]:
    features = decode_example(record, {SENTENCE_WORDS, SENTENCE_LENGTHS})
    ids, lengths = (_integers(features, name) for name in (SENTENCE_WORDS, SENTENCE_LENGTHS))
    ends = np.cumsum(lengths)
    if len(lengths) and (lengths.min() < 2 or lengths.max() > len(ids)):
        raise ValueError(f"a sentence of {lengths.min()} or {lengths.max()} words")
    if lengths.sum() != len(ids):
        raise ValueError(f"sentences of {lengths.sum()} words together, but {len(ids)} words")
    begins = ends - lengths
    if (ids[begins] != START_ID).any() or (ids[ends - 1] != END_ID).any():
        raise ValueError("a sentence without start or end marker")
    if len(ids) and (ids.min() < 0 or ids.max() >= words):
        raise ValueError(f"a word id outside 0..{words - 1}")
    return np.delete(ids, begins), lengths - 1


def _integers(features: Mapping[str, list[bytes] | np.ndarray], name: str) -> np.ndarray:
    values = features.get(name, [])
    if isinstance(values, list) and not values:  # a feature without values may have no kind
        return np.zeros(0, np.int64)
    if not isinstance(values, np.ndarray) or values.dtype != np.int64:
        raise ValueError(f"{name} contains no integers")
    return values
