"""Sentences a second on one core, and the memory a corpus build takes.

    pytest tests/benchmarks/test_corpora_speed.py -s

`extra_info` of a benchmark has the figures, too (`--benchmark-json=FILE`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tfrecords.formats.text.reading import plan_parts, read_part
from tfrecords.formats.text.sources import TextSource
from tfrecords.language.tokenization import _tokenize_any, normalize, tokenize


@pytest.fixture(scope="module")
def captions(shared_data: Path) -> list[str]:
    source = TextSource(shared_data / "coco" / "captions_val2017.json")
    return [t for part in plan_parts(source) for t in read_part(part) if isinstance(t, str)]


def rate(benchmark: Any, sentences: int) -> float:
    found = sentences / benchmark.stats["min"]
    benchmark.extra_info["sentences_per_second"] = round(found)
    return found


def build(folder: Path, sentences: int, workers: int) -> dict[str, Any]:
    """Returns the report of `corpora_memory.py`."""
    script = Path(__file__).with_name("corpora_memory.py")
    command = [sys.executable, str(script), str(folder), str(sentences), str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(script.parents[2])}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    report: dict[str, Any] = json.loads(done.stdout)
    print("\n", json.dumps(report))
    return report


def test_tokenize(benchmark: Any, captions: list[str]) -> None:
    tokenize("it's loaded")
    benchmark(lambda: [tokenize(caption) for caption in captions])
    assert rate(benchmark, len(captions)) > 20_000


def test_tokenize_with_nltk_alone(benchmark: Any, captions: list[str]) -> None:
    some = captions[:3000]
    benchmark(lambda: [_tokenize_any(normalize(c).lower(), keep_punctuation=False) for c in some])
    assert rate(benchmark, len(some)) > 0


def test_build_after_tokenization(benchmark: Any, tmp_path: Path) -> None:
    """A build without tokenization; best of three runs, because the machine may be shared."""
    reports: list[dict[str, Any]] = []
    benchmark.pedantic(lambda: reports.append(build(tmp_path, 100_000, workers=1)), rounds=3)
    best = max(reports, key=lambda report: report["sentences_per_second_core"])
    benchmark.extra_info.update(best)
    print(f"{best['sentences_per_second_core']} sentences/s/core after tokenization")
    assert best["sentences_per_second_core"] > 20_000


def test_peak_memory(benchmark: Any, tmp_path: Path) -> None:
    report = benchmark.pedantic(build, args=(tmp_path, 200_000, 2), rounds=1)
    benchmark.extra_info.update(report)
    assert report["peak_mib"] < 2048
