"""Builds an index of images or captions for r2m-search.

From all images in a folder:

    r2m-build-index --run=workspace/runs/vse/embedding --images=photographs \\
        --output=workspace/indexes/photographs

From the captions in a file, one per line or in any format that r2m-build-corpora reads:

    r2m-build-index --run=workspace/runs/vse/embedding --captions=captions.txt \\
        --output=workspace/indexes/captions

The index is bound to the checkpoint of the run: after further training, build it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from r2m.cli import image_flags
from r2m.cli.flag_groups import INPUT, MODEL, OUTPUT
from r2m.cli.launch import run
from r2m.cli.record_reports import describe_use
from r2m.cli.value_flags import define_switch, define_text, define_texts

_RUN = define_text(
    "run",
    None,
    "Run folder of a visual-semantic embedding, trained by r2m-train-retrieval.",
    required=True,
    group=MODEL,
    value="FOLDER",
)
_IMAGES = define_texts(
    "images",
    None,
    "An image, a folder of images (with all folders below it), or a text file that lists image "
    "files, one per line (relative to the folder of the list). May be given several times.",
    group=INPUT,
    value="PATH",
)
_CAPTIONS = define_texts(
    "captions",
    None,
    "[READER:]PATH: a file of captions, or a folder of such files. May be given several times.",
    group=INPUT,
    value="PATH",
)
_DETECTIONS = image_flags.define_detections()
_WEIGHTS = image_flags.define_weights()
_OUTPUT = define_text(
    "output", None, "Folder of the index.", required=True, group=OUTPUT, value="FOLDER"
)
_APPROXIMATE = define_switch(
    "approximate",
    False,
    "Also write a structure for approximate search, for millions of vectors. Needs faiss-cpu.",
    group=OUTPUT,
)
_OVERWRITE = define_switch("overwrite", False, "Replace an existing index.", group=OUTPUT)
image_flags.define_folder_flags()


def main(argv: Sequence[str]) -> None:
    """Builds the index and prints its contents."""
    del argv
    from r2m.inference.retrieval_run import load_embedding
    from r2m.inference.search.index_builder import build_index
    from tfrecords.formats.text.reading import parse_source

    built = build_index(
        load_embedding(_RUN.value, _WEIGHTS.value),
        _OUTPUT.value,
        images=[Path(path) for path in _IMAGES.value or ()],
        captions=[parse_source(text) for text in _CAPTIONS.value or ()],
        recursive=image_flags.recursive(),
        detections=_DETECTIONS.value or (),
        approximate=_APPROXIMATE.value,
        overwrite=_OVERWRITE.value,
    )
    print(describe_use("indexed", len(built.opened), built.skipped))
    print(f"search: r2m-search --index={built.opened.folder} 'a dog on a beach'")


def console() -> None:
    """Runs the command as a console script."""
    run(main)


if __name__ == "__main__":
    console()
