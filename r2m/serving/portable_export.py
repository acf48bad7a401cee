"""Export of captioners as two graphs for ONNX Runtime or LiteRT, with the search loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from r2m.configuration.decoding_settings import settings_to_report
from r2m.inference.loaded_captioner import LoadedCaptioner
from r2m.inference.run import Run
from r2m.inference.run_folder import RunFolder
from r2m.inference.run_kinds import kind_of
from r2m.serving import caption_loop, portable_runtime
from r2m.serving.companions import write_companions
from r2m.serving.conversion import SUFFIXES, PortableFormat, convert
from r2m.serving.export import MAX_PIXELS, Exported
from r2m.serving.model_card import CardFacts
from r2m.serving.saved_model import described
from r2m.serving.signatures import ServedModel
from r2m.serving.two_graphs import two_graphs
from r2m.serving.version_folders import model_name, new_version
from tfrecords.core.errors import InputError

# Files of the export: the search loop, and the module that it imports.
LOOP, RUNTIME = "caption.py", "runtime.py"


def export_two_graphs(
    runs: str | Path | Sequence[str | Path],
    output: str | Path,
    format: PortableFormat,
    *,
    decoding: Mapping[str, Any] | None = None,
    weights: str | None = None,
    ensemble_weights: Sequence[float] | None = None,
) -> Exported:
    """Writes a captioner as the next version of an exported model of two graphs.

    The folder `<output>/<number>` contains `encoder` and `step` with the suffix of the format,
    `caption.py`, which loops them, and its `runtime.py`, `config.json`, `vocabulary.txt`, `LICENSE`
    and `README.md`.

    Args:
        runs: folder of a trained stage or experiment; several captioners make an ensemble, see
            `Run.load`.
        output: folder of the exported model.
        format: format of the graphs.
        decoding: changes to the run's `decoding` settings, by name.
        weights: file of the backbone's weights, for runs whose records were built with such a file.
        ensemble_weights: see `Run.load`.

    Raises:
        InputError: a run cannot be opened or does not caption, a package is missing, or the format
            lacks an operation or the loop a decoding setting.
        TrainingError: a run has no complete checkpoint.
    """
    listed = [runs] if isinstance(runs, str | Path) else list(runs)
    folders = [RunFolder(path) for path in listed]
    kind = kind_of(folders[0])
    if not kind.captions:
        raise InputError(
            f"{folders[0].path} is {kind.title}: --format={format} writes the loop of a "
            "captioner; export it with --format=saved_model"
        )
    output = Path(output)
    run = Run.load(folders, decoding=decoding, weights=weights, ensemble_weights=ensemble_weights)
    graphs = two_graphs(run, fixed_sizes=format == "litert")
    parts, signatures, files = {"encoder": graphs.encoder, "step": graphs.step}, {}, {}
    settings: dict[str, Any] = dict(graphs.settings)
    for part, function in parts.items():
        file = f"{part}.{SUFFIXES[format]}"
        files[file] = convert(function, format, f"the {part} of {run.name}")
        signatures[part] = described(function.input_signature, function.get_concrete_function())
        settings[part] = {"file": file, "outputs": list(signatures[part]["outputs"])}
    facts = CardFacts(
        model_name(output),
        0,
        ServedModel("captioner" if isinstance(run.loaded, LoadedCaptioner) else "r2m", {}, {}),
        folders,
        settings_to_report(run.config.decoding.to_dict()),
        signatures,
        MAX_PIXELS,
        format=format,
    )
    with new_version(output) as (number, temporary):
        for file, data in files.items():
            (temporary / file).write_bytes(data)
        _write_scripts(temporary)
        write_companions(temporary, facts._replace(version=number), 1, settings)
    return Exported(output / str(number), signatures, {})


def _write_scripts(folder: Path) -> None:
    """Writes the search loop and its module, which run without this package."""
    runtime = Path(portable_runtime.__file__).read_text(encoding="utf-8")
    loop = Path(caption_loop.__file__).read_text(encoding="utf-8")
    loop = loop.replace(f"from {portable_runtime.__name__} import", "from runtime import")
    (folder / RUNTIME).write_text(runtime, encoding="utf-8")
    (folder / LOOP).write_text(loop, encoding="utf-8")
