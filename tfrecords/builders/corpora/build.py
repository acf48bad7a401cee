"""Builder of `corpora` records: sentences and the concepts in them (R2M, spec section 2.1).

    tokenize -> drop short sentences and those without a concept -> drop duplicates, shuffle ->
    count words -> choose the vocabulary -> drop sentences of unknown words -> encode, write

`tfrecords.builders.corpora.encoding` lists the features of a record;
`tfrecords.builders.corpora.sorting` implements the first two lines of this diagram.
"""

from __future__ import annotations

import codecs
import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from absl import logging

from tfrecords.builders.base import BuildOptions, check_at_least_one
from tfrecords.builders.corpora.encoding import corpora_features, encode_buckets
from tfrecords.builders.corpora.sorting import (
    BucketReport,
    BucketTask,
    PartReport,
    PartTask,
    SortingPlan,
    gather_bucket,
    sort_part,
)
from tfrecords.core.build_folder import Build, open_build
from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, write_atomically
from tfrecords.core.records import CONCEPTS, VOCABULARY, Records
from tfrecords.core.runners import Runner, run_jobs
from tfrecords.core.segmentation import UnspacedText, check_segmenter
from tfrecords.core.shards import ShardJob, Skip, describe_skips
from tfrecords.core.vocabulary import END, START, Vocabulary, build_vocabulary
from tfrecords.core.writer import describe_counts, write_build
from tfrecords.formats.detections.labels_table import read_class_names
from tfrecords.formats.text.reading import plan_parts
from tfrecords.formats.text.sources import TextPart, TextSource, open_utf8, read_head
from tfrecords.language.concepts import DEFAULT_TABLES, ConceptDictionary, build_concept_dictionary
from tfrecords.language.plurals import plural_of
from tfrecords.language.tokenization import normalize

KIND = "corpora"
_BUCKET_BYTES = 48 << 20
_REMEDIES = {
    "too_short": "lower --min_words",
    "no_concept": "give other label maps or synonyms, or --norequire_concept",
    "too_many_unknown": "lower --min_count, raise --max_unknown_fraction, or drop --glove",
    "undecodable": "convert the sources to UTF-8 (iconv -f LATIN1 -t UTF-8 FILE > NEW_FILE)",
}


@dataclass(frozen=True, kw_only=True)
class CorporaOptions(BuildOptions):
    """Options of `build_corpora`; `shards` is the number of shards of the split `train`.

    Attributes:
        sources: files, folders or data sets with sentences.
        label_maps: files with the class names of the detectors that will be used on the images,
            or tables of labels of the images.
        synonyms: tables of caption words for these classes; the shipped ones by default.
        min_count: minimum count of a word in the vocabulary; concepts are always included.
        min_words: minimum number of words in a sentence (without markers).
        max_unknown_fraction: maximum fraction of out-of-vocabulary words in a sentence.
        require_concept: drops sentences without a concept.
        glove: a file whose first column lists the words allowed in addition to the concepts.
        validation_fraction: fraction of the sentences in the split `val`; 0 for no such split.
        seed: seed of the order and of the choice of validation sentences.
        deduplicate: keeps only the first of equal sentences (after tokenization).
        keep_punctuation: keeps commas, full stops etc. as words.
        segmenter: how sentences are split into words, see `tfrecords.core.segmentation`; None
            splits at spaces, and rejects text written without spaces.
        fold_plurals: replaces the plural of a concept by its singular in the sentence, as upstream
            did; `concept_counts` still distinguishes them.
    """

    sources: Sequence[TextSource]
    label_maps: Sequence[Path]
    synonyms: Sequence[Path] = DEFAULT_TABLES
    min_count: int = 15
    min_words: int = 8
    max_unknown_fraction: float = 0.15
    require_concept: bool = True
    glove: Path | None = None
    validation_fraction: float = 0.01
    seed: int = 0
    deduplicate: bool = True
    keep_punctuation: bool = False
    segmenter: str | None = None
    fold_plurals: bool = False

    def __post_init__(self) -> None:
        """Checks the values one by one."""
        check_at_least_one(self, "min_count", "min_words", "shards")
        if not 0 <= self.max_unknown_fraction <= 1:
            raise InputError(
                f"max_unknown_fraction must be in 0..1, found {self.max_unknown_fraction}"
            )
        if not 0 <= self.validation_fraction < 1:
            raise InputError(
                "validation_fraction must be at least 0 and below 1, "
                f"found {self.validation_fraction}"
            )
        if not self.sources:
            raise InputError("no source: give at least one file with sentences")
        if self.segmenter is not None:
            check_segmenter(self.segmenter)


