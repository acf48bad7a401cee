"""Sentences a second on one core, and the memory a corpus build takes.

`extra_info["sentences_per_second"]` of a benchmark is the figure (`--benchmark-json=FILE`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tfrecords.concepts import build_concept_dictionary
from tfrecords.corpora_encoding import count_concepts, encode_sentence
from tfrecords.examples import frame_record
from tfrecords.label_maps import read_label_map
from tfrecords.readers.text import TextSource, plan_parts, read_part
from tfrecords.tokenization import _tokenize_any, normalise, tokenize
from tfrecords.vocabulary import build_vocabulary


@pytest.fixture(scope="module")
def captions(shared_data: Path) -> list[str]:
    source = TextSource(shared_data / "coco" / "captions_val2017.json")
    return [t for part in plan_parts(source) for t in read_part(part) if isinstance(t, str)]


def rate(benchmark: Any, sentences: int) -> float:
    found = sentences / benchmark.stats["min"]
    benchmark.extra_info["sentences_per_second"] = round(found)
    return found


def test_tokenise(benchmark: Any, captions: list[str]) -> None:
    tokenize("it's loaded")
    benchmark(lambda: [tokenize(caption) for caption in captions])
    assert rate(benchmark, len(captions)) > 20_000


def test_tokenise_with_nltk_alone(benchmark: Any, captions: list[str]) -> None:
    some = captions[:3000]
    benchmark(lambda: [_tokenize_any(normalise(c).lower(), keep_punctuation=False) for c in some])
    assert rate(benchmark, len(some)) > 0


def test_encode_after_tokenisation(benchmark: Any, captions: list[str], shared_data: Path) -> None:
    label_map = read_label_map(shared_data / "label_maps" / "mscoco_label_map.pbtxt")
    dictionary = build_concept_dictionary([label_map])
    sentences = [tokenize(caption) for caption in captions]
    counts = Counter(word for tokens in sentences for word in tokens)
    vocabulary = build_vocabulary(counts, min_count=5, always=dictionary.words)

    def encode() -> int:
        size = 0
        for tokens, text in zip(sentences, captions, strict=True):
            ids = vocabulary.encode_sentence(tokens)
            concepts = count_concepts(tokens, dictionary)
            size += len(frame_record(encode_sentence(ids, concepts, text, vocabulary)))
        return size

    benchmark(encode)
    assert rate(benchmark, len(captions)) > 20_000


def test_peak_memory(benchmark: Any, tmp_path: Path) -> None:
    script = Path(__file__).with_name("corpora_memory.py")
    root = script.parents[2]
    command = [sys.executable, str(script), str(tmp_path), "200000", "2"]

    def build() -> dict[str, Any]:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    report = benchmark.pedantic(build, rounds=1)
    benchmark.extra_info.update(report)
    assert report["peak_mib"] < 2048
