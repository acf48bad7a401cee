"""The very commands of README.md, on smaller data, as a user types them."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked_processes import run_forked

from configs.r2m import shapes
from r2m.shapes_demo import run_demo
from tfrecords.shapes.dataset import ShapesOptions

ROOT = Path(__file__).resolve().parents[2]
SIZES = {
    "train_images": 24, "val_images": 8, "test_images": 4, "sentences": 200, "image_size": 48
}  # fmt: skip
# Arguments that are appended to a command of the README to make it fast.
SMALLER = {
    "r2m-make-shapes": [f"--{name}={value}" for name, value in SIZES.items()],
    # Each worker process builds the network again.
    "r2m-build-images": ["--workers=1"],
    "r2m-build-captions": ["--workers=1"],
    "r2m-train-curriculum": ["--config=shapes:test"],
    "r2m-train-captioner": ["--config=att2in2:test"],
}  # fmt: skip


def readme_commands() -> list[list[str]]:
    """Returns the commands of the blocks that README.md marks for this test."""
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"tests/e2e runs this block[^\n]*\n```bash\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2, "README.md has lost a block of commands"
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip() and not line.startswith("#")]


def script(name: str) -> str:
    """Returns the path of an installed command."""
    return str(Path(sys.executable).with_name(name))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    """A folder in which all commands of the README have run."""
    folder = tmp_path_factory.mktemp("readme")
    for command in readme_commands():
        words = [script(command[0]), *command[1:], *SMALLER.get(command[0], [])]
        done = run_forked(words, cwd=folder)
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        (folder / f"{command[0]}.out").write_text(done.stdout)
    return folder


@pytest.mark.timeout(600)
def test_the_commands_leave_what_the_readme_promises(workspace):
    table = (workspace / "r2m-train-curriculum.out").read_text()
    assert [line.split()[0] for line in table.splitlines() if line] == [
        "stage", "xe", "xe_rec", "tri", "tri_rec", "run:", "evaluate:", "caption:",
    ]  # fmt: skip
    assert "CIDEr" in (workspace / "r2m-evaluate.out").read_text()
    predictions = workspace / "workspace/runs/shapes/tri_rec/predictions"
    assert len(json.loads((predictions / "val.predictions.json").read_text())) == 8
    assert (predictions / "val/index.html").is_file()
    assert len(json.loads((workspace / "workspace/captions/captions.json").read_text())) == 36
    assert (workspace / "workspace/captions/gallery.png").is_file()
    assert (workspace / "r2m-train-captioner.out").read_text().splitlines()[1].startswith("att2in2")
    shown = {path.name for path in (workspace / "workspace/attention").iterdir()}
    assert shown == {"val_000000.attention.png", "val_000000.attention.gif"}


@pytest.mark.timeout(600)
def test_the_python_examples_caption_images_and_concepts(workspace):
    text = (ROOT / "README.md").read_text()
    programs = re.findall(r"runs this block[^\n]*\n```python\n(.*?)```", text, re.DOTALL)
    assert len(programs) == 2, "README.md has lost a Python example"
    done = run_forked([sys.executable, "-c", "\n".join(programs)], cwd=workspace)
    assert done.returncode == 0, done.stderr
    by_detections, *by_concepts, by_file, by_array = done.stdout.splitlines()
    assert by_file == by_array and by_file.count("Alternative(") == 2
    assert by_detections.endswith(")") and len(by_concepts) == 2


def test_the_demo_is_these_commands_in_one(workspace, monkeypatch, capsys):
    """The demo finds everything already built and trained, so its commands are the same."""
    monkeypatch.chdir(workspace)
    made = [p for p in Path("workspace").rglob("*") if ".tfrecord-" in p.name or "step-" in p.name]
    before = {path: path.stat().st_mtime_ns for path in made}
    assert len(before) > 8
    summary = run_demo(Path("workspace"), shapes.get_config("test"), ShapesOptions(**SIZES))
    assert {path: path.stat().st_mtime_ns for path in made} == before
    assert summary == json.loads(Path("workspace/demo/summary.json").read_text())
    assert [row["stage"] for row in summary["stages"]] == ["xe", "xe_rec", "tri", "tri_rec"]
    assert all({"loss", "bleu_4", "rouge_l", "cider"} <= set(row) for row in summary["stages"])
    assert Path("workspace/demo/val/gallery.png").is_file()
    assert "gallery:" in capsys.readouterr().out


def _is_handled(process: subprocess.Popen[str], number: signal.Signals) -> bool:
    """Returns whether the process handles a signal itself."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s*(\w+)", status, re.M)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to look into")
def test_a_training_can_be_stopped_at_any_time_and_resumed(workspace):
    records = "workspace/records/corpora/shapes"
    command = [
        script("r2m-train-xe"),
        *["--config=shapes:test", "--workdir=workspace/runs/stopped"],
        *[f"--corpora={records}", "--config.stages.xe.steps=100000"],
        *["--config.stages.xe.evaluate_every=0", "--config.training.log_every=1"],
    ]
    folder = workspace / "workspace/runs/stopped/xe"
    metrics = folder / "metrics.jsonl"
    # First as early as possible, before TensorFlow is loaded; then during training.
    for number, reached in (
        (signal.SIGTERM, lambda process: _is_handled(process, signal.SIGTERM)),
        (signal.SIGINT, lambda _: metrics.is_file() and metrics.stat().st_size > 0),
    ):
        process = subprocess.Popen(command, cwd=workspace, stderr=subprocess.PIPE, text=True)
        while not reached(process):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        *_, told, resume = errors.splitlines()
        found = re.fullmatch(
            rf"xe: stopped by {number.name} after step (\d+) of 100000; .*\. To resume:", told
        )
        assert found, errors
        assert shlex.split(resume) == command
        saved = [int(path.name.split("-")[1]) for path in folder.glob("checkpoints/step-*")]
        assert saved == [step for step in [int(found[1])] if step]
    assert saved


@pytest.mark.timeout(600)
def test_bad_input_ends_in_one_message_and_exit_code_1(workspace):
    flags = ["--run=workspace/raw/shapes", "--records=workspace/records/images/shapes"]
    # A real process, unlike those of `workspace`.
    done = subprocess.run(
        [script("r2m-evaluate"), *flags],
        cwd=workspace, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: workspace/raw/shapes is not the run folder of a stage" in done.stderr
    assert "Traceback" not in done.stderr
