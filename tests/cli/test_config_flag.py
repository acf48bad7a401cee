"""The flag --config and its fields: messages for typing errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from r2m.cli.config_flag import _ConfigFiles, _Plain, _Switch
from tfrecords.core.errors import InputError

ROOT = Path(__file__).parents[2]


def parsed(argument: str, *overrides: str) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(sys, "argv", ["train", *overrides])
        return _ConfigFiles().parse(argument)


@pytest.mark.parametrize(
    ("argument", "overrides", "message"),
    [
        ("configs/r2m/shapes.py:tset", [], "unknown argument 'tset'; known: test; did you mean te"),
        ("configs/captioners/fc.py:coco", [], "unknown argument 'coco'; known: shapes, flickr8k,"),
        ("configs/r2m/flickr8k.py:test", [], "'test': this configuration takes none"),
        ("configs/captioners/updwon.py", [], "; did you mean updown? known names: coco_shutters"),
        ("captioners/updown.py:test", [], "; did you mean updown? known names: coco_shutter"),
        ("updwon:test", [], "no configuration has this name, and there is no such file in /"),
        ("captioners/atin2", [], "; did you mean att2in2? known names: coco_shutterstock, f"),
        ("base", [], "flickr8k, shapes (R2M); att2in, att2in2, attention_lstm, fc, lstm, relation"),
        ("configs/r2m", [], "a folder, not a configuration; known names: coco_shutterstock, flick"),
        ("fc:coco", [], "unknown argument 'coco'; known: shapes, flickr8k,"),
        ("configs/common.py", [], "configs/common.py has no function get_config, so it is not a"),
        ("configs/r2m/shapes.py", ["--config.data.corpra=x"],
         "--config.data.corpra: configs/r2m/shapes.py has no such field; did you mean --config.data"
         ".corpora? config.data has captions, concept_noise, corpora, images, match_images, "
         "max_concepts, max_repeats, scheduled_sampling, word_dropout"),
        ("configs/r2m/shapes.py", ["--noconfig.training.nesterov"],
         "did you mean --config.training.optimizer_settings.nesterov?"),
        ("configs/captioners/fc.py", ["--config.training.learnin_rate=3"],
         "did you mean --config.stages.cross_entropy.learning_rate"),
        ("configs/r2m/shapes.py", ["--config.batch_size=3"],
         "did you mean --config.stages.joint.batch_size or --config.stages.reward.batch_size or"),
        ("configs/r2m/shapes.py", ["--config.training", "5"],
         "--config.training is a group of fields: set them one by one"),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_named_with_what_is_meant(
    argument: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(InputError) as refusal:
        parsed(argument, *overrides)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(:\n", "my.py:1: invalid syntax"),
        ("\0\0", "my.py: source code string cannot contain null bytes"),
        ("import no_such_thing\n", "my.py:1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def get_config():\n    return 1 / 0\n", "my.py:2: ZeroDivisionError: division by zero"),
        ("def get_config():\n    pass\n", "my.py: get_config returns NoneType, not a ConfigDict"),
        ("def get_config(a):\n    pass\n", "my.py: get_config cannot be called with no argument"),
    ],
)
def test_a_file_that_cannot_be_run_is_named_with_the_line(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "my.py"
    file.write_text(text)
    with pytest.raises(InputError) as refusal:
        parsed(str(file))
    assert message in str(refusal.value)


def test_values_are_read_as_what_the_field_is_and_none_resets_it() -> None:
    assert (_Plain(int, "a whole number").parse("None"), _Switch().parse("None")) == (None, None)
    assert (_Plain(float, "a number").parse("1e-3"), _Switch().parse("true")) == (1e-3, True)
    with pytest.raises(ValueError, match="expected a whole number"):
        _Plain(int, "a whole number").parse("1.5")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("train_captioner", ["--config=configs/r2m/flickr8k.py", "--captions=x"],
         "error: configs/r2m/flickr8k.py is a configuration of R2M, which r2m-train-curriculum"),
        ("train_self_critical", ["--config=fc:test", "--images=x"],
         "error: --images=x: only R2M has images records; this is a configuration of a supervised"),
        ("train_captioner", ["--config=flickr8k"], "error: flickr8k is a configuration of R2M, wh"),
        ("train_curriculum", ["--config=configs/captioners/fc.py", "--corpora=x"],
         "is a configuration of supervised captioners, which r2m-train-captioner"),
        ("train_tri_rec", ["--config=configs/captioners/fc.py"], "R2M, such as --config=flickr8k"),
        ("train_xe", ["--config=configs/r2m/shapes.py", "--config.stages.xe.batch_size=0",
                      "--config.training.at_once=0"],
         "error: --config.stages.xe.batch_size=0: must be at least 1\n"
         "--config.training.at_once=0: must be at least 1"),
        ("train_joint", ["--config=configs/r2m/shapes.py", "--config.seed=x"],
         "flag --config.seed=x: expected a whole number"),
        ("train_xe_rec", ["--confg=configs/r2m/shapes.py"],
         "unknown flag --confg; did you mean --config?"),
    ],
)  # fmt: skip
def test_commands_end_in_one_message(command: str, arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"r2m.cli.{command}", "--workdir=x", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    shown = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert (done.returncode, message in "\n".join(shown)) == (1, True), shown
    assert "Traceback" not in done.stderr and len(shown) <= 4
    # No slow package was imported.
    assert "tensorflow" not in {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    }


# Each value is tried in a process forked from one that has imported the shared modules. The exit
# code is 0 if the value is accepted, 1 if it is rejected with the name of the field, else 2.
SWEEP = """\
import importlib, json, os, sys
from absl import flags
from r2m.cli.training import checked_config
from r2m.configuration.captioner_fields import model_rules
from r2m.configuration.config_fields import flattened
from tfrecords.core.errors import InputError

model_rules(None)
file, stage, *texts = sys.argv[1:]
module = file.removesuffix(".py").replace("/", ".")
found = {}
for field in flattened(importlib.import_module(module).get_config("test").to_dict()):
    for text in texts:
        child = os.fork()
        if not child:
            code = 2
            try:
                override = f"--config.{field}={text}"
                sys.argv = ["train", "--workdir=x", f"--config={file}:test", override]
                flags.FLAGS(sys.argv)
                checked_config(stage, {})
                code = 0
            except (InputError, flags.Error) as error:
                code = 1 if field.rpartition(".")[2] in str(error) else 3
            finally:
                os._exit(code)
        found.setdefault(text, {})[field] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(found))
"""


@pytest.mark.parametrize(
    ("file", "stage"),
    [("configs/r2m/shapes.py", "xe"), ("configs/captioners/updown.py", "cross_entropy")],
)
def test_every_field_on_the_command_line(file: str, stage: str) -> None:
    texts = ["-1", "nan", "None", "x"]
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, file, stage, *texts],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert {code for codes in found.values() for code in codes.values()} == {0, 1}
    names = {"name", "backbone", "weights", "strategy", "captions", "corpora", "images"}
    names.add("embedding")  # a run folder
    # Words are looked up in the vocabulary of the records.
    names |= {"document_frequencies", "must_contain", "must_not_contain"}
    for text in ("-1", "nan", "x"):
        taken = {field.split(".")[-1] for field, code in found[text].items() if code == 0}
        # A number is not the name of a layer.
        assert taken <= names | (set() if text == "-1" else {"trained_from"}), text
    # None resets fields that may be None.
    assert {"clip_value", "ema_decay", "warm_up"} & {
        field.split(".")[-1] for field, code in found["None"].items() if code == 0
    } == {"clip_value", "ema_decay"}
