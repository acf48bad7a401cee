"""Runs every command and Python example of README.md and WORKSPACE.md as a newcomer does.

    python tests/e2e/walk_documentation.py FOLDER              with the packages of this environment
    python tests/e2e/walk_documentation.py FOLDER --install    `make` installs everything as well

Clones the last commit into FOLDER and runs the blocks there in order, as written, on the embedded
data set: 10 to 30 minutes. Blocks below the comment "with data of your own", and `make test`, are
left out: tests/e2e/test_documented_commands.py checks their flags. Ends with the first command that
fails; in the same FOLDER it goes on with the last commit. All output is shown, to be read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from documented_commands import NEEDS_OWN_DATA, ROOT, find_blocks, find_spans

LEFT_OUT = ("make test",)
# Commands within sentences that only need the results of the blocks.
WITHIN_SENTENCES = ("make help", "r2m", "r2m-runs", "r2m-recipe flickr8k-captioners --dry_run")


def main(folder: Path, *, install: bool) -> int:
    """Runs the commands; returns the exit code of the first one that fails, else 0."""
    if folder.exists():
        subprocess.run(["git", "-C", str(folder), "pull", "-q", "--ff-only"], check=True)
    else:
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    if not install:
        use_this_environment(folder)
    programs = f"{folder / '.venv' / 'bin'}:{Path(sys.executable).parent}"
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    began = time.monotonic()
    for place, command in list_commands(folder):
        print(f"\n=== {place} at {time.monotonic() - began:.0f} s\n{command[-1]}\n---", flush=True)
        if code := subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
            print(f"\n=== {place} failed with exit code {code}")
            return code
    print(f"\n=== all commands have run, in {time.monotonic() - began:.0f} s")
    return 0


def use_this_environment(folder: Path) -> None:
    """Makes the clone's environment, with its scripts and the packages of this environment."""
    environment = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/*/site-packages")
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib"))
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install",
         "-q", "--disable-pip-version-check", "--no-deps", "-e", str(folder)],
        check=True,
    )  # fmt: skip
    for name in ("installed", "installed-dev"):
        (environment / name).touch()


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
    clone, *flags = sys.argv[1:] or sys.exit(__doc__)
    sys.exit(main(Path(clone).resolve(), install="--install" in flags))
