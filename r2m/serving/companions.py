"""Further files of an exported model: settings, vocabulary, license, model card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import r2m
from r2m.evaluation.report import versions
from r2m.inference.captioner_inputs import TrainedInputs
from r2m.inference.run_folder import RunFolder
from r2m.serving.model_card import CardFacts, model_card, without_folders
from tfrecords.core.errors import InputError

FORMAT = 1
CONFIG = "config.json"
VOCABULARY = "vocabulary.txt"
LICENSE = "LICENSE"
CARD = "README.md"


def write_companions(
    folder: Path, facts: CardFacts, captions: int, graphs: dict[str, Any] | None = None
) -> None:
    """Writes the files.

    Args:
        folder: folder of the version.
        facts: facts of the model.
        captions: n, captions per item; 0 for embeddings.
        graphs: files and settings of a model of two graphs.
    """
    files = {
        CONFIG: _config(facts, captions, graphs),
        VOCABULARY: facts.folders[0].vocabulary.file_bytes,
        LICENSE: _license(),
        CARD: model_card(facts).encode(),
    }
    for file, data in files.items():
        (folder / file).write_bytes(data)


def _config(facts: CardFacts, captions: int, graphs: dict[str, Any] | None) -> bytes:
    """Returns `config.json`: information for clients, and the origin of the model."""
    runs = [
        {
            "run": folder.name,
            "stage": folder.stage,
            "step": folder.checkpoint.step,
            "digest": folder.checkpoint.digest,
            "config": without_folders(folder.config.to_dict()),
        }
        for folder in facts.folders
    ]
    vocabulary = facts.folders[0].vocabulary
    content = {
        "format": FORMAT,
        "name": facts.name,
        "version": facts.version,
        "kind": facts.served.kind,
        "signatures": facts.signatures,
        "left_out": facts.served.left_out,
        "captions": captions,
        "decoding": facts.decoding,
        "max_pixels": facts.max_pixels,
        "weights_dtype": facts.weights_dtype,
        "precision": facts.precision,
        "vocabulary": {"sha256": vocabulary.sha256, "segmenter": vocabulary.segmenter},
        "runs": runs,
        "features": _features(facts.folders),
        "versions": versions(),
        **({} if graphs is None else {"graphs": graphs}),
    }
    return (json.dumps(content, indent=1, default=str) + "\n").encode()


def _features(folders: Sequence[RunFolder]) -> Any:
    """Returns the backbone of the records of the first run; None if it has none."""
    try:
        backbone = TrainedInputs.read(folders[0]).backbone
    except InputError:  # R2M reads concepts
        return None
    return None if backbone is None else dict(backbone)


def _license() -> bytes:
    """Returns the license of this project, which applies to the graph."""
    for place in (Path(r2m.__file__).parents[1] / LICENSE, *_installed_licenses()):
        if place.is_file():
            return place.read_bytes()
    return b"Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0\n"


def _installed_licenses() -> list[Path]:
    try:
        files = metadata.files("r2m") or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name == LICENSE]
