"""Model cards: Markdown with a header that the Hugging Face hub reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import r2m
from r2m.evaluation.report import METRIC_TITLES, markdown_cell
from r2m.inference.run_folder import RunFolder
from r2m.serving.signatures import DEFAULT, ServedModel

_TAGS = {
    "captioner": ("image-to-text", ["image-captioning"]),
    "r2m": ("image-to-text", ["image-captioning", "unsupervised-captioning"]),
    "retrieval": ("feature-extraction", ["image-text-retrieval", "visual-semantic-embedding"]),
}
_TITLES = {
    "captioner": "captions images",
    "r2m": "captions concepts that detectors find in images; trained without captions of images",
    "retrieval": "maps images and sentences to vectors of one space",
}


_CAPTION_REPORTS = "*.report.json"
_LIBRARIES = {"saved_model": "tensorflow", "onnx": "onnx", "litert": "litert"}
_FORMATS = {
    "saved_model": "a TensorFlow SavedModel, which needs no code but TensorFlow",
    "onnx": "two ONNX graphs, an encoder and one step of the decoder",
    "litert": "two LiteRT graphs, an encoder and one step of the decoder",
}


class CardFacts(NamedTuple):
    """Facts in a model card.

    Attributes:
        name: name of the exported model.
        version: number of the version.
        served: served model with its signatures.
        folders: run folders that it was made from.
        decoding: settings of decoding; empty for embeddings.
        signatures: see `write_saved_model`.
        max_pixels: maximum size of an image.
        weights_dtype: dtype of stored matrices.
        format: `saved_model`, `onnx` or `litert`.
        precision: precision of activations.
    """

    name: str
    version: int
    served: ServedModel
    folders: Sequence[RunFolder]
    decoding: Mapping[str, Any]
    signatures: Mapping[str, Any]
    max_pixels: int
    weights_dtype: str = "float32"
    format: str = "saved_model"
    precision: str = "float32"


def model_card(facts: CardFacts) -> str:
    """Returns the model card as Markdown: data, settings, metrics with their protocol, limits."""
    lines = [
        *_header(facts),
        "",
        f"# {markdown_cell(facts.name)}, version {facts.version}",
        "",
        f"This model {_TITLES[facts.served.kind]}. It was exported by R2M {r2m.__version__} as "
        f"{_FORMATS[facts.format]}.",
        "",
        *(_usage(facts) if facts.format == "saved_model" else _loop_usage(facts)),
        "",
        *_signature_lines(facts),
        "",
        *_training(facts),
        "",
        *_metrics(facts),
        "",
        *_limits(facts),
        "",
        "## License",
        "",
        "The graph is a work of R2M, under the Apache License 2.0 (`LICENSE`). The weights were "
        "trained on the data listed above, whose licenses apply to them.",
    ]
    return "\n".join(lines) + "\n"


def without_folders(settings: Any) -> Any:
    """Returns settings with the names of files and folders in place of their paths."""
    if isinstance(settings, Mapping):
        return {name: without_folders(value) for name, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [without_folders(value) for value in settings]
    if isinstance(settings, str) and "/" in settings:
        return settings.rstrip("/").rsplit("/", 1)[-1]
    return settings


def _header(facts: CardFacts) -> Iterator[str]:
    task, tags = _TAGS[facts.served.kind]
    yield "---"
    yield "license: apache-2.0"
    yield f"library_name: {_LIBRARIES[facts.format]}"
    yield f"pipeline_tag: {task}"
    yield "tags:"
    for tag in [*tags, "r2m", facts.format.replace("_", "-")]:
        yield f"- {tag}"
    yield f"model_name: {json.dumps(facts.name)}"
    yield from _index(facts, task)
    yield "---"


def _index(facts: CardFacts, task: str) -> Iterator[str]:
    """Yields the scores of captions in the hub's format (`model-index`)."""
    reports = [
        (dataset, scores)
        for folder in facts.folders
        for path in sorted((folder.path / "predictions").glob(_CAPTION_REPORTS))
        for dataset, scores in [_scores(path)]
        if scores
    ]
    if not reports:
        return
    yield "model-index:"
    yield f"- name: {json.dumps(facts.name)}"
    yield "  results:"
    for dataset, scores in reports:
        yield f"  - task: {{type: {task}}}"
        yield f"    dataset: {{name: {json.dumps(dataset)}, type: image-captions}}"
        yield "    metrics:"
        for name, value in scores.items():
            yield f"    - {{type: {json.dumps(name)}, value: {100 * value:.2f}}}"


