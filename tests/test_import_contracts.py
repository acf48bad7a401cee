"""Import contracts between packages, which pyproject.toml defines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_dependencies_only_go_down():
    # In a separate process, because import-linter disables all existing loggers.
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", command, "--no-cache"],
        cwd=Path(__file__).resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept" in done.stdout
