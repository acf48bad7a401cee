"""Models of the app: trained runs and exported models, by one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from r2m.evaluation.pages.gallery_items import GalleryItem
from r2m.inference.run import Run
from r2m.inference.run_folder import RunFolder
from r2m.inference.run_kinds import kind_of
from r2m.serving.app.export_model import ExportModel
from r2m.serving.app.run_model import RunModel
from r2m.serving.loaded_export import load_export
from tfrecords.core.errors import InputError


class AppModel(Protocol):
    """A model that captions images or concepts.

    Attributes:
        name: name by which it is chosen.
        reads_images: whether it captions images.
        reads_concepts: whether it captions lists of concepts.
    """

    name: str
    reads_images: bool
    reads_concepts: bool

    def caption_image(self, path: Path, name: str) -> GalleryItem:
        """Captions an image file.

        Args:
            path: path of the file.
            name: name of the image, by which detections are matched.

        Returns:
            The image with its captions; with a note instead of captions if it cannot be read.

        Raises:
            InputError: there are no detections of the image.
        """

    def caption_concepts(self, concepts: Sequence[str]) -> GalleryItem:
        """Captions concepts, most important first; raises `InputError` for unknown ones."""


def load_models(
    runs: Sequence[str],
    exports: Sequence[str],
    *,
    captions: int | None = None,
    detections: Sequence[str] = (),
    weights: str | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> list[AppModel]:
    """Loads the models of the app, runs first.

    Args:
        runs: folders of stages or experiments.
        exports: folders of exported models or of their versions.
        captions: maximum number per image; None: all that the search finds, at most 5.
        detections: detections for runs, see `Run.image_reader`.
        weights: weights for runs, see `Run.load`.
        decoding: decoding settings for runs, see `Run.load`.

    Raises:
        InputError: a folder contains no model that captions, two models have the same name, or an
            option of runs is given but no run uses it.
    """
    given = {"--detections": detections, "--weights": weights, "flags of decoding": decoding}
    if unused := [name for name, value in given.items() if value and not runs]:
        raise InputError(f"{unused[0]} requires a --run; exported models have their own")
    folders = [RunFolder(path) for path in runs]
    for folder in folders:
        if not kind_of(folder).captions:
            raise InputError(
                f"--run={folder.path} is {kind_of(folder).title}, which does not caption: build an "
                "index with it (r2m-build-index) and give that with --index"
            )
    _check_names([folder.name for folder in folders])  # before any model is loaded
    models: list[AppModel] = []
    for folder in folders:
        run = Run.load(folder, decoding=decoding, weights=weights)
        models.append(RunModel(run, captions, detections))
    if detections and not any(isinstance(own, RunModel) and own.by_detections for own in models):
        raise InputError("--detections: no --run reads detections; leave it out")
    for path in exports:
        models += [ExportModel(export, captions) for export in load_export(Path(path))]
    _check_names([model.name for model in models])
    return models


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two models are named {name}: rename a folder, or leave one out")
