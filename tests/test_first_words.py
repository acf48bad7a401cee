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


def first_lines(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield text.partition("\n")[0]


def is_clause(line: str) -> bool:
    return line.split(maxsplit=1)[0].lower() in CLAUSES


def faulty_lines(tree: ast.Module) -> list[str]:
    """Returns the first lines that are clauses, or that break off within quotation marks."""
    return [line for line in first_lines(tree) if is_clause(line) or line.count('"') % 2]


@pytest.mark.parametrize("folder", FOLDERS)
def test_first_lines_are_verbs_and_noun_phrases(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in files
        for line in faulty_lines(ast.parse(path.read_text()))
    ]
    assert not found, "begin with a verb or a noun phrase:\n" + "\n".join(found)


def test_faults_are_found() -> None:
    tree = ast.parse(
        '"""What it is."""\n'
        "@property\ndef ready():\n    'Whether it is ready.'\n"
        "def check():\n    'Returns the \"'\n"
        "class Row:\n    'A row.'\n"
    )
    assert faulty_lines(tree) == ["What it is.", "Whether it is ready.", 'Returns the "']
