"""Start of a stage's run: its files and initial weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from r2m.engine.persistence import checkpoints
from r2m.engine.persistence.variable_names import variable_names
from r2m.evaluation.output_files import write_whole
from r2m.inference.run_folder import SEGMENTER_FILE, VOCABULARY_FILE, read_config
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records


class RunFile(NamedTuple):
    """Contents of a file of a run folder, and the folder of their source records."""

    contents: bytes
    origin: Path


def copy_into_run(folder: Path, files: Mapping[str, RunFile]) -> None:
    """Writes files into a run folder, by name.

    Raises:
        InputError: the folder contains a run with other records; nothing is changed.
    """
    for name, file in files.items():
        there = folder / name
        if there.is_file() and there.read_bytes() != file.contents:
            raise InputError(
                f"{folder} contains a run with other records or another model: its {name} differs "
                f"from that of {file.origin}"
                f"{_difference(there.read_bytes(), file.contents)}. Resume with the original "
                "records and configuration, or give another --workdir"
            )
    for name, file in files.items():
        write_whole(folder / name, file.contents)


def _difference(old: bytes, new: bytes) -> str:
    """Returns the differing entries of two JSON objects, for messages; '' for other contents."""
    try:
        was, now = json.loads(old), json.loads(new)
    except ValueError:
        return ""
    if not (isinstance(was, dict) and isinstance(now, dict)):
        return ""
    differences = [
        f"{key} {json.dumps(now.get(key))}, was {json.dumps(was.get(key))}"
        for key in sorted(was.keys() | now.keys())
        if was.get(key) != now.get(key)
    ]
    # The shortest is the most informative: the others follow from it, or are lists of numbers.
    return f" ({min(differences, key=len)})" if differences else ""


def vocabulary_files(records: Records) -> dict[str, RunFile]:
    """Returns the files of a vocabulary that a run folder contains, for `RunFolder`."""
    origin = records.folder
    files = {VOCABULARY_FILE: RunFile((origin / VOCABULARY_FILE).read_bytes(), origin)}
    if records.segmenter != "words":
        files[SEGMENTER_FILE] = RunFile(f"{records.segmenter}\n".encode(), origin)
    return files


def start_of(
    name: str, previous: str | None, workdir: Path, init_from: str | Path | None
) -> Path | None:
    """Returns the run folder whose weights a stage starts from; None for random weights.

    Args:
        name: name of the stage.
        previous: name of the previous stage, from whose run it starts by default.
        workdir: folder of the experiment.
        init_from: another run folder to start from.

    Raises:
        InputError: there is no previous run, and no run of this stage to resume.
    """
    if init_from:
        return Path(init_from)
    if previous is None:
        return None
    before = workdir / previous
    if not before.is_dir() and checkpoints.newest(workdir / name / checkpoints.LATEST) is None:
        raise InputError(
            f"stage {name} starts from the weights of stage {previous}, and there is no run in "
            f"{before}: train that stage first, or give another run with --init_from"
        )
    return before


def start_settings(start: Path, folder: Path) -> Any:
    """Returns step and digest of the weights that a run in `folder` starts from.

    They are those of the best (else latest) checkpoint of the run `start`. If that run no longer
    exists, those that the run in `folder` recorded when it started, or None.
    """
    found = checkpoints.best_or_latest(start)
    if found is not None:
        return {"step": found.step, "digest": found.digest}
    own = checkpoints.newest(folder / checkpoints.LATEST)
    return own.sidecar["settings"].get("start") if own is not None else None


def init_from_run(
    model: Any, network: Any, run_folder: Path, fingerprint: Mapping[str, str]
) -> None:
    """Restores the weights of another run into a model that reads images.

    A model of pixels may start from a model of stored features: its network then keeps the weights
    it was loaded with. A model of stored features may start from a model of pixels whose network
    computed these features (r2m-export-backbone): the network's weights are left out.

    Args:
        model: a built model.
        network: part of the model that computes features from pixels, or None.
        run_folder: run folder of the other run.
        fingerprint: compared with that of the run.

    Raises:
        InputError: there is no run in the folder.
        TrainingError: the weights do not fit.
    """
    of_pixels = read_config(run_folder)["config"]["image"]["source"] == "pixels"
    new: list[str] = []
    if network is not None and not of_pixels:
        own = {id(variable) for variable in network.variables}
        named = zip(variable_names(model), model.variables, strict=True)
        new = [name for name, variable in named if id(variable) in own]
    found = checkpoints.restore_model(
        model,
        run_folder,
        fingerprint,
        allow_new=new,
        allow_unused=of_pixels and network is None,
    )
    logging.info("starting from the weights of %s", found.folder)
