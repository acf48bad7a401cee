"""An embedding in use, from the command line: evaluated, an index built and searched."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from forked_processes import run_forked


def call(command: str, *arguments: str, fails: bool = False) -> str:
    done = run_forked(
        [sys.executable, "-m", f"r2m.cli.{command}", *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


def test_evaluation_names_its_protocol(
    embedding_run: Path, caption_records: Path, tmp_path: Path
) -> None:
    runs = [f"--run={embedding_run}"] * 2
    records = f"--records={caption_records}"
    printed = call("evaluate_retrieval", *runs, records, f"--output={tmp_path}")
    assert "N = 4 images" in printed and "mean similarities of 2 embeddings" in printed
    report = json.loads((tmp_path / "val.retrieval.json").read_text())
    assert report["metrics"]["all"]["images"] == 4
    assert 0 < report["metrics"]["all"]["metrics"]["recall_sum"] <= 600
    assert "give --output=FOLDER" in call("evaluate_retrieval", *runs, records, fails=True)


@pytest.fixture(scope="module")
def index(embedding_run: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "pictures"
    printed = call(
        "build_index",
        f"--run={embedding_run}",
        f"--images={pictures / 'images'}",
        f"--output={folder}",
    )
    assert "indexed 15 of 15 entries" in printed
    return folder


def test_a_search_by_sentence_and_image(index: Path, pictures: Path, tmp_path: Path) -> None:
    image = pictures / "images" / "val_000001.png"
    printed = call(
        "search",
        f"--index={index}",
        "a house",
        f"--image={image}",
        "--count=3",
        "--format=json",
        f"--output={tmp_path}",
    )
    by_sentence, by_image = json.loads(printed)
    assert by_sentence["query"] == "a house" and len(by_sentence["hits"]) == 3
    assert by_image["hits"][0]["image"] == "val_000001.png"
    assert by_image["hits"][0]["score"] == pytest.approx(1, abs=1e-2)
    assert json.loads((tmp_path / "results.json").read_text()) == [by_sentence, by_image]
    assert (tmp_path / "index.html").read_text().count("data:image/jpeg") == 7


def test_a_search_without_a_meaning(index: Path) -> None:
    assert "an empty query" in call("search", f"--index={index}", fails=True)
