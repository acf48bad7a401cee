"""Flags of the training scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver

from r2m.cli.common import exit_code
from r2m.cli.curriculum import curriculum_main

CONFIG = Path(__file__).parents[2] / "configs" / "r2m" / "shapes.py"


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("tpu", "strategy 'tpu' is refused: the TensorFlow wheels this project is tested with"),
        ("mirrorred", "unknown strategy 'mirrorred'; the known ones: auto, one_device, mirrored"),
    ],
)
def test_a_strategy_that_cannot_be_had_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], strategy: str, message: str
) -> None:
    with flagsaver.flagsaver():
        flags.FLAGS(
            ["train", f"--config={CONFIG}:test", f"--workdir={tmp_path}", f"--strategy={strategy}"]
        )
        assert exit_code(curriculum_main, []) == 1
    assert f"error: {message}" in capsys.readouterr().err
