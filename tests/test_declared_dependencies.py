"""Every package that the code imports is declared in pyproject.toml."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = ("configs", "losses", "models", "pipelines", "r2m", "tfrecords")
# A namespace that several distributions share.
SHARED = {"google": {"protobuf"}}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def normalized(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_imports_are_declared() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = re.findall(r'"([\w.-]+)(?:\[[\w,]+\])?[<>=]=?[\d.]', text)
    declared = {normalized(name) for name in names}
    distributions = packages_distributions()
    missing = {
        package: sorted({str(file.relative_to(ROOT)) for file in files})
        for package, files in imports().items()
        if declared.isdisjoint(
            map(normalized, SHARED.get(package) or distributions.get(package, [package]))
        )
    }
    assert not missing


def imports() -> dict[str, set[Path]]:
    found: dict[str, set[Path]] = {}
    for folder in OWN:
        for file in (ROOT / folder).rglob("*.py"):
            for package in {*imported(file)} - {*OWN} - sys.stdlib_module_names:
                found.setdefault(package, set()).add(file)
    return found
