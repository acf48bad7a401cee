"""Binding of an index to the model that made it: its identity, and loading of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from r2m.inference.retrieval_run import RetrievalRun, load_embedding
from r2m.inference.run_folder import RunFolder
from r2m.inference.search.vector_index import VectorIndex
from tfrecords.core.errors import InputError


def identity_of(run: RetrievalRun) -> dict[str, Any]:
    """Returns the identity of a model, as recorded in an index.

    It consists of the run, its path, the file of the backbone's weights, step and checkpoint
    digest.
    """
    folder = run.folder
    return {
        "run": folder.name,
        "path": str(folder.path.absolute()),
        "weights": None if run.weights is None else str(Path(run.weights).absolute()),
        "step": folder.checkpoint.step,
        "digest": folder.checkpoint.digest,
    }


def open_index(
    folder: str | Path, run_folder: str | Path | None = None, weights: str | None = None
) -> tuple[VectorIndex, RetrievalRun]:
    """Opens an index and loads the model that made it.

    Args:
        folder: folder of the index.
        run_folder: run folder of the model; None: its location when the index was built.
        weights: see `RetrievalRun`; None: those that the index was built with.

    Raises:
        InputError: see `VectorIndex`; or the model no longer exists or is another one.
    """
    index = VectorIndex(Path(folder))
    recorded = Path(index.about["model"]["path"])
    if run_folder is None and not recorded.is_dir():
        raise InputError(
            f"{folder} was made with the run {recorded}, which does not exist: give the folder it "
            "was moved to with --run"
        )
    path = Path(run_folder or recorded)
    # Checked before the model is loaded, which takes seconds.
    checkpoint = RunFolder(path).checkpoint
    index.check_model({"digest": checkpoint.digest, "step": checkpoint.step}, path)
    return index, load_embedding(path, weights or index.about["model"]["weights"])
