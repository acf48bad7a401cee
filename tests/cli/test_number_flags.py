"""Every numeric flag of every command: values out of range are rejected with the valid range."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Each command defines its own flags, so each runs in a process forked from one that has imported
# the shared modules.
SCRIPT = """\
import importlib, json, os, sys
from absl import flags
import r2m.cli.launch, r2m.cli.number_flags

found = {}
for command in sys.argv[1:]:
    read, write = os.pipe()
    if os.fork() == 0:
        importlib.import_module(f"r2m.cli.{command}")
        answers = {}
        for module, defined in flags.FLAGS.flags_by_module_dict().items():
            for flag in defined if module.startswith("r2m.cli.") else ():
                is_alias = (flag.help or "").startswith("Alias for --")
                if is_alias or flag.flag_type() not in ("int", "float"):
                    continue
                for text in ("0", "-1", "0.5", "nan", "inf", "-inf", "1" + "0" * 40, "x", ""):
                    try:
                        flag.parse(text)
                        answers.setdefault(flag.name, {})[text] = None
                    except flags.IllegalFlagValueError as error:
                        answers.setdefault(flag.name, {})[text] = str(error)
        os.write(write, json.dumps(answers).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        found[command] = json.loads(answer.read())
print(json.dumps(found))
"""
# Flags for which 0 is valid (with the name of the command, if of one only), and those that accept
# fractions.
AT_ZERO = {
    "seed", "gallery_seed", "show", "min_concept_count", "min_pair_sentences",
    "length_normalization", "sharpness", "agreement",
    "likelihood", "min_score", "max_unknown_fraction", "validation_fraction", "diversity",
    "min_length", "sampling_seed", "views", "image_text", "nearest_captions",
    "neighbor_weight",
    "max_wait_ms", "serve --port", "app --port", "model_version",
}  # fmt: skip
FRACTIONS = {
    "alpha", "length_normalization", "sharpness", "likelihood", "min_score", "timeout",
    "agreement", "fraction", "neighbor_weight",
    "max_unknown_fraction", "validation_fraction", "requests_per_second", "diversity",
    "temperature", "top_p", "view_area", "image_text",
    "max_wait_ms", "max_request_megabytes", "max_upload_megabytes", "timeout_seconds",
}  # fmt: skip


def test_numbers_out_of_range_are_refused_by_every_command() -> None:
    scripts = re.findall(r'= "r2m\.cli\.(\w+):console"', (ROOT / "pyproject.toml").read_text())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *scripts],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert len(found["build_captions"]) > 8 and len(found["evaluate"]) > 7
    for command, answers in found.items():
        for flag, messages in answers.items():
            where = f"{command} --{flag}"
            assert (messages.pop("0") is None) == bool({flag, where} & AT_ZERO), where
            assert (messages.pop("0.5") is None) == (flag in FRACTIONS), where
            for text, message in messages.items():
                assert message and f"--{flag}={text}: must be" in message, (where, text, message)


def test_numbers_are_only_defined_with_a_range() -> None:
    for file in (ROOT / "r2m" / "cli").glob("*.py"):
        assert not re.search(r"DEFINE_(multi_)?(integer|float)\(", file.read_text()), file.name
