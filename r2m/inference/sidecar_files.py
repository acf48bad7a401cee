"""Text files with captions, one per image, as read by tools that train on captioned images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from r2m.evaluation.output_files import encode_text
from tfrecords.core.errors import InputError
from tfrecords.core.files import clear_disk_errors, make_folder
from tfrecords.pictures.image_names import is_image_name
from tfrecords.pictures.named_images import ImageFile


def output_stems(files: Sequence[ImageFile]) -> dict[str, str]:
    """Returns the name of each image without its suffix, as the stem of files written for it.

    Images that differ only in their suffixes keep them. No two stems are equal.

    Raises:
        InputError: a name is outside of the output folder.
    """
    for file in files:
        # Names with undecodable bytes are valid.
        if not is_image_name(file.name.encode("utf-8", "replace").decode()):
            raise InputError(
                f"{file.name!r}: this name is outside of the output folder: give the image "
                "as a path relative to a folder of images, without `..`"
            )
    stems = {file.name: file.name.removesuffix(Path(file.name).suffix) for file in files}
    counts = Counter(stems.values())
    found = {name: stem if counts[stem] == 1 else name for name, stem in stems.items()}
    # For `a.png`, `a.jpg` and an image `a.png.jpg`: full names are unique.
    return found if len(set(found.values())) == len(found) else {name: name for name in found}


def remove_sidecars(folder: Path) -> None:
    """Removes the text files that `write_sidecars` wrote to a folder."""
    for old in folder.rglob("*.txt"):
        old.unlink()


def write_sidecars(
    folder: Path, files: Sequence[ImageFile], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Writes `<folder>/<name>.txt` with the best caption of each image that can be read.

    Text files of earlier captions are removed.

    Args:
        folder: folder that contains nothing else.
        files: the images.
        rows: rows of the images, see `r2m.inference.caption_files.CaptionedFiles`.

    Raises:
        InputError: a name is outside of the folder, or the disk is full.
    """
    stems = output_stems(files)
    remove_sidecars(folder)
    made: set[Path] = set()
    with clear_disk_errors(folder, resumes=False):
        for row in rows:
            if "reason" in row:
                continue
            path = folder / f"{stems[row['image_id']]}.txt"
            if path.parent not in made:
                make_folder(path.parent)
                made.add(path.parent)
            path.write_bytes(encode_text(f"{row['caption']}\n"))