def build_corpora(options: CorporaOptions, progress: bool = True) -> Records:
    """Builds the records of a corpus; resumes an interrupted build, or returns a finished one.

    Peak memory does not grow with the corpus: a sentence is in the memory of one worker at a time.

    Returns:
        The records: splits `train` and (unless `validation_fraction` is 0) `val`, with
        `vocabulary.txt` and `concepts.json` (the `ConceptDictionary` and, as `counts`, the number
        of sentences per concept).

    Raises:
        InputError: a source is missing, empty or malformed (`path:line`), text is written without
            spaces and no segmenter was given, no sentence is left, the disk is full, or the folder
            contains another build.
    """
    planned = [plan_parts(source) for source in options.sources]
    # The files of folders and data sets are listed once, here.
    files = [file for parts in planned for file in dict.fromkeys((p.path, p.form) for p in parts)]
    dictionary = build_concept_dictionary(
        [read_class_names(path) for path in options.label_maps],
        options.synonyms,
        options.segmenter or "words",
    )
    extra = [*options.label_maps, *options.synonyms, *([options.glove] if options.glove else [])]
    build = open_build(
        options.folder,
        kind=KIND,
        name=options.name,
        options=_deciding_options(options, [form for _, form in files]),
        sources=[*(path for path, _ in files), *extra],
        overwrite=options.overwrite,
        strict=options.strict,
    )
    if isinstance(build, Records):
        return build
    with build:
        return _build(build, options, list(itertools.chain(*planned)), dictionary, progress)


def _deciding_options(options: CorporaOptions, readers: list[str]) -> dict[str, Any]:
    return {
        "readers": readers,
        "label_maps": [path.name for path in options.label_maps],
        "synonyms": [path.name for path in options.synonyms],
        "glove": options.glove.name if options.glove else None,
        "min_count": options.min_count,
        "min_words": options.min_words,
        "max_unknown_fraction": options.max_unknown_fraction,
        "require_concept": options.require_concept,
        "validation_fraction": options.validation_fraction,
        "seed": options.seed,
        "shards": options.shards,
        "deduplicate": options.deduplicate,
        "keep_punctuation": options.keep_punctuation,
        "segmenter": options.segmenter or "words",
        "fold_plurals": options.fold_plurals,
    }


def _build(
    build: Build,
    options: CorporaOptions,
    parts: Sequence[TextPart],
    dictionary: ConceptDictionary,
    progress: bool,
) -> Records:
    scratch = build.state / "scratch"
    with clear_disk_errors(
        build.folder, "the passes before writing take about five times the sources"
    ):
        scratch.mkdir(exist_ok=True)
        dictionary_path = scratch / CONCEPTS
        write_atomically(dictionary_path, dictionary.to_json().encode())
        per_shard = math.ceil(sum(p.end - p.start for p in parts) / options.shards / _BUCKET_BYTES)
        plan = SortingPlan(
            scratch=scratch,
            dictionary=dictionary_path,
            buckets=options.shards * per_shard,
            seed=options.seed,
            min_words=options.min_words,
            require_concept=options.require_concept,
            keep_punctuation=options.keep_punctuation,
            segmenter=options.segmenter or "words",
            deduplicate=options.deduplicate,
            singulars=_singulars(dictionary) if options.fold_plurals else {},
            validation_fraction=options.validation_fraction,
        )
        read = _sort(plan, parts, options, progress)
        reports, dropped, skipped = _gather(plan, read, options.runner, progress)
        vocabulary = _vocabulary(reports, dictionary, options)
        vocabulary.save(scratch / VOCABULARY)
    concept_counts: Counter[str] = Counter()
    for report in reports:
        concept_counts.update(report.concepts)
    logging.info(
        "%d sentences, %d words in the vocabulary, %d of %d concepts are mentioned",
        sum(report.count for report in reports),
        len(vocabulary),
        len(concept_counts),
        len(dictionary),
    )
    content = json.loads(dictionary.to_json())
    content["counts"] = {word: concept_counts[word] for word in dictionary.words}
    return write_build(
        build,
        splits=_splits(plan, reports, options),
        features=corpora_features,
        extra_files={
            VOCABULARY: vocabulary.file_bytes,
            CONCEPTS: json.dumps(content, ensure_ascii=False, indent=1),
        },
        skipped=skipped,
        dropped=dropped,
        converted=+Counter(html_entities=sum(part.entities for part in read)),
        if_empty=lambda: "Use more sentences: " + _REMEDIES["too_many_unknown"],
        runner=options.runner,
        progress=progress,
    )


def _sort(
    plan: SortingPlan, parts: Sequence[TextPart], options: CorporaOptions, progress: bool
) -> list[PartReport]:
    """Runs the first pass; rejects text written without spaces."""
    reports = run_jobs(
        sort_part,
        [PartTask(plan, index, part) for index, part in enumerate(parts)],
        runner=options.runner,
        description="tokenizing",
        progress=progress,
    )
    unspaced = UnspacedText()
    for report in reports:
        unspaced.merge(report.unspaced)
    unspaced.check(options.segmenter)
    return reports


