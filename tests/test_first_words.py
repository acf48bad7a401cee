"""First lines of docstrings: verbs and noun phrases, never relative clauses."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("r2m", "tfrecords", "pipelines", "models", "losses", "configs", "tests")
CLAUSES = {"what", "how", "whether", "which", "where", "who", "whose", "those", "that", "when"}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def first_lines(tree: ast.Module) -> Iterator[tuple[DOCUMENTED, str]]:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield node, text.partition("\n")[0]


def is_property(node: DOCUMENTED) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(one).endswith("property") for one in decorators)


def is_clause(node: DOCUMENTED, line: str) -> bool:
    word = line.split(maxsplit=1)[0].lower()
    return word in CLAUSES and not (word == "whether" and is_property(node))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_first_line_is_a_clause(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in files
        for node, line in first_lines(ast.parse(path.read_text()))
        if is_clause(node, line)
    ]
    assert not found, "begin with a verb or a noun phrase:\n" + "\n".join(found)


def test_clauses_are_found() -> None:
    tree = ast.parse(
        '"""What it is."""\n'
        "@property\ndef ready():\n    'Whether it is ready.'\n"
        "def check():\n    'Whether it is.'\n"
        "class Row:\n    'A row.'\n"
    )
    found = [line for node, line in first_lines(tree) if is_clause(node, line)]
    assert found == ["What it is.", "Whether it is."]
