"""Packages of the user with the same names as packages of the project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from r2m import own_packages

ROOT = Path(__file__).resolve().parents[1]


def run(
    module: str, folder: Path, *before: Path, after: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (*before, after)))
    return subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("module", ["r2m.cli.runs", "r2m.cli.train_captioner"])
@pytest.mark.parametrize("name", own_packages.NAMES)
def test_a_package_in_the_current_folder_is_named(name: str, module: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise ImportError('never imported')\n")
    done = run(module, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("\nerror: ") and "Traceback" not in done.stderr
    assert f"{tmp_path / name} hides {ROOT / name}\n" in done.stderr
    assert f"in another folder than {tmp_path}, or as r2m-NAME" in done.stderr


def test_the_python_interface_names_it_too(tmp_path: Path) -> None:
    (tmp_path / "models.py").touch()
    done = run("r2m; r2m.load", ROOT.parent, tmp_path)
    assert done.returncode == 1
    assert "ImportError: Python finds other packages" in done.stderr
    assert f"{tmp_path / 'models'}.py hides {ROOT / 'models'}\n" in done.stderr


def test_modules_on_the_python_path_are_named(tmp_path: Path) -> None:
    (tmp_path / "models.py").touch()
    (tmp_path / "losses.py").touch()
    done = run("r2m.cli.runs", ROOT.parent, tmp_path)
    assert done.returncode == 1
    for name in ("models", "losses"):
        assert f"{tmp_path / name}.py hides {ROOT / name}\n" in done.stderr
    assert f"remove {tmp_path} from PYTHONPATH" in done.stderr


def test_an_installed_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "configs.py").touch()
    found_first = f"sys; sys.path.insert(1, {str(tmp_path / 'site')!r})"
    done = run(f"{found_first}; import r2m.cli.runs", tmp_path)
    assert done.returncode == 1
    assert f"uninstall the package that put it into {tmp_path / 'site'}" in done.stderr


def test_no_false_alarm(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()  # a folder without __init__.py hides nothing
    link = tmp_path / "link"
    link.symlink_to(ROOT, target_is_directory=True)
    for done in (
        run("r2m.cli.runs", tmp_path),
        run("r2m.cli.runs", ROOT),
        run("r2m.cli.runs", tmp_path, after=link),
        run("r2m.cli.runs", ROOT, after=link),
    ):
        assert done.returncode == 0, done.stderr


def test_all_packages_are_known() -> None:
    listed = re.search(r"^root_packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.M)
    assert listed is not None
    assert sorted([*own_packages.NAMES, "r2m"]) == sorted(re.findall(r'"(\w+)"', listed[1]))
