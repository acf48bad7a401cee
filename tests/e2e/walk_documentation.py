"""Runs every command and Python example of README.md and WORKSPACE.md as a newcomer does.

    python tests/e2e/walk_documentation.py              in a clone, with this environment
    python tests/e2e/walk_documentation.py --install    `make` installs everything into the clone

Clones the last commit into a temporary folder and runs the blocks there in order, as written, on
the embedded data set: 10 to 30 minutes. Blocks below the comment "with data of your own", and
`make test`, are left out: tests/e2e/test_documented_commands.py checks their flags. Ends with the
first command that fails; all output is shown, to be read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from documented_commands import NEEDS_OWN_DATA, ROOT, find_blocks, find_spans

LEFT_OUT = ("make test",)
# Commands within sentences that need no more than what the blocks have made.
WITHIN_SENTENCES = ("make help", "r2m", "r2m-runs", "r2m-recipe flickr8k-captioners --dry_run")


def main() -> int:
    """Runs the commands; returns the exit code of the first one that fails, else 0."""
    folder = Path(tempfile.mkdtemp(prefix="r2m_walk_")) / "r2m"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    environment = {**os.environ, "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}"}
    if "--install" not in sys.argv:
        use_this_environment(folder)
        environment["PYTHONPATH"] = str(folder)
    began = time.monotonic()
    for place, command in list_commands(folder):
        print(f"\n=== {place} at {time.monotonic() - began:.0f} s\n{command[-1]}\n---", flush=True)
        if code := subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
            print(f"\n=== {place} failed with exit code {code}; its files are in {folder}")
            return code
    print(f"\n=== all commands have run, in {time.monotonic() - began:.0f} s; files: {folder}")
    return 0


def use_this_environment(folder: Path) -> None:
    """Lets `make` find the packages of this environment as if it had installed them."""
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for name in ("installed", "installed-dev"):
        (folder / ".venv" / name).touch()


def list_commands(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields the place of each command, and its words."""
    for document in ("README.md", "WORKSPACE.md"):
        for block in find_blocks(document, root):
            if block.language == "python":
                yield block.place, ["python", "-c", block.text]
            elif block.language == "bash" and NEEDS_OWN_DATA not in block.comment:
                for line in block.lines():
                    if line not in LEFT_OUT:
                        yield block.place, ["bash", "-c", line]
    spans = {
        text: place for name in ("README.md", "WORKSPACE.md") for place, text in find_spans(name)
    }
    for line in WITHIN_SENTENCES:
        yield spans[line], ["bash", "-c", line]


if __name__ == "__main__":
    sys.exit(main())
