"""Import contracts between packages, which pyproject.toml defines."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_dependencies_only_go_down():
    # In a separate process, because import-linter disables all existing loggers.
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept" in done.stdout


def test_packages_of_tfrecords_contain_docstrings_only():
    packages = sorted((ROOT / "tfrecords").rglob("__init__.py"))
    bodies = {path: ast.parse(path.read_text(encoding="utf-8")).body for path in packages}
    assert len(packages) > 10
    assert [path for path, body in bodies.items() if len(body) != 1] == []
