"""Writes the backbone of a model that was trained on pixels, for feature extraction.

    r2m-export-backbone --run=workspace/runs/att2in2_pixels/cross_entropy \\
        --output=workspace/backbones/att2in2.weights.h5

Commands that build records read the file as --weights. Other models then train on stored features
of the trained backbone, several times as fast as on pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from r2m.cli.flag_groups import MODEL, OUTPUT
from r2m.cli.launch import run
from r2m.cli.value_flags import define_text

_RUN = define_text(
    "run",
    None,
    "Run folder of a captioner, or of a visual-semantic embedding, that was trained with "
    "--config.image.source=pixels.",
    required=True,
    group=MODEL,
    value="FOLDER",
)
_OUTPUT = define_text(
    "output", None, "File to write: NAME.weights.h5.", required=True, group=OUTPUT, value="FILE"
)


def main(argv: Sequence[str]) -> None:
    """Writes the file and prints the matching flags of commands that build records."""
    from r2m.inference.backbone_export import export_backbone

    del argv
    exported = export_backbone(_RUN.value, _OUTPUT.value)
    print(f"backbone: {exported.file}")
    print(f"flags for commands that build records: {' '.join(exported.flags)}")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
