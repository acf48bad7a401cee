"""`--help`, `--version` and mistakes on the command line, of every command; the command r2m."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from r2m.cli.commands import PURPOSES, REST, by_purpose, find_commands, module_of
from r2m.cli.flag_groups import GROUPS
from r2m.cli.help import split_description
from r2m.cli.program import command_line, named_by_two_words, program

ROOT = Path(__file__).parents[2]
COMMANDS = find_commands()
# Runs command lines like console scripts, each in a process forked from one that has imported the
# shared modules.
SCRIPT = """\
import importlib, json, os, sys, tempfile
import r2m.cli.launch

answers = []
for module, words in json.load(sys.stdin):
    files = [tempfile.TemporaryFile("w+") for _ in range(2)]
    child = os.fork()
    if not child:
        code = 0
        os.dup2(files[0].fileno(), 1)
        os.dup2(files[1].fileno(), 2)
        sys.argv = words
        try:
            importlib.import_module(module).console()
        except SystemExit as end:
            code = int(end.code or 0)
            if {"tensorflow", "keras", "inflect", "pycocoevalcap"} & sys.modules.keys():
                code = 99
        except BaseException as error:
            sys.stderr.write(f"{type(error).__name__}: {error}")
            code = 98
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = [file.seek(0) or file.read() for file in files]
    answers.append([code, *texts])
