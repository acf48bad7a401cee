"""`r2m-inspect --corpora` on the embedded data set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Several command lines in one process; prints the outputs and errors as JSON.
DRIVER = """
import contextlib, io, json, sys
from absl import app, flags
from r2m.cli import inspect
from tfrecords.core.errors import InputError
answers = []
for line in json.loads(sys.argv[1]):
    flags.FLAGS.unparse_flags()
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    words, error = flags.FLAGS(["program", *line]), ""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        try:
            inspect.main(words)
        except (InputError, app.UsageError) as raised:
            error = str(raised)
    answers.append([output.getvalue(), error])
print(json.dumps(answers))
"""


def run(folder: Path, *lines: list[str]) -> list[tuple[str, str]]:
    """Runs command lines of r2m-inspect in a folder; returns the output and error of each."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(lines)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [tuple(answer) for answer in json.loads(done.stdout)]


def test_tables_page_and_json(images: Path, corpora: Path, tmp_path: Path) -> None:
    both = [str(images), f"--corpora={corpora}"]
    (text, error), (dumped, another) = run(
        tmp_path,
        [*both, "--html=page", "--concepts=4"],
        [*both, "--html=other", "--split=train", "--json"],
    )
    assert error == another == ""
    titles = [line[3:] for line in text.splitlines() if line.startswith("== ")]
    assert titles[:3] == [
        "Concepts per image and per sentence",
        "Concepts of images that sentences contain",
        "More frequent in images than in sentences",
    ]
    assert "The first 4 of" in text and text.endswith("\npage: page/index.html\n")
    page = (tmp_path / "page/index.html").read_text()
    assert all(f"<h2>{title}</h2>" in page for title in titles)

    found = json.loads(dumped)  # the path of the page is not printed
    assert (tmp_path / "other/index.html").is_file()
    manifest = json.loads((images / "manifest.json").read_text())
    assert found["images"] == manifest["splits"]["train"]["count"]
    manifest = json.loads((corpora / "manifest.json").read_text())
    assert found["sentences"] == manifest["splits"]["train"]["count"]
    counts = {use["word"]: use["sentences"] for use in found["concepts"]}
    everything = json.loads((corpora / "concepts.json").read_text())["counts"]
    # concepts.json counts both splits, and sentences that have too many unknown words.
    assert counts.keys() == everything.keys()
    assert all(count <= everything[word] for word, count in counts.items())
    assert sum(counts.values()) > 0.9 * sum(everything.values())


def test_mistakes(images: Path, corpora: Path, build_text, tmp_path: Path) -> None:
    other = build_text(tmp_path / "other", label_maps=("detections.json",))
    lines = {
        f"{images} --json": "--json requires --corpora=FOLDER",
        f"{images} --concepts=3": "--concepts requires --corpora=FOLDER",
        f"{images} --min_pair_images=3": "--min_pair_images requires --corpora=FOLDER",
        f"{images} --corpora={corpora} --show=1": "--corpora shows no records: leave --show out",
        f"{corpora} --corpora={images}": f"{corpora} contains 'corpora' records, expected 'images'",
        f"{images} --corpora={images}": f"{images} contains 'images' records, expected 'corpora'",
        f"{images} --corpora=nowhere": "there is no folder nowhere",
        f"{images} --corpora={corpora} --split=dev": f"{images} has no split 'dev'; it has",
        f"{images} --corpora={other}": f"{images} and {other} use different concept dictionaries",
    }
    answers = run(tmp_path, *(line.split() for line in lines))
    for (output, error), message in zip(answers, lines.values(), strict=True):
        assert output == "" and error.startswith(message)
