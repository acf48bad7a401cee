"""CONTRIBUTING.md names files and functions that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_files_exist() -> None:
    names = set(re.findall(r"`([\w/]+\.(?:py|toml))`", TEXT))
    paths = {str(path.relative_to(ROOT)) for path in (ROOT / "r2m" / "inference").glob("*.py")}
    missing = [
        name
        for name in names
        if "NAME" not in name
        and not (ROOT / name).is_file()
        and f"r2m/inference/{name}" not in paths
    ]
    assert len(names) > 12 and missing == []


def test_the_walk_of_a_command_names_what_is_in_its_files() -> None:
    walk = TEXT[TEXT.index("## How `r2m-caption`") : TEXT.index("## How to add")]
    steps = re.findall(r"^\d+\. .*(?:\n   .*)*", walk, re.MULTILINE)
    assert len(steps) == 10
    pairs = re.findall(r"`([\w.]+)`[^`\n]*\(`([\w/]+\.py)`", "\n".join(steps))
    assert len(pairs) >= 9
    for name, file in pairs:
        path = ROOT / file if "/" in file else ROOT / "r2m" / "inference" / file
        assert re.search(rf"(class|def) {name.split('.')[0]}\b", path.read_text()), (name, file)
