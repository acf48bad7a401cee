"""Selection of generated captions from the command line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from forked_processes import run_forked


def test_captions_are_selected(images: Path, tmp_path: Path) -> None:
    captions = ("a house in the sea", "a house near a tree")
    rows = [
        {
            "image_id": f"train_{number:06d}.png",
            "captions": [{"caption": text, "score": -place} for place, text in enumerate(captions)],
            "concepts": [{"word": "house"}, {"word": "tree"}],
        }
        for number in range(3)
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [
        sys.executable, "-m", "r2m.cli.select_captions", f"--captions={tmp_path}",
        f"--records={images}", f"--output={tmp_path / 'selected.json'}", "--agreement=9",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    refused = run_forked(command, env=environment)
    assert refused.returncode == 1 and "give a smaller --neighbors" in refused.stderr
    done = run_forked([*command, "--neighbors=2"], env=environment)
    assert done.returncode == 0, done.stderr
    assert "captions of 3 of 3 images, 1 distinct; in 3 images" in done.stdout
    selected = json.loads((tmp_path / "selected.json").read_text())
    assert [row["caption"] for row in selected] == [captions[1]] * 3
