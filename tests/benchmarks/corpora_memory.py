"""Builds a corpus of synthetic sentences and prints what it took, as one line of JSON.

    python tests/benchmarks/corpora_memory.py FOLDER [SENTENCES] [WORKERS]

`peak_mib` is the sum of the peaks of this process and of `WORKERS` times its largest worker, which
is an upper bound. `sentences_per_second_core` is SENTENCES by the processor seconds of the build
(this process and its workers) less those of tokenizing the same sentences; TensorFlow Datasets,
which describes the finished records, is imported before. Default: the 2,322,635 sentences of
upstream's Shutterstock corpus.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from tfrecords.builders.corpora.build import CorporaOptions, build_corpora
from tfrecords.core.runners import Local
from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource
from tfrecords.language.tokenization import tokenize

CLASSES = (
    *("person", "bicycle", "car", "bus", "train", "truck", "boat", "traffic light", "bench"),
    *("bird", "cat", "dog", "horse", "sheep", "elephant", "umbrella", "kite", "surfboard"),
    *("bottle", "wine glass", "cup", "fork", "bowl", "banana", "pizza", "hot dog", "cake"),
    *("chair", "couch", "bed", "laptop", "cell phone", "oven", "book", "clock", "teddy bear"),
)
_PLURALS = ("people", "cars", "boats", "traffic lights", "birds", "dogs", "horses", "kites")
_THINGS = (
    *("a man", "a woman", "two people", "a group of people", "a boy", "a girl", "a crowd"),
    *(f"a {name}" for name in CLASSES),
    *(f"{number} {name}" for number in ("two", "some", "3") for name in _PLURALS),
)
_FUNCTION_WORDS = (
    *("the", "of", "in", "on", "with", "and", "is", "to", "for", "at", "his", "this", "are"),
    *("from", "by", "next", "up", "an", "her", "that", "its", "it", "as", "near", "over"),
)
_SYLLABLES = [a + b for a in "bdfgklmnprstvzhj" for b in "aeiou"]
_WORDS = 60_000


def write_synthetic(path: Path, sentences: int, seed: int = 0) -> None:
    """Writes sentences that are as expensive to build as real captions, one per line.

    As in COCO val2017 and Conceptual Captions a sentence has 8 to 17 words of 4 letters on average,
    most have 1 or 2 concepts, and the words of rank 1, 10, 100, 1000 and 10,000 make up about 6 %,
    1 %, 0.1 %, 0.01 % and 0.0005 % of all words. Of 100 sentences 3 are too short, 3 have no
    concept, 1 repeats the one before and 3 have an apostrophe (tokenized the long way).
    """
    rng, before = random.Random(seed), ""
    with path.open("w") as stream:
        for sentence in itertools.islice(_sentences(rng), sentences):
            before = before if before and rng.random() < 0.01 else sentence
            stream.write(before + "\n")


def _sentences(rng: random.Random) -> Iterator[str]:
    words = [_word(rank) for rank in range(_WORDS)]
    # Zipf's law down to rank 2000, twice as steep below.
    weights = [1 / ((rank + 3) * (1 + rank / 2000)) for rank in range(_WORDS)]
    drawn = rng.choices(words, weights, k=2_000_000)
    while True:
        at, kind = rng.randrange(len(drawn) - 20), rng.random()
        if kind < 0.03:
            yield " ".join(drawn[at : at + 5])
            continue
        begin = drawn[at : at + rng.randrange(3, 6)]
        end = drawn[at + 6 : at + rng.randrange(10, 15)]
        if kind > 0.06:
            begin.insert(0, rng.choice(_THINGS))
        if kind > 0.5:
            end.insert(1, rng.choice(_THINGS))
        if kind > 0.97:
            end[-1] += "'s"
        comma = "," if kind < 0.2 else ""
        yield f"{' '.join(begin)}{comma} {' '.join(end)}{'.' * (kind < 0.7)}".capitalize()


def _word(rank: int) -> str:
    """Returns a word by rank: function words first, then words of four letters, then of six."""
    if rank < len(_FUNCTION_WORDS):
        return _FUNCTION_WORDS[rank]
    word, rest = "", rank + len(_SYLLABLES)
    while rest:
        rest, syllable = divmod(rest, len(_SYLLABLES))
        word += _SYLLABLES[syllable]
    return word


def _processor_seconds() -> float:
    """Returns the CPU time of this process and of its finished workers."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak_kib() -> int:
    """Returns the peak memory of this process; `ru_maxrss` would include the parent process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def _tokenizing_seconds(source: TextSource) -> float:
    sentences = (s for part in plan_parts(source) for s in read_part(part) if isinstance(s, str))
    seconds = 0.0
    while some := list(itertools.islice(sentences, 10_000)):
        started = time.process_time()
        for sentence in some:
            tokenize(sentence)
        seconds += time.process_time() - started
    return seconds


def main() -> None:
    """Writes the sentences, builds, measures."""
    folder = Path(sys.argv[1])
    sentences = int(sys.argv[2]) if len(sys.argv) > 2 else 2_322_635
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "records", ignore_errors=True)  # a finished build would be found
    source, classes = folder / "synthetic.txt", folder / "classes.txt"
    write_synthetic(source, sentences)
    classes.write_text("\n".join(CLASSES) + "\n")
    # Both are imported when they are first used, once a process.
    tfds.folder_dataset, tfds.features, tokenize("it's loaded")
    started, used = time.monotonic(), _processor_seconds()
    records = build_corpora(
        CorporaOptions(
            folder=folder / "records",
            name="synthetic",
            sources=[TextSource(source)],
            label_maps=[classes],
            min_count=5,
            runner=Local(workers),
        )
    )
    seconds, used = time.monotonic() - started, _processor_seconds() - used
    itself = _peak_kib()
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    tokenizing = _tokenizing_seconds(TextSource(source))
    report = {
        "sentences": sentences,
        "kept": {split: records.count(split) for split in records.splits},
        "left_out": records.manifest["skipped"]["counts"],
        "words": len(records.vocabulary()),
        "seconds": round(seconds, 1),
        "processor_seconds": round(used, 2),
        "processor_seconds_tokenizing": round(tokenizing, 2),
        "sentences_per_second_core": round(sentences / (used - tokenizing)),
        "workers": workers,
        "peak_mib": round((itself + workers * worker) / 1024),
        "peak_mib_parent": round(itself / 1024),
        "peak_mib_worker": round(worker / 1024),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