def _gather(
    plan: SortingPlan, part_reports: Sequence[PartReport], runner: Runner, progress: bool
) -> tuple[list[BucketReport], Counter[str], list[Skip]]:
    """Runs the second pass."""
    bucket_reports = run_jobs(
        gather_bucket,
        [BucketTask(plan, index, part_reports) for index in range(plan.buckets)],
        runner=runner,
        description="counting words",
        progress=progress,
    )
    # Truncated, not removed: their report files mark them as read for a resumed build.
    for index in range(len(part_reports)):
        plan.part_path(index).write_bytes(b"")
    dropped = Counter({"duplicate": sum(report.duplicates for report in bucket_reports)})
    for part in part_reports:
        dropped.update(part.dropped)
    dropped = +dropped
    skipped = [skip for part in part_reports for skip in part.skipped]
    if not any(report.count for report in bucket_reports):
        reasons = dropped + Counter(skip.reason for skip in skipped)
        remedies = "; ".join(
            _REMEDIES[reason] for reason, _ in reasons.most_common() if reason in _REMEDIES
        )
        raise InputError(
            f"none of the {sum(part.read for part in part_reports)} sentences read is usable: "
            f"{describe_counts(reasons)}{'. ' * bool(skipped)}{describe_skips(skipped, 2)}. "
            f"Possible remedies: {remedies or 'another source'}"
        )
    return bucket_reports, dropped, skipped


def _singulars(dictionary: ConceptDictionary) -> dict[str, str]:
    """Returns plural -> singular of the concept words: "dogs" becomes dog, "men" stays."""
    plurals = {plural_of(word): word for word in dictionary.words}
    return {plural: word for plural, word in plurals.items() if dictionary.is_plural(plural)}


def _vocabulary(
    reports: Sequence[BucketReport], dictionary: ConceptDictionary, options: CorporaOptions
) -> Vocabulary:
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(report.words)
    sentences = sum(report.count for report in reports)
    counts.update({START: sentences, END: sentences})
    return build_vocabulary(
        counts,
        min_count=options.min_count,
        always=dictionary.words,
        allowed=_allowed_words(options.glove, counts) if options.glove else None,
        segmenter=options.segmenter or "words",
    )


def _allowed_words(path: Path, wanted: Counter[str]) -> set[str]:
    """Returns the words of the corpus in the first column of a word list or GloVe file."""
    found, lines = set(), 0
    read_head(path)  # rejects a file in another encoding
    with open_utf8(path) as stream:
        for line in stream:
            if lines == 0:
                line = line.removeprefix(codecs.BOM_UTF8)
            if columns := line.split(maxsplit=1):
                lines += 1
                # Words of sentences are normalized in the same way.
                word = normalize(columns[0].decode(errors="replace"))
                if word in wanted:
                    found.add(word)
    if not found:
        raise InputError(
            f"{path}: none of its {lines} words is in the corpus; expected one lower-case word per "
            "line, optionally followed by its vector"
        )
    return found


def _splits(
    plan: SortingPlan, reports: Sequence[BucketReport], options: CorporaOptions
) -> dict[str, list[ShardJob]]:
    taken = _validation_counts([report.count for report in reports], options.validation_fraction)
    heads = [(plan.bucket_path(index), count) for index, count in enumerate(taken)]
    job = partial(encode_buckets, plan.scratch, options.max_unknown_fraction, plan.singulars)
    train: list[ShardJob] = [
        partial(job, group, "rest") for group in _grouped(heads, options.shards)
    ]
    if not options.validation_fraction:
        return {"train": train}
    shards = math.ceil(options.shards * options.validation_fraction)
    val: list[ShardJob] = [partial(job, group, "head") for group in _grouped(heads, shards)]
    return {"train": train, "val": val}


def _validation_counts(counts: Sequence[int], fraction: float) -> list[int]:
    """Returns the number of validation sentences per bucket; the sum is exactly the fraction."""
    everything = sum(counts)
    wanted = round(everything * fraction)
    if fraction and everything > 1:
        wanted = min(max(wanted, 1), everything - 1)
    until = [0, *itertools.accumulate(counts)]
    return [
        wanted * end // everything - wanted * begin // everything
        for begin, end in itertools.pairwise(until)
    ]


def _grouped(items: Sequence[tuple[Path, int]], groups: int) -> list[list[tuple[Path, int]]]:
    bounds = [len(items) * index // groups for index in range(groups + 1)]
    return [list(items[begin:end]) for begin, end in itertools.pairwise(bounds)]
