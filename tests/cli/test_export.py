"""Flags of `r2m-export`."""

from __future__ import annotations

import json
import subprocess
import sys

from forked_processes import run_forked

# The command with stubs for everything that needs TensorFlow; prints the export and its options.
DRIVER = """
import json, sys, types
from pathlib import Path

def export(kind):
    def exported(runs, output, *format, **options):
        print(json.dumps([kind, runs, output, format, options]))
        signatures = {"serving_default": {"inputs": ["images"], "outputs": ["captions"]}}
        return types.SimpleNamespace(
            folder=Path(output, "1"), signatures=signatures, left_out={"attention": "none"}
        )
    return exported

fakes = {"r2m.serving.export": {"export_run": export("saved_model")},
         "r2m.serving.portable_export": {"export_two_graphs": export("two_graphs")},
         "r2m.engine.distribution.cores": {"cores": int, "configure_threads": print}}
for name, content in fakes.items():
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(content)
from r2m.cli.export import console
console()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked([sys.executable, "-c", DRIVER, "--run=r", "--output=o", *arguments])


def test_flags_reach_the_export_and_signatures_are_printed() -> None:
    done = run("--captions=2", "--beam_size=4", "--max_megapixels=2", "--detector=a:b+c")
    assert done.returncode == 0, done.stderr
    given = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("[")))
    kind, runs, output, rest, options = given
    assert (kind, runs, output, rest) == ("saved_model", ["r"], "o", [])
    assert options["max_pixels"] == 2_000_000 and options["detectors"] == ["a:b+c"]
    assert options["decoding"] == {"beam_size": 4} and options["captions"] == 2
    assert "serving_default: images -> captions\nwithout attention: none\n" in done.stdout


def test_two_graphs_take_no_flags_that_only_a_saved_model_has_a_use_for() -> None:
    done = run("--format=onnx", "--max_length=9")
    assert '["two_graphs", ["r"], "o", ["onnx"], {"decoding": {"max_length": 9}' in done.stdout
    refused = run("--format=litert", "--captions=2", "--weights_dtype=int8")
    assert refused.returncode == 1
    assert "--captions, --weights_dtype: only supported with --format=saved_model" in refused.stderr