json.dump(answers, sys.stdout)
"""
Answer = tuple[int, str, str]


def run(*lines: list[str], columns: int = 80) -> list[Answer]:
    """Runs command lines such as ["r2m-runs", "--help"]; returns exit codes, outputs and errors."""
    given = [
        ["r2m.cli.umbrella" if line[0] == "r2m" else module_of(line[0][4:]), line] for line in lines
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], input=json.dumps(given), capture_output=True, text=True,
        timeout=120, check=True, env={**os.environ, "COLUMNS": str(columns)},
    )  # fmt: skip
    return [tuple(answer) for answer in json.loads(done.stdout)]  # type: ignore[misc]


@functools.cache
def helps(columns: int = 80) -> dict[str, Answer]:
    """Returns the output of `--help` per command."""
    lines = [[f"r2m-{name}", "--help"] for name in COMMANDS]
    return dict(zip(COMMANDS, run(*lines, columns=columns), strict=True))


def test_the_console_scripts_are_the_commands() -> None:
    scripts = dict(
        re.findall(r'^(r2m[a-z-]*) = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    )
    assert scripts.pop("r2m") == "r2m.cli.umbrella:console"
    assert scripts == {f"r2m-{name}": f"{module_of(name)}:console" for name in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_the_command_and_its_flags(command: str) -> None:
    code, text, errors = helps()[command]
    assert (code, errors) == (0, "")
    summary, usage, *_ = text.split("\n\n")
    assert summary.replace("\n", " ") == COMMANDS[command]
    # The usage contains the required flags, which are listed first.
    required = re.findall(r" --(\w+)=", usage)
    assert usage.startswith(f"Usage: r2m-{command} ") and usage.endswith(("[FLAGS]", "..."))
    titles = re.findall(r"^([A-Z].*):$", text, re.M)
    groups = [title for title in titles if title in ("Required", *GROUPS)]
    assert groups == [g for g in ("Required", *GROUPS) if g in groups] and groups[-1] == "Other"
    listed = re.findall(r"^  (?:-h, )?--(?:\[no\])?(\w+)", text, re.M)
    assert listed[: len(required)] == required and len(set(listed)) == len(listed)
    assert ("Required" in titles) == bool(required)
    # Every flag declares its group.
    assert set(listed[listed.index("help") :]) == {"help", "version"}
    assert set(re.findall(r"--(\w+)", text.partition("\nOther:")[2].partition("\n\n")[0])) <= {
        "verbose", "help", "helpfull", "version",
    }  # fmt: skip
    for residue in ("repeat this option", "'None'", "(an integer)", "/cli/", "=TEXT\n"):
        assert residue not in text, residue
    assert all(len(line) <= 80 for line in text.partition("\nExample")[0].splitlines())


def test_help_is_as_wide_as_the_terminal_and_full_help_has_the_flags_of_absl() -> None:
    wide, narrow, full = run(["r2m-score", "-h"], columns=90) + run(
        ["r2m-score", "-h"], ["r2m-score", "--helpfull"], columns=50
    )
    assert 80 < max(map(len, wide[1].partition("\nExample")[0].splitlines())) <= 90
    assert len(narrow[1].splitlines()) > len(wide[1].splitlines())
    assert [code for code, *_ in run(["r2m-score", "-h"], ["r2m"], columns=3)] == [0, 0]
    assert "--verbosity" not in narrow[1] and "--verbosity" in full[1] and full[0] == 0


def test_help_shows_choices_ranges_defaults_and_what_may_be_repeated() -> None:
    text = " ".join(helps()["build-images"][1].split())
    for shown in (
        "--dtype=float16|float32 Number format of the stored features. (default: float16)",
        "--alpha=X Width multiplier of a MobileNet. (above 0 and at most 10)",
        "--shards=N Number of files of each split. (at least 1; default: 8)",
        "--[no]store_pixels Store the bytes of the image files. (default: on)",
        " --store_grid Also store the feature map, not only its mean. ",
        "(default: val,test)",
    ):
        assert shown in text
    assert "(repeatable)" in text
    text = helps()["score"][1]
    assert "--tokenizer=auto|ptb|ptb_python|characters|icu" in text and "--metric=" not in text
    assert "Override any setting with --config.FIELD=VALUE" in " ".join(
        helps()["train-joint"][1].split()
    )


def test_flags_that_a_command_cannot_use_are_unknown_to_it() -> None:
    for flag, commands in {
        # Deprecated flags, which set a field of config.training for one more version.
        "jit": set(), "strategy=TEXT": set(),
        "verbose": set(COMMANDS) - {"runs", "crawl-descriptions", "make-shapes", "client"},
    }.items():  # fmt: skip
        shown = {name for name in COMMANDS if f"{flag}\n" in helps()[name][1]}
        assert shown == commands


def test_examples_stand_last_with_what_leads_to_them() -> None:
    details, examples = split_description(
        "Does it.\n\n    r2m-x --a\n\nMore of it.\n\nOr so:\n\n    r2m-x --b\n"
    )
    assert details == ["Does it.", "More of it."]
    assert examples == ["    r2m-x --a", "Or so:", "    r2m-x --b"]


def test_every_command_answers_a_mistake_in_one_line() -> None:
    lines = [[f"r2m-{name}", "--verson"] for name in COMMANDS]
    for line, answer in zip(lines, run(*lines), strict=True):
        mistake = "error: unknown flag --verson; did you mean --version?"
        assert answer == (1, "", f"{mistake}\n{line[0]} --help lists the flags\n")


MISTAKES = {
    "r2m-demo stray": "unexpected argument 'stray': every option is a --FLAG",
    "r2m-demo home=x": "unexpected argument 'home=x'; did you mean --home=x?",
    "r2m-runs --json true": "unexpected argument 'true': a switch is given as --NAME or --noNAME",
    "r2m-runs --json=x": "flag --json=x: must be true or false",
    "r2m-build-images --helpxml": "unknown flag --helpxml; did you mean --help?",
    "r2m-build-images": "--corpora and --detections are required",
    "r2m-train-xe --workdir=x": "--config is required",
    "r2m-train-xe --config.seed=1": "--config.seed changes a setting of --config, which is missing",
    "r2m-score --tokenizer=ptb_pyton": "flag --tokenizer=ptb_pyton: must be one of auto, ptb, ptb_"
    "python, characters, icu; did you mean ptb_python?",
    "r2m-score --references": "a value is missing after --references",
    "r2m-inspect": "give one folder of records: r2m-inspect PATH",
    "r2m-build-corpora --source=a --label_map=b": "give the corpora records a --name, or an --outp",
    "r2m-local-workers r2m-train-xe --config=x": "unknown flag --config (flags of the command to",
}


def test_mistakes_give_messages_of_one_line() -> None:
    lines = [line.split() for line in MISTAKES]
    for line, message, answer in zip(lines, MISTAKES.values(), run(*lines), strict=True):
        code, output, errors = answer
        first, hint = errors.splitlines()
        assert (code, output, hint) == (1, "", f"{line[0]} --help lists the flags")
        assert first.startswith(f"error: {message}")


def test_version() -> None:
    for code, text, errors in run(["r2m-train-xe", "--version"], ["r2m", "--version"]):
        assert (code, errors) == (0, "")
        assert re.fullmatch(r"r2m \S+ \(tensorflow 2\.\S+, keras 3\.\S+, python 3\.\S+\)\n", text)


def test_r2m_lists_all_commands_and_runs_each() -> None:
    bare, asked, *others = run(
        ["r2m"], ["r2m", "--help"], ["r2m", "train_xe"], ["r2m", "x"],
        ["r2m", "score", "--help"], ["r2m", "help", "score"], ["r2m", "score", "stray"],
    )  # fmt: skip
    assert bare == asked and (bare[0], bare[2]) == (0, "")
    entries = dict(re.findall(r"^  ([a-z-]+) +(.+(?:\n {5,}.+)*)", bare[1], re.M))
    assert {name: " ".join(text.split()) for name, text in entries.items()} == COMMANDS
    near, unknown, described, described_too, mistaken = others
    assert (near[0], near[2].splitlines()[0]) == (
        1, "error: r2m has no command 'train_xe'; did you mean train-xe?",
    )  # fmt: skip
    assert unknown[2] == "error: r2m has no command 'x'\nr2m --help lists the commands\n"
    assert described == described_too
    assert described[1].replace("Usage: r2m score", "Usage: r2m-score").split() == (
        helps()["score"][1].split()
    )
    assert mistaken[2].endswith("\nr2m score --help lists the flags\n")


def test_every_purpose_has_commands_and_new_commands_are_listed() -> None:
    purposes = by_purpose({**COMMANDS, "no-such-purpose": ""})
    assert list(purposes) == [*PURPOSES, REST] and "no-such-purpose" in purposes[REST]
    listed = [name for names in purposes.values() for name in names]
    assert sorted(listed) == sorted([*COMMANDS, "no-such-purpose"])


def test_the_name_and_the_line_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    class Main:
        __spec__: Any = None

    monkeypatch.setitem(sys.modules, "__main__", Main)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "argv", ["/bin/r2m-train-xe", "--workdir=a b"])
    assert (program(), command_line()) == ("r2m-train-xe", "/bin/r2m-train-xe '--workdir=a b'")
    monkeypatch.setattr("r2m.cli.program._naming_words", 1)
    named_by_two_words()
    monkeypatch.setattr(sys, "argv", ["/bin/r2m", "train-xe", "--workdir=a"])
    assert (program(), command_line()) == ("r2m train-xe", "/bin/r2m train-xe --workdir=a")
    Main.__spec__ = type("Spec", (), {"name": "r2m.cli.umbrella"})
    assert program() == "r2m train-xe"
    monkeypatch.setattr("r2m.cli.program._naming_words", 1)
    Main.__spec__.name = "r2m.cli.train_xe"
    assert program() == "r2m-train-xe"
