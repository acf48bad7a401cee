"""Reference captions and pictures of the images of a comparison, from records or files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from r2m.evaluation.comparison.compared_runs import ReferencedImage
from r2m.evaluation.comparison.evaluations import RECORDS_FOLDER, Evaluation
from r2m.evaluation.matching import ImageLabel
from r2m.evaluation.result_files import read_any_references
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, open_records, read_split
from tfrecords.pictures.image_files import open_folder
from tfrecords.pictures.image_names import is_image_name
from tfrecords.pictures.name_index import AmbiguousNameError

# Names of images -> their pictures; those without a picture are left out.
Pictures = Callable[[Collection[str]], Mapping[str, bytes | Path]]


class ReferenceImages(NamedTuple):
    """Images of a comparison.

    Attributes:
        source: their origin, for titles.
        images: images with reference captions.
        pictures: finds the pictures of images by their names.
        segmenter: segmenter of the vocabulary of records; `words` without records.
    """

    source: str
    images: Sequence[ReferencedImage]
    pictures: Pictures
    segmenter: str = "words"


def find_records(runs: Sequence[Evaluation]) -> Path:
    """Returns the folder of the records of one of several evaluations.

    Raises:
        InputError: no report names such a folder, or none of these exists.
    """
    named = []
    for run in runs:
        folder = run.settings().get(RECORDS_FOLDER)
        if folder is not None:
            named.append(run.predictions.parent / folder)
            if named[-1].is_dir():
                return named[-1].resolve()
    why = f"{named[0].resolve()} does not exist" if named else "no report names its records"
    raise InputError(
        f"the references of the images are unknown: {why}; give --records=FOLDER, as for "
        "r2m-evaluate, or --references=FILE with --images=FOLDER for the pictures"
    )


def images_of_records(folder: str | Path, split: str, images: Path | None) -> ReferenceImages:
    """Reads the references of a split of records.

    Args:
        folder: folder of the records.
        split: split of the records.
        images: folder of the pictures; None: those in the records, if any.

    Raises:
        InputError: the records are of another kind, or the split does not exist.
    """
    records = open_records(folder)
    if not {"image_id", "texts"} <= {*records.feature_names}:
        raise InputError(
            f"{folder}: {records.kind} records have no reference captions: give the records of "
            "r2m-evaluate"
        )
    if split not in records.splits:
        known = ", ".join(records.splits)
        raise InputError(f"{folder}: no split {split!r}; known: {known}; choose with --split")
    found = []
    for example in read_split(records, split, ("image_id", "source_id", "texts")):
        name = example["image_id"][0].decode()
        source_id = example["source_id"][0].decode() if example.get("source_id") else ""
        texts = [text.decode() for text in example["texts"]]
        found.append(ReferencedImage(ImageLabel.of(source_id or name, name), texts))
    segmenter = records.vocabulary().segmenter if records.vocabulary_sha256 else "words"
    pictures = _of_folder(images) if images is not None else _of_records(records, split)
    return ReferenceImages(f"{records.name} {split}", found, pictures, segmenter)


def images_of_files(references: str, split: str | None, images: Path | None) -> ReferenceImages:
    """Reads references of any format of `r2m-build-captions`.

    Args:
        references: see `read_any_references`.
        split: see `read_any_references`.
        images: folder of the pictures; None for no pictures.

    Raises:
        InputError: the file does not exist or has another format, or the split does not exist.
    """
    found = [
        ReferencedImage(image.label, image.captions)
        for image in read_any_references(references, split)
    ]
    pictures = (lambda names: {}) if images is None else _of_folder(images)
    return ReferenceImages(Path(references).name, found, pictures)


def _of_records(records: Records, split: str) -> Pictures:
    def read(names: Collection[str]) -> dict[str, bytes | Path]:
        if "image" not in records.feature_names:
            return {}
        wanted = set(names)
        examples = read_split(records, split, ("image_id", "image"))
        found = ((example["image_id"][0].decode(), example["image"][0]) for example in examples)
        return {name: data for name, data in found if name in wanted}

    return read


def _of_folder(path: Path) -> Pictures:
    if not path.is_dir():
        raise InputError(f"{path}: no such folder of images")

    def locate(names: Collection[str]) -> dict[str, bytes | Path]:
        folder = open_folder(path, names)
        found: dict[str, bytes | Path] = {}
        for name in names:
            # Names come from untrusted files: none may lead out of the folder.
            if is_image_name(name):
                try:
                    found[name] = folder.locate(name)
                except AmbiguousNameError:
                    continue
        return found

    return locate
