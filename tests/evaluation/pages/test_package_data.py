"""The templates of pages are installed as package data."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_templates_are_package_data() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = settings.split("[tool.setuptools.package-data]\n")[1].split("\n[")[0]
    patterns = re.search(r'^"r2m\.evaluation\.pages" = \[(.*)\]$', section, re.MULTILINE)
    assert patterns is not None
    wanted = re.findall(r'"([^"]+)"', patterns[1])
    folder = ROOT / "r2m" / "evaluation" / "pages"
    files = [
        file for file in folder.rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")
    ]
    assert len(files) >= 8
    for file in files:
        name = file.relative_to(folder).as_posix()
        assert any(fnmatch(name, pattern) for pattern in wanted), name
