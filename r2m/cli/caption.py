"""Captions the images of a folder or list: a table, a JSON file and a gallery.

    r2m-caption --run=workspace/runs/shapes/tri_rec --images=workspace/raw/shapes/images \\
        --detections=workspace/raw/shapes/detections.json \\
        --detections=workspace/raw/shapes/tags.json --output=workspace/captions
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from r2m.cli.common import decoding_overrides, define_decoding_flags, run

_RUN = flags.DEFINE_string(
    "run",
    None,
    "Run folder of the stage to caption with, for example workspace/runs/shapes/tri_rec.",
    required=True,
)
_IMAGES = flags.DEFINE_string(
    "images",
    None,
    "Folder of JPEG or PNG files, or a text file that lists image files, one a line (relative to "
    "the list's own folder).",
    required=True,
)
_DETECTIONS = flags.DEFINE_multi_string(
    "detections",
    None,
    "FILE[+FILE][,MIN_SCORE[,WEIGHT]]: what a detector saw in these images, as for "
    "r2m-build-images. The captioner speaks of what it is told was seen: use the detectors it was "
    "trained with. Thresholds and weights are those of its training unless given.",
    required=True,
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.", required=True)
define_decoding_flags()


def main(argv: Sequence[str]) -> None:
    """Captions, prints the table and says where the files are."""
    from r2m.stages.caption_files import caption_files, sources_as_trained

    del argv
    rows = caption_files(
        _RUN.value,
        Path(_IMAGES.value),
        sources_as_trained(_RUN.value, _DETECTIONS.value),
        Path(_OUTPUT.value),
        overrides=decoding_overrides(),
    )
    width = max(len(row["image_id"]) for row in rows)
    for row in rows:
        concepts = ", ".join(concept["word"] for concept in row["concepts"])
        print(f"{row['image_id']:<{width}}  {row['caption']}  [{concepts}]")
    print(f"captions: {_OUTPUT.value}/captions.json\ngallery: {_OUTPUT.value}/index.html")


def console() -> None:
    """Entry of the console script."""
    run(main)


if __name__ == "__main__":
    console()
