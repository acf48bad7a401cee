"""Commands that the documents and `--help` show, and a check of their flags."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = dict(
    re.findall(r'^(r2m[a-z-]*) = "(.+):console"', (ROOT / "pyproject.toml").read_text(), re.M)
)
DOCUMENTS = ("README.md", "WORKSPACE.md", "RESULTS.md", "CONTRIBUTING.md")
# Commands of blocks below this comment are not run, because they need data of the reader.
NEEDS_OWN_DATA = "with data of your own"
OTHER_PROGRAMS = ("curl", "docker", "export", "iconv", "make", "pip", "python", "source",
                  "tensorboard", "tfds")  # fmt: skip
_BLOCK = re.compile(r"^(?:<!-- ([^\n]*) -->\n)?```(\w*)\n(.*?)^```$", re.M | re.S)

# Parses the flags of every command like its script, in a process forked from one that has imported
# the script. For incomplete commands, only the names of the flags are checked.
_PARSING = """\
import importlib, itertools, json, os, re, sys
from absl import flags
import ml_collections.config_flags, r2m.cli.config_names, r2m.cli.launch
from r2m.cli.help import defined_flags, is_required

r2m.cli.launch.exit_code = lambda main, argv: 0

def parse(script, command, whole):
    sys.argv = command
    names = re.findall(r"--(\\w+)(?![.\\w-])", "\\n".join(command))
    required = {flag.name for flag in defined_flags() if is_required(flag)}
    parts = re.search(r"[.]{3}|[=:][A-Z]+\\b|--\\w+=?$", " ".join(command)) or required - set(names)
    if whole or not parts:
        script.console()
    for name in names:
        if not {name, name.removeprefix("no")} & {"help", "version", "verbose", *flags.FLAGS}:
            sys.exit(f"error: unknown flag --{name}")

def in_process(task, *arguments):
    if not os.fork():
        try:
            code = task(*arguments)
        except SystemExit as end:
            code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
        os._exit(bool(code))  # at once: a good end takes longer than the task
    return bool(os.wait()[1])

def refused(module, jobs):
    script = importlib.import_module(module)
    code = 0
    for place, _, command, whole in jobs:
        if in_process(parse, script, command, whole):
            code = 1
            print(f"  {place}: {command}", file=sys.stderr)
    return code

by_module = lambda job: job[1]
jobs = sorted(json.load(sys.stdin), key=by_module)
groups = [(module, list(jobs)) for module, jobs in itertools.groupby(jobs, by_module)]
sys.exit(any([in_process(refused, *group) for group in groups]))
"""


@dataclass(frozen=True)
class Block:
    """A fenced block of a document: its place, language, text, and the comment above it."""

    place: str
    language: str
    text: str
    comment: str

    def lines(self) -> list[str]:
        """Returns the lines of a shell script, continued ones joined, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")]


@dataclass(frozen=True)
class Command:
    """A command, the place that shows it, and whether it is complete and can be run as shown."""

    place: str
    words: tuple[str, ...]
    whole: bool


def find_blocks(document: str, root: Path = ROOT) -> list[Block]:
    """Returns the fenced blocks of a document."""
    text = (root / document).read_text()
    return [
        Block(f"{document}:{_line(text, match)}", match[2], match[3], match[1] or "")
        for match in _BLOCK.finditer(text)
    ]


def find_spans(document: str) -> list[tuple[str, str]]:
    """Returns place and text of all code between single backquotes."""
    text = (ROOT / document).read_text()
    # Lines stay where they are, for the places.
    prose = re.sub(
        r"^```.*?^```$", lambda match: "\n" * match[0].count("\n"), text, flags=re.M | re.S
    )
    return [
        (f"{document}:{_line(prose, match)}", " ".join(match[1].split()))
        for match in re.finditer(r"`([^`]+)`", prose)
    ]


def document_commands() -> Iterator[Command]:
    """Yields every command of the documents: lines of shell blocks, and code within sentences."""
    for document in DOCUMENTS:
        for block in find_blocks(document):
            if block.language == "bash":
                for line in block.lines():
                    yield _command(block.place, line, whole=True)
        for place, text in find_spans(document):
            if re.match(rf"(r2m|r2m-[\w*-]+|{'|'.join(OTHER_PROGRAMS)})( |$)", text):
                yield _command(place, text, whole=False)


def help_examples() -> Iterator[Command]:
    """Yields the examples in the docstrings of all commands."""
    for path in sorted((ROOT / "r2m" / "cli").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("    r2m"):
                yield _command(path.name, re.split(r"\s{3,}(?!-)", line.strip())[0], whole=False)


def refused_commands(commands: Iterable[Command]) -> str:
    """Returns the parsers' errors for commands of R2M; empty if all commands are accepted."""
    jobs = [
        (command.place, MODULES[command.words[0]], command.words, command.whole)
        for command in commands
        if "COMMAND" not in command.words
    ]
    done = subprocess.run(
        [sys.executable, "-c", _PARSING], input=json.dumps(jobs), cwd="/", text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=280, check=False,
    )  # fmt: skip
    assert bool(done.stderr) == bool(done.returncode), done.stderr
    return done.stderr


def _command(place: str, line: str, *, whole: bool) -> Command:
    words = shlex.split(line, comments=True)
    if "--" in words:  # of another command
        words = words[: words.index("--")]
    if words[0] == "r2m" and (name := f"r2m-{' '.join(words[1:2])}") in MODULES:
        words[:2] = [name]
    return Command(place, tuple(words), whole)


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1
