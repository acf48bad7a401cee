"""Exit codes and last lines of scripts."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """\
'''Does nothing.'''
from absl import flags
from r2m.cli.launch import run

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
        ("path", (1, "\nerror: a_script.py/x: Not a directory; give another path, or change its "
                     "permissions\n")),
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
        "from absl import logging\nfrom r2m.cli.launch import run\n"
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
        if not arguments:
            assert re.fullmatch(rb"\d\d:\d\d:\d\d warning: in K\\xe4se\n", done.stderr)


def test_a_locale_that_misreads_names_of_files_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    for utf8 in "01":
        monkeypatch.setenv("PYTHONUTF8", utf8)
        monkeypatch.setenv("PYTHONCOERCECLOCALE", utf8)
        done = start(tmp_path, "a_script.py", "--how=fail")
        warned = "decodes names of files and folders as ascii" in done.stderr
        assert (done.returncode, warned) == (1, utf8 == "0"), done.stderr


def prints_much(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Returns a command that prints more than a pipe buffers, and its environment."""
    script = folder / "prints_much.py"
    script.write_text(
        "'''Prints.'''\n"
        "from r2m.cli.launch import run\n"
        "def main(argv):\n    print('line\\n' * 100_000)\n"
        "if __name__ == '__main__':\n    run(main)\n"
    )
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return [sys.executable, str(script)], {**os.environ, "PYTHONPATH": path}


@pytest.mark.parametrize("flag", ["", "--help"])
@pytest.mark.parametrize("both", [False, True])
def test_a_script_ends_quietly_when_nobody_reads_its_output(
    tmp_path: Path, flag: str, both: bool
) -> None:
    """As in `r2m-runs | head -1`, also with `2>&1`."""
    command, environment = prints_much(tmp_path)
    read, write = os.pipe()
    os.close(read)
    errors = write if both else subprocess.PIPE
    done = subprocess.run(
        [*command, *filter(None, [flag])], stdout=write, stderr=errors, env=environment,
        timeout=120, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, None if both else b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_to_a_full_disk_ends_in_a_message(tmp_path: Path) -> None:
    command, environment = prints_much(tmp_path)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=120, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"\nerror: cannot write: No space left on device; make room\n"
