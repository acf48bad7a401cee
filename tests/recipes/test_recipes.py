"""Commands of the recipes, and how a recipe ends."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from documented_commands import ROOT, Command, refused_commands

from r2m.recipes import running
from r2m.recipes.known import RECIPES
from r2m.recipes.steps import list_steps
from tfrecords.core.errors import InputError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

# Two steps of a recipe, as scripts; the first one runs the given source code.
STEPS = """\
import sys
from r2m.recipes import running

running.find_script = lambda name: sys.executable
sys.exit(running.run_steps([["first", "-c", sys.argv[1]], ["second", "-c", "print(2)"]], {}))
"""


def run_recipe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "r2m.cli.recipe", *arguments],
        cwd="/", env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_scripts_take_the_flags_and_configurations_of_every_recipe() -> None:
    of_recipes = {
        name: list_steps(recipe, Path("D D"), Path("W"), []) for name, recipe in RECIPES.items()
    }
    # Records that several runs share are built once.
    assert {name: len(steps) for name, steps in of_recipes.items()} == {
        "flickr8k-captioners": 17,
        "flickr8k-efficientnet": 77,
        "flickr8k-r2m": 56,
        "flickr8k-retrieval": 84,
        "iu-xray": 13,
    }
    # `python -m MODULE` has its own test.
    steps = [step for steps in of_recipes.values() for step in steps if step[0] != "python"]
    assert refused_commands(Command("recipe", step, whole=True) for step in steps) == ""
    chosen = list_steps(RECIPES["flickr8k-captioners"], Path("D D"), Path("W"), ["fc", "rnn"])
    assert [step for step in steps if step in chosen] == chosen
    # --dry_run prints these commands.
    done = run_recipe("flickr8k-captioners", "D D", "W", "fc", "rnn", "--dry_run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.replace("\\\n", "").splitlines()
    assert [tuple(shlex.split(line)) for line in lines if line.startswith("r2m-")] == chosen


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["flickr8k-captoners", "/", "/"], "did you mean flickr8k-captioners? known: flickr8k-ca"),
        (["flickr8k-r2m", "/"], "give two folders: r2m-recipe flickr8k-r2m DATA WORKSPACE"),
        (["flickr8k-r2m", "/", "/", "mergd"], "unknown run 'mergd'; did you mean merged? known:"),
        (["flickr8k-r2m", "/no/data", "/"], "/no/data: no such folder; DATA is the fol"),
    ],
)
def test_what_is_mistyped_is_named(arguments: list[str], message: str) -> None:
    done = run_recipe(*arguments)
    assert (done.returncode, message in done.stderr) == (1, True), done.stderr


def test_without_arguments_all_recipes_and_runs_are_listed() -> None:
    done = run_recipe()
    words = set(done.stdout.split())
    for name, recipe in RECIPES.items():
        assert {name, *recipe.runs} <= words
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("first", "code", "last"),
    [
        ("print(1)", 0, ""),
        ("import sys; sys.exit(3)", 3, "error: step 1 of 2, first, failed: exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", 137, "step 1 of 2, first, failed: ended by SIGKILL"),
    ],
)
def test_a_recipe_ends_with_the_step_that_fails(first: str, code: int, last: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, first],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert last in done.stderr and ("[step 2 of 2] second" in done.stdout) == (code == 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_step_save_and_ends_the_recipe(number: int, code: int) -> None:
    # Exits with code 0, as a training does.
    step = (
        "import signal, sys, time\n"
        "def save(*_):\n    print('saved', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGINT, save)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", STEPS, step],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline() != "ready\n":
        assert process.poll() is None
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (code, "saved\n")
    assert f"step 1 of 2: stopped by {signal.Signals(number).name}" in errors


def test_scripts_of_this_environment_are_found_without_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script = tmp_path / "r2m-of-this-environment"
    script.touch(mode=0o755)
    with pytest.raises(InputError, match=r"^r2m-of-this-environment is neither in .*; install"):
        running.find_script(script.name)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "r2m-recipe")])
    assert running.find_script(script.name) == str(script)
