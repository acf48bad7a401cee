"""Passes over a corpus before its records are written: tokenization, deduplication, counting.

Neither pass keeps the corpus in memory. The first pass reads the sources in parts and appends every
sentence that is long enough and contains a concept to one of N *buckets*, chosen by a seeded hash
of its words. Equal sentences are in the same bucket. The second pass can therefore process one
bucket at a time: it drops duplicates, shuffles the sentences and counts the words. The result does
not depend on the assignment of work to processes.

Each sentence is analyzed only once. The files of both passes have one line per sentence, in UTF-8:
`hash<TAB>concepts<TAB>words<TAB>text`, where

- the hash of the words has 16 hexadecimal digits, so that text order is numeric order,
- concepts are `dog 1 cat 2`: names and counts, in order of first mention,
- words are the tokens, joined by spaces,
- text is the original sentence, white space collapsed.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfrecords.core.files import atomic_file, write_atomically
from tfrecords.core.segmentation import UnspacedText
from tfrecords.core.shards import Skip
from tfrecords.formats.text.reading import read_part
from tfrecords.formats.text.sources import TextPart
from tfrecords.language.concept_counts import count_concepts
from tfrecords.language.concepts import ConceptDictionary
from tfrecords.language.html_entities import decode_entities
from tfrecords.language.tokenization import tokenize

_BLOCK_SENTENCES = 20_000
_HASH_DIGITS = 16
_LINES_COUNTED_TOGETHER = 200


@dataclass(frozen=True, kw_only=True)
class SortingPlan:
    """Settings of the two passes; small, because every worker receives a copy.

    Attributes:
        scratch: folder of the intermediate files.
        dictionary: path of the concept dictionary's JSON.
        buckets: N, number of buckets.
        seed: seed of the hash and of the order.
        min_words: minimum number of words in a sentence.
        require_concept: drops sentences without a concept.
        keep_punctuation: see `tokenize`.
        segmenter: see `tokenize`.
        deduplicate: keeps only the first of equal sentences.
        singulars: plural -> singular, replaced in the counted sentence; may be empty.
        validation_fraction: maximum fraction of the sentences for validation.
    """

    scratch: Path
    dictionary: Path
    buckets: int
    seed: int
    min_words: int
    require_concept: bool
    keep_punctuation: bool
    segmenter: str
    deduplicate: bool
    singulars: dict[str, str]
    validation_fraction: float

    def part_path(self, index: int) -> Path:
        """Returns the file of one part's sentences, ordered by bucket within each block."""
        return self.scratch / f"part-{index:05d}.tsv"

    def bucket_path(self, index: int) -> Path:
        """Returns the file of one bucket's sentences: validation candidates, then the others."""
        return self.scratch / f"bucket-{index:05d}.tsv"


@dataclass(frozen=True)
class PartReport:
    """Counts of one part of the sources after the first pass.

    Attributes:
        blocks: per block of the part's file, the N + 1 offsets that delimit its buckets.
        read: sentences read.
        dropped: reason -> sentences dropped.
        skipped: entries that could not be read.
        entities: sentences with HTML entities, which were decoded.
        unspaced: counts of text without spaces.
    """

    blocks: list[list[int]]
    read: int
    dropped: dict[str, int]
    skipped: list[Skip]
    entities: int
    unspaced: UnspacedText


@dataclass(frozen=True)
class BucketReport:
    """Counts of one bucket.

    Attributes:
        count: number of sentences.
        duplicates: number of dropped duplicates.
        words: word -> number of occurrences in the sentences.
        concepts: concept -> number of sentences with it.
    """

    count: int
    duplicates: int
    words: dict[str, int]
    concepts: dict[str, int]


@dataclass(frozen=True)
class PartTask:
    """One call of `sort_part`."""

    plan: SortingPlan
    index: int
    part: TextPart


@dataclass(frozen=True)
class BucketTask:
    """One call of `gather_bucket`; `parts` in the order of the sources."""

    plan: SortingPlan
    index: int
    parts: Sequence[PartReport]


def validation_candidates(count: int, fraction: float) -> int:
    """Returns the number of a bucket's first sentences that may be used for validation."""
    return min(count, math.ceil(count * fraction) + 1) if fraction else 0


