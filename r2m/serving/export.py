"""Export of trained runs as versioned SavedModels, with everything required for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from r2m.configuration.decoding_settings import settings_to_report
from r2m.inference.loaded_captioner import LoadedCaptioner
from r2m.inference.retrieval_run import RetrievalRun, refuse_caption_settings
from r2m.inference.run import Run
from r2m.inference.run_folder import RunFolder
from r2m.inference.run_kinds import kind_of
from r2m.serving.captioner_signatures import captioner_model
from r2m.serving.compact_weights import WeightsDtype, compact_weights
from r2m.serving.companions import write_companions
from r2m.serving.model_card import CardFacts
from r2m.serving.r2m_signatures import r2m_model
from r2m.serving.retrieval_signatures import retrieval_model
from r2m.serving.saved_model import write_saved_model
from r2m.serving.version_folders import model_name, new_version
from r2m.serving.warmup import BATCH_SIZES, write_warmup_requests
from tfrecords.core.errors import InputError

# Fewer than in builds: a server receives untrusted images, and decoding needs 15 bytes per pixel.
MAX_PIXELS = 80_000_000
BATCHING = "batching.config"
# Parameters of TensorFlow Serving's batching (--batching_parameters_file).
_BATCHING = f"""\
max_batch_size {{ value: {max(BATCH_SIZES)} }}
batch_timeout_micros {{ value: 5000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 2 }}
""" + "".join(f"allowed_batch_sizes: {size}\n" for size in BATCH_SIZES)
# For models with rows of any length, which TensorFlow Serving pads; see `within_lengths`.
_PADDING = "pad_variable_length_inputs: true\n"


class Exported(NamedTuple):
    """An exported model.

    Attributes:
        folder: folder of the version, `<output>/<number>`.
        signatures: name -> `inputs` and `outputs`, see `write_saved_model`.
        left_out: name of an unsupported signature -> reason.
    """

    folder: Path
    signatures: dict[str, Any]
    left_out: dict[str, str]


def export_run(
    runs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    decoding: Mapping[str, Any] | None = None,
    captions: int = 1,
    weights: str | None = None,
    ensemble_weights: Sequence[float] | None = None,
    precision: str = "float32",
    max_pixels: int = MAX_PIXELS,
    weights_dtype: WeightsDtype = "float32",
    detectors: Sequence[str] = (),
) -> Exported:
    """Writes a trained run as the next version of an exported model.

    The folder `<output>/<number>` contains the SavedModel with its warm-up requests, `config.json`,
    `vocabulary.txt`, `batching.config`, `LICENSE` and the model card `README.md`. It is written
    atomically.

    Args:
        runs: folder of a trained stage or experiment; several captioners make an ensemble, see
            `Run.load`.
        output: folder of the exported model; its name becomes the model's name.
        decoding: changes to the run's `decoding` settings, by name. They are frozen in the graph.
        captions: n, captions per item.
        weights: file of the backbone's weights, for runs whose records were built with such a file.
        ensemble_weights: see `Run.load`.
        precision: precision of activations, see `Run.load`.
        max_pixels: maximum size of an image; larger ones get a status instead of a caption.
        weights_dtype: dtype of stored matrices, see `compact_weights`.
        detectors: for R2M, `KIND:MODEL+LABEL_MAP[,MIN_SCORE[,WEIGHT]]` each, which find its
            concepts in images, see `r2m.serving.detected_concepts`.

    Raises:
        InputError: a run cannot be opened or exported, a setting is invalid or unused, or the
            folder is not writable.
        TrainingError: a run has no complete checkpoint.
    """
    listed = [runs] if isinstance(runs, str | Path) else list(runs)
    folders = [RunFolder(path) for path in listed]
    output = Path(output)
    kind = kind_of(folders[0])
    if detectors and kind.name != "unsupervised_captioning":
        raise InputError(
            f"{folders[0].path} is {kind.title}, which reads no concepts: leave out --detector"
        )
    if kind.captions:
        run = Run.load(
            folders,
            decoding=decoding,
            weights=weights,
            ensemble_weights=ensemble_weights,
            precision=precision,
        )
        if isinstance(run.loaded, LoadedCaptioner):
            served = captioner_model(run, captions, max_pixels)
        else:
            served = r2m_model(run, captions, max_pixels, detectors)
        settings = settings_to_report(run.config.decoding.to_dict())
    else:
        _refuse_for_embeddings(folders, decoding, captions, ensemble_weights, precision)
        served = retrieval_model(RetrievalRun(folders[0], weights=weights), max_pixels)
        settings = {}
    served = compact_weights(served, weights_dtype)
    name = model_name(output)
    with new_version(output) as (number, temporary):
        described = write_saved_model(served, temporary)
        write_warmup_requests(served.signatures, temporary, name)
        facts = CardFacts(
            name,
            number,
            served,
            folders,
            settings,
            described,
            max_pixels,
            weights_dtype,
            precision=precision,
        )
        (temporary / BATCHING).write_text(_batching(described), encoding="utf-8")
        write_companions(temporary, facts, captions if kind.captions else 0)
    return Exported(output / str(number), described, dict(served.left_out))


def _batching(signatures: Mapping[str, Any]) -> str:
    """Returns the batching parameters of a model with these signatures."""
    shapes = [tensor["shape"] for own in signatures.values() for tensor in own["inputs"].values()]
    return _BATCHING + (_PADDING if any(None in shape[1:] for shape in shapes) else "")


def _refuse_for_embeddings(
    folders: Sequence[RunFolder],
    decoding: Mapping[str, Any] | None,
    captions: int,
    ensemble_weights: Sequence[float] | None,
    precision: str,
) -> None:
    """Raises `InputError` for options that only captioners have."""
    path = folders[0].path
    if len(folders) > 1 or ensemble_weights is not None:
        raise InputError(f"{path} is a run of an embedding: export one run at a time")
    others = {"captions": captions != 1, "precision": precision != "float32"}
    given = [*(decoding or {}), *(name for name, is_given in others.items() if is_given)]
    refuse_caption_settings(folders[0], (f"--{name}" for name in given))