def _scores(path: Path) -> tuple[str, dict[str, float]]:
    """Returns the subject of a report and its scores; no scores if it cannot be read."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        return str(report["split"]), {name: float(x) for name, x in report["scores"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def _loop_usage(facts: CardFacts) -> Iterator[str]:
    yield "## Use"
    yield ""
    yield "```bash"
    yield "python caption.py picture.jpg"
    yield "```"
    yield ""
    yield (
        "`caption.py` loops the two graphs with a beam search; `config.json` has its settings. "
        "It resizes pictures with Pillow, whose results differ slightly from the pixels of the "
        "training."
    )


def _usage(facts: CardFacts) -> Iterator[str]:
    signature = facts.served.signatures[DEFAULT]
    yield "## Use"
    yield ""
    yield "```python"
    yield "import tensorflow as tf"
    yield ""
    yield f"model = tf.saved_model.load({json.dumps(f'{facts.name}/{facts.version}')})"
    if list(signature.example) == ["images"]:
        yield 'images = tf.constant([tf.io.read_file("picture.jpg").numpy()])'
        yield f'found = model.signatures["{DEFAULT}"](images=images)'
    else:
        given = ", ".join(f"{name}={name}" for name in signature.example)
        yield f'found = model.signatures["{DEFAULT}"]({given})'
    yield 'print(found["status"], found)'
    yield "```"
    yield ""
    yield (
        "TensorFlow Serving reads the folder above the version; `batching.config` contains "
        "parameters for `--batching_parameters_file`. Every output has the batch as its first "
        "dimension, and no item of a batch depends on another one. `status` is `ok` or describes "
        "the fault."
    )


def _signature_lines(facts: CardFacts) -> Iterator[str]:
    yield "## Signatures"
    yield ""
    yield "| signature | inputs | outputs |"
    yield "|---|---|---|"
    for name, own in facts.signatures.items():
        yield f"| `{name}` | {_tensors(own['inputs'])} | {_tensors(own['outputs'])} |"
    if facts.served.left_out:
        yield ""
        yield "Not in the graph:"
        yield ""
        for name, why in facts.served.left_out.items():
            yield f"- `{name}`: {markdown_cell(why)}"


def _tensors(described: Mapping[str, Any]) -> str:
    found = []
    for name, spec in described.items():
        sizes = ", ".join("?" if size is None else str(size) for size in spec["shape"])
        found.append(f"`{name}` {spec['dtype']}[{sizes}]")
    return ", ".join(found)


def _training(facts: CardFacts) -> Iterator[str]:
    yield "## Data and settings"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for folder in facts.folders:
        config = without_folders(folder.config.to_dict())
        yield f"| run | {markdown_cell(folder.name)}, step {folder.checkpoint.step} |"
        for name in ("captions", "corpora", "images"):
            if value := config.get("data", {}).get(name):
                yield f"| {name} records | {markdown_cell(value)} |"
        for section in ("model", "image"):
            for name, value in config.get(section, {}).items():
                if not isinstance(value, dict):
                    yield f"| {markdown_cell(f'{section}.{name}')} | {markdown_cell(value)} |"
    vocabulary = facts.folders[0].vocabulary
    yield f"| vocabulary | {len(vocabulary)} words, sha256 {vocabulary.sha256[:12]} |"
    yield f"| dtype of stored matrices | {facts.weights_dtype} |"
    yield f"| precision of activations | {facts.precision} |"
    for name, value in facts.decoding.items():
        yield f"| decoding.{name} | {markdown_cell(value)} |"


def _metrics(facts: CardFacts) -> Iterator[str]:
    yield "## Metrics"
    yield ""
    lines = [
        line
        for folder in facts.folders
        for pattern, describe in _REPORTS.items()
        for path in sorted((folder.path / "predictions").glob(pattern))
        for line in _report_lines(path, describe)
    ]
    yield from lines
    if not lines:
        command = "r2m-evaluate-retrieval" if facts.served.kind == "retrieval" else "r2m-evaluate"
        yield f"None were measured before the export ({command} of the run measures them)."


def _report_lines(path: Path, describe: Callable[[Mapping[str, Any]], Iterator[str]]) -> list[str]:
    """Returns the lines of an evaluation report, or a note that it cannot be read."""
    try:
        return list(describe(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{markdown_cell(path.name)} of the run is damaged or of another version.", ""]


def _caption_report(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields the scores of a report; decoding settings may differ from those of the export."""
    decoding = ", ".join(f"{name} {value}" for name, value in report.get("decode", {}).items())
    step = report.get("settings", {}).get("step")
    at = "" if step is None else f" Step {step}."
    yield markdown_cell(
        f"{report['split']}: {report['images']} images with {report['references']} references, "
        f"tokenizer {report['tokenizer']}, decoding: {decoding}.{at}"
    )
    yield ""
    yield "| metric | score x100 |"
    yield "|---|---:|"
    for name, value in report.get("scores", {}).items():
        yield f"| {markdown_cell(METRIC_TITLES.get(name, name))} | {100 * value:.2f} |"
    yield ""


def _retrieval_report(report: Mapping[str, Any]) -> Iterator[str]:
    yield markdown_cell(report["protocol"])
    yield ""
    rows = list(report["metrics"].values())
    names = list(rows[0]["metrics"])
    yield f"| protocol | {' | '.join(map(markdown_cell, names))} |"
    yield f"|---|{'---:|' * len(names)}"
    for row in rows:
        values = " | ".join(f"{row['metrics'][name]:.1f}" for name in names)
        yield f"| {markdown_cell(row['protocol'])} | {values} |"
    yield ""


_REPORTS = {_CAPTION_REPORTS: _caption_report, "*.retrieval.json": _retrieval_report}


def _limits(facts: CardFacts) -> Iterator[str]:
    yield "## Limits"
    yield ""
    if facts.format == "saved_model":
        yield (
            "- Images: JPEG, PNG, GIF (the first frame), BMP of 24 bits and still WebP of at most "
            f"{facts.max_pixels / 1e6:g} megapixels. Others get a status."
        )
    if facts.served.kind == "retrieval":
        yield "- Similarities are for ranking; they are not probabilities."
        yield "- Words that are not in the vocabulary are read as one unknown word."
    else:
        yield (
            "- Captions contain only words of the training, and may mention objects that are not "
            "in the image."
        )
        if facts.format == "saved_model":
            yield "- The settings of decoding are frozen in the graph."
    for note in facts.served.notes:
        yield f"- {note}"
