"""Examples of names in errors."""

from __future__ import annotations

from pathlib import Path

from tfrecords.core.name_examples import describe_folder, describe_names


def test_examples_of_names():
    assert describe_names([]) == "no image"
    assert describe_names(["1"], "key") == "1 key ('1')"
    assert describe_names(["1", "2", "3"]) == "3 images ('1', '2', ...)"


def test_examples_of_a_folder(tmp_path: Path):
    assert describe_folder(tmp_path) == "no entry"
    (tmp_path / "b.jpg").touch()
    (tmp_path / "a").mkdir()
    assert describe_folder(tmp_path) == "2 entries ('a/', 'b.jpg')"
    assert "cannot be listed" in describe_folder(tmp_path / "nowhere")
