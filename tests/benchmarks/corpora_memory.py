"""Builds a corpus of synthetic sentences and prints what it took, as one line of JSON.

    python tests/benchmarks/corpora_memory.py FOLDER [SENTENCES] [WORKERS]

The peak is the sum of the peaks of this process and of `WORKERS` times its largest worker, which is
an upper bound. Default: the 2,322,635 sentences of upstream's Shutterstock corpus.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path

from tfrecords.corpora import CorporaOptions, build_corpora
from tfrecords.readers.text import TextSource
from tfrecords.runners import Local

NOUNS = "dog cat car boat horse bird train tree table bench pizza kite".split()  # noqa: SIM905


def write_synthetic(path: Path, sentences: int, seed: int = 0) -> None:
    """Writes sentences of 8..16 words with a Zipf-like vocabulary of 60,000 words."""
    rng = random.Random(seed)
    words = [f"w{rng.randrange(10**6)}x" for _ in range(60_000)]
    weights = [1 / (rank + 5) for rank in range(len(words))]
    drawn = rng.choices(words, weights, k=2_000_000)
    with path.open("w") as stream:
        for _ in range(sentences):
            length, at = rng.randrange(7, 16), rng.randrange(len(drawn) - 20)
            stream.write(f"A {rng.choice(NOUNS)} {' '.join(drawn[at : at + length])}.\n")


def main() -> None:
    """Writes the sentences, builds, measures."""
    folder = Path(sys.argv[1])
    sentences = int(sys.argv[2]) if len(sys.argv) > 2 else 2_322_635
    workers = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    folder.mkdir(parents=True, exist_ok=True)
    source, classes = folder / "synthetic.txt", folder / "classes.txt"
    write_synthetic(source, sentences)
    classes.write_text("\n".join(NOUNS) + "\n")
    started = time.monotonic()
    records = build_corpora(
        CorporaOptions(
            folder=folder / "records",
            name="synthetic",
            sources=[TextSource(source)],
            label_maps=[classes],
            runner=Local(workers),
        )
    )
    seconds = time.monotonic() - started
    itself = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    report = {
        "sentences": sentences,
        "kept": {split: records.count(split) for split in records.splits},
        "words": len(records.vocabulary()),
        "seconds": round(seconds, 1),
        "workers": workers,
        "peak_mib": round((itself + workers * worker) / 1024),
        "peak_mib_parent": round(itself / 1024),
        "peak_mib_worker": round(worker / 1024),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
