"""Captions images with a model on a server: r2m-serve or TensorFlow Serving.

    r2m-client dog.jpg cat.jpg --model=updown
    r2m-client photographs --model=updown --url=http://captions.example:8501 --format=json_lines
    r2m-client photographs --model=updown --url=grpc://captions.example:8500

REST (http://, https://) needs no TensorFlow. gRPC (grpc://), of TensorFlow Serving only and without
encryption, sends images without base64 and needs pip install 'r2m[grpc]'. Images are sent as they
are; formats other than JPEG, PNG, GIF, BMP and WebP are converted to PNG.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from r2m.cli import image_flags
from r2m.cli.flag_groups import MODEL, OUTPUT, REQUESTS
from r2m.cli.launch import run
from r2m.cli.number_flags import define_number, define_whole
from r2m.cli.terminal_text import terminal_text
from r2m.cli.value_flags import define_choice, define_text

_MODEL = define_text("model", None, "Name of the model.", required=True, group=MODEL, value="NAME")
_VERSION = define_whole(
    "model_version", None, "Version of the model. Default: the latest one.", least=0, group=MODEL
)
_SIGNATURE = define_text(
    "signature",
    "serving_default",
    "Signature of the model that reads images and returns captions.",
    group=MODEL,
    value="NAME",
)
_URL = define_text(
    "url",
    "http://127.0.0.1:8501",
    "URL of the server: http://HOST:PORT or https://HOST:PORT of its REST interface, or "
    "grpc://HOST:PORT of TensorFlow Serving's gRPC interface.",
    group=REQUESTS,
    value="URL",
)
_BATCH = define_whole("batch_size", 8, "Images per request.", least=1, most=1024, group=REQUESTS)
_PARALLEL = define_whole(
    "parallel", 4, "Requests at the same time.", least=1, most=256, group=REQUESTS
)
_SECONDS = define_number(
    "timeout_seconds", 60, "Longest time to wait for an answer.", above=0, most=3600, group=REQUESTS
)
_IMAGES = image_flags.define_images()
_FORMAT = define_choice(
    "format",
    "table",
    ("table", "json_lines"),
    "Output format; json_lines contains all outputs, one image per line.",
    group=OUTPUT,
)
image_flags.define_folder_flags()


def main(argv: Sequence[str]) -> int:
    """Captions the images; returns 1 if none could be captioned."""
    from r2m.serving.address import Address
    from r2m.serving.client import caption_images, check_signature, connect
    from tfrecords.pictures.named_images import named_files

    paths = [Path(name) for name in [*(_IMAGES.value or ()), *argv[1:]]]
    files = named_files(paths, recursive=image_flags.recursive()).files
    address = Address(_URL.value, _MODEL.value, _VERSION.value, _SIGNATURE.value, _SECONDS.value)
    connection = connect(address)
    check_signature(connection)
    rows = caption_images(connection, files, batch_size=_BATCH.value, parallel=_PARALLEL.value)
    width = max(len(file.name) for file in files)
    return 0 if _print(rows, min(width, 60)) else 1


def _print(rows: Iterable[Mapping[str, Any]], width: int) -> bool:
    """Prints rows as they arrive; returns whether any has a caption."""
    captioned = False
    for row in rows:
        captions = [text for text in row.get("captions", ()) if text]
        captioned |= bool(captions)
        if _FORMAT.value == "json_lines":
            print(json.dumps(row, ensure_ascii=False), flush=True)
            continue
        texts = captions or [f"({row['status']})"]
        for place, text in enumerate(texts):
            name = "" if place else row["image_id"]
            print(terminal_text(f"{name:<{width}}  {_numbers(row, place)}{text}"))
    return captioned


def _numbers(row: Mapping[str, Any], place: int) -> str:
    """Returns score and confidence of a caption as columns; empty without scores."""
    found = ""
    for name in ("scores", "confidences"):
        values = row.get(name) or []
        value = values[place] if place < len(values) else None
        found += "" if value is None else f"{value:8.3f}  "
    return found


def console() -> None:
    """Runs the command as a console script."""
    run(main, arguments="[IMAGE ...]", uses_tensorflow=False)


if __name__ == "__main__":
    console()
