"""Commands of this package, found by their files.

Each module of `r2m.cli` with a function `console` is a command of the same name. The files are
parsed, not imported, so that listing them is fast.
"""

from __future__ import annotations

import ast
import fnmatch
from pathlib import Path

# Purposes and their commands, as patterns, in the order in which they are listed.
PURPOSES = {
    "Try": ("demo", "make-shapes", "recipe"),
    "Get data": ("crawl-*", "detect-*", "extract-*", "refine-*"),
    "Build records": ("build-[!i]*", "build-images", "inspect"),
    "Train": ("train-captioner", "train-retrieval", "train-self-*", "train-curriculum", "train-*"),
    "Follow and distribute training": ("runs", "data-service", "local-workers"),
    "Evaluate and caption": (
        "evaluate",
        "score",
        "compare",
        "caption",
        "select-*",
        "show-*",
        "export-*",
    ),
    "Serve": ("export", "serve", "client", "app"),
    "Search images and captions": ("evaluate-retrieval", "build-index", "search", "import-*"),
}
REST = "Other"
# The command that runs the others.
_UMBRELLA = "umbrella"


def find_commands() -> dict[str, str]:
    """Returns the first sentences of all commands' docstrings, by command without `r2m-`."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem == _UMBRELLA:
            continue
        module = ast.parse(path.read_bytes())
        if any(_defines_console(statement) for statement in module.body):
            text = ast.get_docstring(module) or ""
            found[path.stem.replace("_", "-")] = " ".join(text.partition("\n\n")[0].split())
    return found


def module_of(command: str) -> str:
    """Returns the module of a command."""
    return f"r2m.cli.{command.replace('-', '_')}"


def by_purpose(commands: dict[str, str]) -> dict[str, list[str]]:
    """Returns the commands of each purpose, each once; `REST` has those without a purpose."""
    left, found = list(commands), {}
    for purpose, patterns in {**PURPOSES, REST: ("*",)}.items():
        found[purpose] = [
            name
            for index, pattern in enumerate(patterns)
            for name in fnmatch.filter(left, pattern)
            if not any(fnmatch.fnmatch(name, earlier) for earlier in patterns[:index])
        ]
        left = [name for name in left if name not in found[purpose]]
    return {purpose: names for purpose, names in found.items() if names}


def _defines_console(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.FunctionDef):
        return statement.name == "console"
    targets = statement.targets if isinstance(statement, ast.Assign) else ()
    return any(isinstance(target, ast.Name) and target.id == "console" for target in targets)
