"""`--help` of every script: its contents, and that it does not load TensorFlow."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = dict(
    re.findall(r'^(r2m-[a-z-]+) = "(.+):console"', (ROOT / "pyproject.toml").read_text(), re.M)
)
SCRIPTS = sorted(MODULES)


@functools.cache
def run_help(script: str) -> subprocess.CompletedProcess[str]:
    """Runs `script --help` outside the repository; the modules that it loads are on stderr."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", MODULES[script], "--help"],
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_tells_what_the_script_does_and_its_flags(script):
    done = run_help(script)
    description, _, flags = done.stdout.partition("Usage:")
    assert done.returncode == 0
    assert len(description.split()) > 5
    known = {
        "r2m-app": "--index",
        "r2m-data-service": "--port",
        "r2m-demo": "--home",
        "r2m-local-workers": "--workers",
        "r2m-make-shapes": "--sentences",
        "r2m-build-corpora": "--source",
        "r2m-build-document-frequencies": "--captions",
        "r2m-crawl-descriptions": "--base_url",
        "r2m-evaluate": "--beam_size",
        "r2m-evaluate-retrieval": "--run",
        "r2m-import-embedding": "--weights",
        "r2m-search": "--index",
        "r2m-export": "--run",
        "r2m-export-backbone": "--run",
        "r2m-recipe": "dry_run",
        "r2m-runs": "--compare",
        "r2m-score": "--references",
        "r2m-serve": "--model",
        "r2m-show-attention": "--style",
    }
    assert known.get(script, "--config" if "train" in script else "--images") in flags
    # TensorFlow takes seconds to load.
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "absl.flags" in loaded
    assert not loaded & {"tensorflow", "keras", "inflect", "pycocoevalcap"}
