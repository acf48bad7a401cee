"""Attention of a trained captioner over image files, drawn word by word."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from pipelines.inputs.pixels import Pixels
from r2m.evaluation.attention_pictures import animation, attention_panels, png, sheet
from r2m.evaluation.output_files import prepare_output, write_whole
from r2m.inference.attention_maps import attention_maps, inputs_with_maps, visible_part
from r2m.inference.run import Run, RunPath
from r2m.inference.run_folder import RunFolder
from r2m.inference.sidecar_files import output_stems
from tfrecords.core.errors import InputError
from tfrecords.core.progress import shown_chunks
from tfrecords.core.shards import Skip
from tfrecords.pictures.image_reading import decode_files
from tfrecords.pictures.named_images import ImageFile, named_files

# Images captioned per batch; their pictures are in memory at full size.
_BATCH = 32


class ShownImage(NamedTuple):
    """An image whose attention was drawn.

    Attributes:
        name: name of the image, see `tfrecords.pictures.named_images`.
        caption: caption of the image.
        sheet: PNG file with a panel per word.
        animation: GIF file with a frame per word.
    """

    name: str
    caption: str
    sheet: Path
    animation: Path


def show_attention(
    run: RunPath,
    sources: Sequence[Path],
    output: str | Path,
    *,
    recursive: bool = True,
    style: str = "smooth",
    weights: str | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> tuple[list[ShownImage], Counter[str]]:
    """Draws the attention of a captioner over images, for each word of their captions.

    Writes `<name>.attention.png` (a panel per word) and `<name>.attention.gif` (a frame per word)
    for each image; they show the part of the image that the captioner reads. `<name>` has no suffix
    unless two images differ only in it. Images that cannot be read are left out, with a warning.

    Args:
        run: folder of a captioner with attention over a grid, see `Run.load`.
        sources: image files, folders of them and text files that list them.
        output: folder to write to.
        recursive: whether to include images in subfolders.
        style: `grid` or `smooth`.
        weights: file of the backbone's weights, see `Run.load`.
        decoding: changes of the run's `decoding` settings, by name.

    Returns:
        The images that were drawn, and reason -> number of skipped entries.

    Raises:
        InputError: no such images exist, none can be read, or the run's captioner has no attention
            over a grid.
    """
    files, passed_over = named_files(sources, recursive=recursive)
    places = _places(files, Path(output))
    folder = run if isinstance(run, RunFolder) else RunFolder(run)
    trained_on = inputs_with_maps(folder)
    loaded = Run.load(folder, decoding=decoding, weights=weights)
    pixels = trained_on.inputs.find(Pixels)
    read = loaded.image_reader()
    prepare_output(output)
    shown: list[ShownImage] = []
    faults: list[str] = []
    for chunk in shown_chunks(files, _BATCH, "captioning", "images"):
        batch = read(chunk)
        captions = loaded.captioning.captions(batch.inputs, [file.name for file in chunk])
        maps = attention_maps(
            loaded.model, loaded.vocabulary, batch.inputs, captions, trained_on.grid_shape
        )
        pictures = decode_files(chunk, None)
        for file, caption, own, fault in zip(chunk, captions, maps, batch.faults, strict=True):
            picture = next(pictures)
            if isinstance(picture, Skip) or fault is not None:
                skip = picture if isinstance(picture, Skip) else fault
                assert skip is not None
                faults.append(f"{file.path} cannot be read: {skip.detail}")
                logging.warning("left out: %s", faults[-1])
                passed_over[skip.reason] += 1
                continue
            part = visible_part(picture.pixels.numpy(), pixels, trained_on.backbone)
            panels = attention_panels(part, own.words, own.weights, style=style)
            still, moving = places[file.name]
            write_whole(still, png(sheet(panels, caption)))
            write_whole(moving, animation(panels))
            shown.append(ShownImage(file.name, caption, still, moving))
    if not shown:
        raise InputError(f"no image is left to show: {faults[0]}")
    return shown, passed_over


def _places(files: Sequence[ImageFile], output: Path) -> dict[str, tuple[Path, Path]]:
    """Returns the paths of the sheet and the animation of each image, by its name.

    Raises:
        InputError: one of them would overwrite an image.
    """
    places = {
        name: (output / f"{stem}.attention.png", output / f"{stem}.attention.gif")
        for name, stem in output_stems(files).items()
    }
    written = {os.path.realpath(path): name for name, paths in places.items() for path in paths}
    for file in files:
        if other := written.get(os.path.realpath(file.path)):
            raise InputError(
                f"{file.path} is one of the images, and the output for {other} would overwrite it: "
                "leave one of them out, or give another --output"
            )
    return places