def sort_part(task: PartTask) -> PartReport:
    """Tokenizes a part of the sources and sorts its sentences into buckets (first pass).

    Raises:
        InputError: the source is malformed; names `path:line`.
    """
    plan = task.plan
    path = plan.part_path(task.index)
    if (note := _read_note(path)) is not None:
        note["skipped"] = [Skip(**skip) for skip in note["skipped"]]
        note["unspaced"] = UnspacedText(**note["unspaced"])
        return PartReport(**note)
    dictionary = _load_dictionary(plan.dictionary)
    read, entities, skipped, dropped = 0, 0, [], Counter[str]()
    unspaced = UnspacedText()
    blocks: list[list[int]] = []
    block: list[list[bytes]] = [[] for _ in range(plan.buckets)]
    with atomic_file(path) as temporary, temporary.open("wb") as stream:

        def write_block() -> None:
            offsets = [stream.tell()]
            for lines in block:
                stream.writelines(lines)
                offsets.append(stream.tell())
                lines.clear()
            blocks.append(offsets)

        waiting = 0
        for found in read_part(task.part):
            if isinstance(found, Skip):
                skipped.append(found)
                continue
            read += 1
            sentence = decode_entities(found)
            entities += sentence != found
            tokens = tokenize(
                sentence, keep_punctuation=plan.keep_punctuation, segmenter=plan.segmenter
            )
            unspaced.add(sentence, tokens)
            if len(tokens) < plan.min_words:
                dropped["too_short"] += 1
                continue
            concepts = count_concepts(tokens, dictionary)
            if plan.require_concept and not concepts:
                dropped["no_concept"] += 1
                continue
            words = " ".join(tokens).encode()
            key = _hash(words, plan.seed)
            block[key % plan.buckets].append(_line(key, concepts, words, sentence))
            waiting += 1
            if waiting == _BLOCK_SENTENCES:
                write_block()
                waiting = 0
        write_block()
    report = PartReport(blocks, read, dict(dropped), skipped, entities, unspaced)
    _write_note(path, asdict(report))
    return report


def gather_bucket(task: BucketTask) -> BucketReport:
    """Drops duplicates, shuffles the sentences of a bucket and counts words (second pass)."""
    plan = task.plan
    path = plan.bucket_path(task.index)
    if (note := _read_note(path)) is not None:
        return BucketReport(**note)
    lines: list[bytes] = []
    seen: set[bytes] = set()
    duplicates = 0
    for line in _bucket_lines(task):
        if plan.deduplicate:
            key = line[:_HASH_DIGITS]
            if key in seen:
                duplicates += 1
                continue
            seen.add(key)
        lines.append(line)
    # Validation is chosen by the hash, so that equal sentences are in the same split.
    head = heapq.nsmallest(
        validation_candidates(len(lines), plan.validation_fraction),
        range(len(lines)),
        key=lambda index: lines[index][:_HASH_DIGITS],
    )
    chosen = set(head)
    rest = [index for index in range(len(lines)) if index not in chosen]
    random.Random(f"{plan.seed}/{task.index}").shuffle(rest)
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(lines[index] for index in (*head, *rest))
    report = _count(lines, plan, duplicates)
    _write_note(path, vars(report))
    return report


def _load_dictionary(path: Path) -> ConceptDictionary:
    return ConceptDictionary.from_json(path.read_text(encoding="utf-8"), str(path))


def _line(key: int, concepts: dict[str, int], words: bytes, sentence: str) -> bytes:
    counts = " ".join([f"{concept} {count}" for concept, count in concepts.items()])
    text = " ".join(sentence.split())
    return b"%0*x\t%b\t%b\t%b\n" % (_HASH_DIGITS, key, counts.encode(), words, text.encode())


def _bucket_lines(task: BucketTask) -> Iterator[bytes]:
    for number, part in enumerate(task.parts):
        with task.plan.part_path(number).open("rb") as stream:
            for offsets in part.blocks:
                begin, end = offsets[task.index], offsets[task.index + 1]
                stream.seek(begin)
                yield from stream.read(end - begin).splitlines(keepends=True)


def _count(lines: Sequence[bytes], plan: SortingPlan, duplicates: int) -> BucketReport:
    # Many lines at a time, so that most of the work is done outside Python.
    words, mentioned = Counter[bytes](), Counter[bytes]()
    for begin in range(0, len(lines), _LINES_COUNTED_TOGETHER):
        fields = [line.split(b"\t") for line in lines[begin : begin + _LINES_COUNTED_TOGETHER]]
        mentioned.update([field[1] for field in fields])
        words.update(b" ".join([field[2] for field in fields]).split(b" "))
    folded, concepts = Counter[str](), Counter[str]()
    for found, count in words.items():
        word = found.decode()
        folded[plan.singulars.get(word, word)] += count
    for together, count in mentioned.items():
        for concept in together.decode().split()[::2]:
            concepts[concept] += count
    return BucketReport(
        count=len(lines), duplicates=duplicates, words=dict(folded), concepts=dict(concepts)
    )


def _hash(key: bytes, seed: int) -> int:
    salt = seed.to_bytes(8, "little", signed=True)
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=salt).digest(), "little")


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_note(path: Path) -> dict[str, Any] | None:
    """Reads the report on a file from an earlier run; it is written after the file is complete."""
    try:
        note: dict[str, Any] = json.loads(_note_path(path).read_bytes())
    except FileNotFoundError:
        return None
    return note


def _write_note(path: Path, report: dict[str, Any]) -> None:
    write_atomically(_note_path(path), json.dumps(report).encode())
