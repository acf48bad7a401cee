"""Draws the attention of a captioner for each word: a PNG sheet and an animated GIF per image.

For photograph.jpg it writes photograph.attention.png and photograph.attention.gif, which show the
part of the image that the captioner reads. The number after each word is the largest weight of a
cell for that word, out of 1; brightness is relative to that cell.

    r2m-show-attention photograph.jpg --model=workspace/runs/updown/cross_entropy \\
        --output=workspace/attention

Folders, and text files that list images, are read as well as single images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.cli import image_flags
from r2m.cli.decoding_flags import decoding_overrides, define_decoding_flags
from r2m.cli.flag_groups import MODEL, OUTPUT
from r2m.cli.launch import run
from r2m.cli.record_reports import describe_use
from r2m.cli.value_flags import define_choice, define_text

_MODEL = define_text(
    "model",
    None,
    "Run folder of a captioner with attention, for example updown, that was trained on a grid "
    "of features or on pixels.",
    required=True,
    allow_overwrite=False,
    group=MODEL,
    value="FOLDER",
)
_STYLE = define_choice(
    "style",
    "smooth",
    ("smooth", "grid"),
    "Blend neighboring cells smoothly, or draw them as squares.",
    group=OUTPUT,
)
_WEIGHTS = image_flags.define_weights()
_OUTPUT = define_text(
    "output",
    None,
    "Folder to write to. Default: `attention` in the run folder.",
    group=OUTPUT,
    value="FOLDER",
)
image_flags.define_folder_flags()
define_decoding_flags()


def main(argv: Sequence[str]) -> None:
    """Writes the pictures and prints the captions."""
    from r2m.inference.attention_files import show_attention
    from r2m.inference.run_folder import RunFolder

    folder = RunFolder(_MODEL.value)
    output = Path(_OUTPUT.value or folder.path / "attention")
    shown, passed_over = show_attention(
        folder,
        [Path(name) for name in argv[1:]],
        output,
        recursive=image_flags.recursive(),
        style=_STYLE.value,
        weights=_WEIGHTS.value,
        decoding=decoding_overrides(),
    )
    for image in shown:
        print(f"{image.name}  {image.caption}  {image.sheet}, {image.animation.name}")
    print(describe_use("shown", len(shown), passed_over))


def console() -> None:
    """Runs the command as a console script."""
    run(main, arguments="IMAGE ...")


if __name__ == "__main__":
    console()
