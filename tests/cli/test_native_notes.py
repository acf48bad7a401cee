"""Info messages of TensorFlow's C++ code are hidden; its errors and our messages are not."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from r2m.cli.native_notes import is_note

ROOT = Path(__file__).parents[2]
NOTE = "I0000 00:00:1795860049.228245   26801 cudart_stub.cc:31] Could not find cuda drivers\n"
ERROR = "E0000 00:00:1795860049.228245   26801 env.cc:31] disk on fire\n"
SCRIPT = f"""\
import os, subprocess, sys
from r2m.cli.launch import run

def end(how):
    os.write(2, b"the last words")
    os.abort() if how == "abort" else os._exit(7)

def main(argv):
    for text in ({NOTE!r}, {ERROR!r}):
        os.write(2, text.encode())
        subprocess.run([sys.executable, "-c", f"import os; os.write(2, {{text!r}}.encode())"])
    print("a terminal" if sys.stderr.isatty() else "no terminal", file=sys.stderr)
    how = os.environ["HOW"]
    if how == "pool":
        import multiprocessing
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.map(os.write, [])
            pool.starmap(os.write, [(2, {NOTE!r}.encode()), (2, b"of a worker\\n")])
    elif how == "much":
        for _ in range(20_000):
            os.write(2, {ERROR!r}.encode())
    elif how != "return":
        end(how)
    raise SystemExit(5)

if __name__ == "__main__":
    run(main)
"""


def command(folder: Path, how: str, *flags: str, **variables: str) -> dict[str, object]:
    script = folder / "a_script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOW": how, **variables}
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return {"args": [sys.executable, str(script), *flags], "env": environment}


@pytest.mark.parametrize(
    ("how", "end", "code"),
    [
        ("return", "", 5),
        ("pool", "of a worker\n", 5),
        ("exit", "the last words", 7),
        ("abort", "the last words", -signal.SIGABRT),
    ],
)
def test_notes_are_hidden_and_nothing_else_is_lost(
    tmp_path: Path, how: str, end: str, code: int
) -> None:
    done = subprocess.run(
        **command(tmp_path, how), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    said, crash, _ = done.stderr.partition("Fatal Python error")
    # Python's messages take another path, so their order relative to those of C++ is undefined.
    assert said.count(ERROR) == 2 and "no terminal\n" in said
    assert said.replace(ERROR, "").replace("no terminal\n", "") == end or crash
    assert NOTE not in done.stderr and end in done.stderr
    assert bool(crash) == (how == "abort")


@pytest.mark.parametrize("flags", [["--verbose"], []])
def test_notes_are_shown_on_request(tmp_path: Path, flags: list[str]) -> None:
    variables = {} if flags else {"TF_CPP_MIN_LOG_LEVEL": "0"}
    done = subprocess.run(
        **command(tmp_path, "return", *flags, **variables),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr.count(NOTE) == 2 and done.stderr.count(ERROR) == 2


def test_progress_still_finds_the_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(**command(tmp_path, "return"), stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while block := os.read(ours, 4096):
                said += block
        except OSError:  # raised at the end of a terminal's output
            pass
    os.close(ours)
    assert process.returncode == 5
    assert b"a terminal\r\n" in said and said.count(b"disk on fire") == 2
    assert b"cuda" not in said


def test_a_command_ends_though_nobody_reads_its_errors(tmp_path: Path) -> None:
    start = command(tmp_path, "much")
    program = " ".join(start["args"])  # type: ignore[arg-type]
    done = subprocess.run(
        ["bash", "-c", f"{program} 2> >(head -n 1 >&2)"], env=start["env"],  # type: ignore[arg-type]
        timeout=60, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode in (5, 141)


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("WARNING: All log messages before absl::InitializeLog() is called are written to ", True),
        (NOTE, True),
        ("2026-11-28 10:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom ", True),
        (
            "E0000 00:00:1795860329.2  3342 util.cc:131] oneDNN supports DT_HALF only on platforms",
            True,
        ),
        ("W0000 00:00:1795860049.228245   26801 onednn.cc:1] slow", True),
        ("E0000 00:00:1795860049.2 1 cuda_fft.cc:467] Unable to register cuFFT factory: A", True),
        ("2026-11-28 10:00:00.123456: E tensorflow/core/framework/op.cc:1] of a kernel", False),
        (ERROR, False),
        ("F0000 00:00:1795860049.228245   26801 tensor.cc:31] Check failed: 1 == 2", False),
        ("W1128 10:03:55.297967 140168122522496 build.py:64] a picture cannot be read", False),
        ("I see port.cc:153] in this line", False),
        ("", False),
    ],
)
def test_notes_are_recognized_by_their_header(line: str, note: bool) -> None:
    assert is_note(line.encode(), has_gpu=True) == note


def test_a_failed_start_of_cuda_is_an_error_where_there_is_a_gpu() -> None:
    line = b"E0000 00:00:1795860049.2  1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA"
    assert is_note(line, has_gpu=False) and not is_note(line, has_gpu=True)
