"""CIDEr-D of 320 captions against five references each: in the graph, in NumPy and pycocoevalcap's.

    pytest tests/benchmarks/test_reward_speed.py -s

Times are CPU times, the minimum of many turns, with one thread: as in training, where each core
computes a part of the batch. Run this file alone, because threads are configured once per process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from pycocoevalcap.cider.cider_scorer import CiderScorer

from losses.caption_reward import CaptionReward
from losses.cider_d import CiderD, Sentences
from losses.cider_reward import CiderReward
from r2m.engine.distribution.cores import configure_threads, cores
from tfrecords.language.document_frequencies import count_ngrams

IMAGES, SAMPLES, REFERENCES, WORDS = 64, 5, 5, 17
# Models whose captions are scored; the fifth caption of an image is a reference of another image.
MODELS = ("init_1", "merge_1", "par_2", "pre_3")


def milliseconds(work: Callable[[], object], times: int) -> float:
    """Returns the minimum CPU time."""
    work()
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return 1e3 * min(found)


def padded(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.zeros((len(rows), WORDS), np.int32)
    for place, row in zip(tokens, rows, strict=True):
        place[: len(row)] = row
    return tokens, np.array([len(row) for row in rows], np.int32)


def joined(rows: Sequence[Sequence[int]]) -> Sentences:
    return Sentences(np.concatenate(rows), np.array([len(row) for row in rows]))


def test_reward(shared_data: Path) -> None:
    configure_threads(cores())  # each of as many parts as there are cores has one
    folder, ids = shared_data / "metric_oracle_flickr30k", {}

    def lines(name: str) -> list[list[int]]:
        texts = (folder / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
        return [
            [*(ids.setdefault(word, len(ids) + 3) for word in text.split()[: WORDS - 1]), 2]
            for text in texts
        ]

    flat = lines("references")
    references = [flat[i : i + REFERENCES] for i in range(0, len(flat), REFERENCES)]
    columns = [*(lines(f"predictions_{name}") for name in MODELS), flat[REFERENCES:]]
    hypotheses = [column[image] for image in range(IMAGES) for column in columns]
    counted = count_ngrams(
        ((np.concatenate(own), np.array([len(r) for r in own])) for own in references),
        vocabulary_sha256="a",
    )
    tokens, lengths = padded(hypotheses)
    rows, counts = padded([r for own in references[:IMAGES] for r in own])
    given = [
        tf.constant(x)
        for x in (
            tokens,
            lengths,
            rows.reshape(IMAGES, REFERENCES, WORDS),
            counts.reshape(IMAGES, REFERENCES),
        )
    ]
    reward = CaptionReward(CiderReward(counted.keys, counted.counts, counted.images))
    in_graph = tf.function(reward.scores, autograph=False)
    in_numpy = CiderD(counted.lookup, counted.images)

    def numpy_scores() -> np.ndarray:
        owners = np.repeat(np.arange(IMAGES), REFERENCES)
        prepared = in_numpy.prepare(joined([r for own in references[:IMAGES] for r in own]), owners)
        return prepared.scores(joined(hypotheses), np.repeat(np.arange(IMAGES), SAMPLES))

    def coco_scores() -> np.ndarray:
        scorer = CiderScorer(n=4, sigma=6.0)
        for row, hypothesis in enumerate(hypotheses):
            scorer += (
                " ".join(map(str, hypothesis)),
                [" ".join(map(str, words)) for words in references[row // SAMPLES]],
            )
        scorer.compute_doc_freq()
        return np.array(scorer.compute_cider())

    expected = numpy_scores()
    np.testing.assert_allclose(in_graph(*given).numpy().reshape(-1), expected, atol=1e-5)
    ours = milliseconds(lambda: in_graph(*given), 200)
    numpy_time, coco = milliseconds(numpy_scores, 10), milliseconds(coco_scores, 3)
    print(
        f"\n{len(hypotheses)} captions x {REFERENCES} references: in the graph {ours:.2f} ms, "
        f"NumPy {numpy_time:.1f} ms, pycocoevalcap {coco:.0f} ms ({coco / ours:.0f} times ours)"
    )
    assert coco > 50 * ours
