"""Where a trained captioner looks in image files, word by word."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from models.captioners.registry import captioner_names
from r2m.evaluation.attention import animation, attention_panels, png, sheet
from r2m.evaluation.files import prepare_output, write_whole
from r2m.inference.attention_maps import looked, nothing_to_show, seen_part
from r2m.inference.caption_files import look_of
from r2m.inference.captioner_inputs import pixel_options, saved_features
from r2m.inference.evaluate_run import is_captioner, open_run
from r2m.inference.run_folder import saved_run
from tfrecords.errors import InputError
from tfrecords.features.reading import decode_files
from tfrecords.images.entries import ImageFile, named_files
from tfrecords.writing.progress import shown_chunks
from tfrecords.writing.shards import Skip

# Images looked at at once.
_BATCH = 32


class ShownImage(NamedTuple):
    """An image whose attention was drawn.

    Attributes:
        name: of the image, see `tfrecords.images.entries`.
        caption: of the image.
        sheet: PNG file with a panel per word.
        animation: GIF file with a frame per word.
    """

    name: str
    caption: str
    sheet: Path
    animation: Path


def show_attention(
    run_folder: str | Path,
    sources: Sequence[Path],
    output: str | Path,
    *,
    recursive: bool = True,
    style: str = "smooth",
    weights: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> tuple[list[ShownImage], Counter[str]]:
    """Shows where a captioner looks in images while it says each word.

    Writes `<name>.attention.png` (a panel per word) and `<name>.attention.gif` (a frame per word)
    for each image, of the part of it that the captioner saw. `<name>` has no suffix unless two
    images differ in it alone. Images that cannot be read are left out, with a warning.

    Args:
        run_folder: of a captioner with attention over a grid.
        sources: image files, folders of them and text files that list them.
        output: folder to write to.
        recursive: also images in folders below a folder.
        style: `grid` or `smooth`.
        weights: file of the backbone's weights, see `caption_files`.
        overrides: of the run's `decoding` settings.

    Returns:
        The images that were drawn, and reason -> number of entries that were passed over.

    Raises:
        InputError: no such images, none that can be read, or a run whose captioner has no attention
            over a grid.
    """
    files, passed_over = named_files(sources, recursive=recursive)
    places = _places(files, Path(output))
    run_folder = Path(run_folder)
    _check_run(run_folder)
    recorded = saved_features(run_folder)["records"]
    run = open_run(run_folder, overrides)
    pixels = pixel_options(run.config) if run.config.image.source == "pixels" else None
    look = look_of(run, files, detections=(), weights=weights)
    prepare_output(output)
    shown: list[ShownImage] = []
    faults: list[str] = []
    for chunk in shown_chunks(files, _BATCH, "captioning", "images"):
        seen = look(chunk)
        said = run.captioning.captions(seen.inputs)
        found = looked(run.model, run.vocabulary, seen.inputs, said, recorded["grid_shape"])
        pictures = decode_files(chunk, None)
        for file, caption, own, fault in zip(chunk, said, found, seen.faults, strict=True):
            picture = next(pictures)
            if isinstance(picture, Skip) or fault is not None:
                skip = picture if isinstance(picture, Skip) else fault
                assert skip is not None
                faults.append(f"{file.path} cannot be read: {skip.detail}")
                logging.warning("left out: %s", faults[-1])
                passed_over[skip.reason] += 1
                continue
            part = seen_part(picture.pixels.numpy(), pixels, recorded["backbone"])
            panels = attention_panels(part, own.words, own.weights, style=style)
            still, moving = places[file.name]
            write_whole(still, png(sheet(panels, caption)))
            write_whole(moving, animation(panels))
            shown.append(ShownImage(file.name, caption, still, moving))
    if not shown:
        raise InputError(f"there is no image left to show: {faults[0]}")
    return shown, passed_over


def _places(files: Sequence[ImageFile], output: Path) -> dict[str, tuple[Path, Path]]:
    """The sheet and the animation of each image by its name.

    Raises:
        InputError: one of them would be written over an image.
    """
    stems = {file.name: file.name.removesuffix(Path(file.name).suffix) for file in files}
    counts = Counter(stems.values())
    places = {}
    for name, stem in stems.items():
        base = stem if counts[stem] == 1 else name
        places[name] = (output / f"{base}.attention.png", output / f"{base}.attention.gif")
    written = {os.path.realpath(path): name for name, paths in places.items() for path in paths}
    for file in files:
        if other := written.get(os.path.realpath(file.path)):
            raise InputError(
                f"{file.path} is one of the images, and what is shown of {other} would be written "
                "over it: leave one of them out, or give another --output"
            )
    return places


def _check_run(run_folder: Path) -> None:
    """Raises `InputError` for a run with nothing to show, before anything is searched or loaded."""
    if not is_captioner(run_folder):
        *others, last = captioner_names(with_attention=True)
        raise InputError(
            f"{run_folder} is a run of R2M, which does not look at images: --model takes the run "
            f"of {', '.join(others)} or {last}, for example "
            "workspace/runs/updown/cross_entropy"
        )
    captioner = saved_run(run_folder)["config"]["model"]["captioner"]
    why = nothing_to_show(captioner, saved_features(run_folder)["features"])
    if why is not None:
        raise InputError(f"{run_folder}: {why}")
