"""How scripts end."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """\
'''Does nothing.'''
from absl import flags
from r2m.cli.common import run

HOW, NAME = flags.DEFINE_string("how", "", ""), flags.DEFINE_string("name", "", "")

def main(argv):
    from r2m.engine.errors import TrainingError, TrainingInterrupted
    errors = {"stop": TrainingInterrupted, "fail": TrainingError, "ctrl-c": KeyboardInterrupt}
    if HOW.value == "path":
        open(NAME.value, "w")
    raise errors[HOW.value]("toy: step 3")

if __name__ == "__main__":
    run(main)
"""


def start(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    (folder / "a_script.py").write_text(SCRIPT)
    path = os.pathsep.join([str(ROOT), str(folder), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("program", [["a_script.py"], ["-m", "a_script"]])
def test_an_interrupted_training_prints_its_command_and_ends_well(
    tmp_path: Path, program: list[str]
) -> None:
    flags = ["--how=stop", "--name=two words; and 'more'"]
    done = start(tmp_path, *program, *flags)
    assert done.returncode == 0, done.stderr
    assert "toy: step 3. To resume:" in done.stderr
    expected = [sys.executable, *program] if program[0] == "-m" else program
    assert shlex.split(done.stderr.rstrip().splitlines()[-1]) == [*expected, *flags]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("fail", (1, "\nerror: toy: step 3\n")),
        ("ctrl-c", (130, "\ninterrupted\n")),
        ("path", (1, "\nerror: a_script.py/x: Not a directory; give another path, or access to t"
                     "his one\n")),
    ],
)  # fmt: skip
def test_an_error_ends_in_a_line_and_an_exit_code(
    tmp_path: Path, how: str, expected: tuple[int, str]
) -> None:
    done = start(tmp_path, "a_script.py", f"--how={how}", "--name=a_script.py/x")
    assert (done.returncode, done.stderr) == expected


def test_any_text_is_printed_where_only_ascii_can_be_printed(tmp_path: Path) -> None:
    script = tmp_path / "prints.py"
    script.write_text(
        "'''Prints: é.'''\n"
        "from absl import logging\nfrom r2m.cli.common import run\n"
        "def main(argv):\n"
        "    print('caption: café \\udcff')\n"
        "    logging.warning('in Käse')\n"
        "if __name__ == '__main__':\n    run(main)\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    for arguments, expected in (([], r"caption: caf\xe9 \udcff"), (["--help"], r"Prints: \xe9.")):
        done = subprocess.run(
            [sys.executable, str(script), *arguments], capture_output=True, check=False,
            env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": path},
        )  # fmt: skip
        assert expected in done.stdout.decode("ascii"), done.stderr
        assert b"Traceback" not in done.stderr and b"Error" not in done.stderr
