"""Images of `r2m-caption`: by flag, by name, or both."""

from __future__ import annotations

import json
import sys

from forked_processes import run_forked

# The command with stubs for everything that needs TensorFlow; prints images and caption count.
DRIVER = """
import json, sys, types
from collections import Counter

def caption_files(runs, sources, output, **options):
    print(json.dumps([[str(source) for source in sources], options["captions"]]))
    found = [{"caption": "a"}, {"caption": "b"}]
    rows = [{"image_id": "x", "caption": "a", "captions": found}]
    return types.SimpleNamespace(rows=rows, images=3, unread=Counter(), passed_over=Counter())

fakes = {"r2m.inference.caption_files": {"caption_files": caption_files},
         "r2m.engine.distribution.cores": {"cores": int, "configure_threads": print}}
for name, content in fakes.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(content)
from r2m.cli.caption import console
console()
"""


def test_images_by_name_and_by_flag() -> None:
    arguments = ["a.jpg", "b", "--captions=2", "--images=c", "--images=d.txt"]
    done = run_forked([sys.executable, "-c", DRIVER, *arguments, "--run=r", "--output=o"])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    given = json.loads(next(line for line in lines if line.startswith("[[")))
    assert given == [["c", "d.txt", "a.jpg", "b"], 2]
    assert [line for line in lines if line.startswith(("x ", " "))] == ["x  a", "   b"]
    assert "... 1 of 3 images; all are in captions.jsonl" in lines
