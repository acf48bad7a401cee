"""The templates of pages are part of what is installed."""

from __future__ import annotations

from pathlib import Path

from setuptools import Distribution
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[3]


def test_a_wheel_contains_the_templates(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    distribution = Distribution()
    distribution.parse_config_files(["pyproject.toml"])
    command = build_py(distribution)
    command.finalize_options()
    package = "r2m.evaluation.pages"
    assert package in command.packages
    folder = ROOT / package.replace(".", "/")
    files = command.find_data_files(package, str(folder))
    expected = {file.name for file in (folder / "templates").iterdir()}
    assert expected == {Path(file).name for file in files} and "gallery.html" in expected
