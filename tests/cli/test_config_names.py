"""Configurations by name: from any folder, and next to files and folders of the same names."""

from __future__ import annotations

from pathlib import Path

import pytest

from r2m.cli.config_flag import _ConfigFiles
from r2m.cli.config_names import find_config, installed_configs, list_names, short_name
from r2m.configuration.config_checks import check_config
from r2m.configuration.config_fields import FAMILIES
from tfrecords.core.errors import InputError

ROOT = Path(__file__).parents[2]


def test_every_configuration_is_found_by_both_names_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train"])
    known = installed_configs()
    files = [p for p in ROOT.glob("configs/*/*.py") if p.stem != "__init__"]
    assert sorted(known.values()) == sorted(files)
    assert len({short_name(name) for name in known}) == len(known)
    # Only packages go into a wheel.
    assert all((file.parent / "__init__.py").is_file() for file in files)
    for family in FAMILIES:
        for name in (name for name in known if name.startswith(f"{family.folder}/")):
            assert find_config(name) == find_config(short_name(name)) == known[name]
            config = _ConfigFiles().parse(short_name(name))
            check_config(config, family.stages[0])
    plain = _ConfigFiles().parse("vse_plus_plus:test")
    assert (
        _ConfigFiles().parse("vse++:test") == _ConfigFiles().parse("retrieval/vse++:test") == plain
    )
    assert plain.name == "vse++" and "vse++" in list_names()
    assert _ConfigFiles().parse("att2in2:shapes") == _ConfigFiles().parse(
        f"{ROOT}/configs/captioners/att2in2.py:shapes"
    )


def test_a_file_is_taken_before_a_name_and_a_folder_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("updown").mkdir()
    Path("fc").write_text("x")
    Path("shapes.py").touch()
    assert find_config("updown") == installed_configs()["captioners/updown"]
    assert find_config("shapes") == installed_configs()["r2m/shapes"]
    assert find_config("fc") == Path("fc")
    assert find_config("captioners/fc") == installed_configs()["captioners/fc"]
    with pytest.raises(InputError, match=r"fc:1: NameError.*the file .*/fc; the .* captioners/fc"):
        _ConfigFiles().parse("fc")
