"""Where a trained captioner looks in image files, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r2m.evaluation.attention import animation, attention_panels, png, sheet
from r2m.evaluation.files import write_whole
from r2m.stages.caption_files import look_of
from r2m.stages.captioning import is_captioner, open_run
from r2m.stages.paired.looking import looked
from tfrecords.errors import InputError
from tfrecords.features import decode_image


def show_attention(
    run_folder: str | Path,
    files: Sequence[Path],
    output: str | Path,
    *,
    style: str = "smooth",
    weights: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Writes `<name>.png` (a panel a word) and `<name>.gif` (a frame a word) for each image.

    Args:
        run_folder: of a captioner with attention over a grid.
        files: images.
        output: folder to write to.
        style: `grid` or `smooth`.
        weights: file of the backbone's weights, see `caption_files`.
        overrides: of the run's `decoding` settings.

    Returns:
        The captions, by file name.

    Raises:
        InputError: no such images, or a run whose captioner has no attention over a grid.
    """
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise InputError(f"no such image: {missing[0]}" if missing else "no images were given")
    if len({file.stem for file in files}) < len(files):
        raise InputError("two images have the same name: their pictures would have so too")
    if not is_captioner(run_folder):
        raise InputError(f"{run_folder} is a run of R2M, which does not look at images")
    run = open_run(run_folder, overrides)
    seen = look_of(run, files, detections=(), weights=weights)(files)
    faults = [f"{file}: {why}" for file, why in zip(files, seen.faults, strict=True) if why]
    if faults:
        raise InputError(f"an image cannot be read: {faults[0]}")
    captions = run.captioning.captions(seen.inputs)
    found = looked(run.model, run.vocabulary, seen.inputs, captions)
    for file, caption, own in zip(files, captions, found, strict=True):
        # As the captioner saw it, which does not turn photographs upright: maps and picture agree.
        picture = decode_image(file.read_bytes()).numpy()
        panels = attention_panels(picture, own.words, own.weights, style=style)
        write_whole(Path(output, f"{file.stem}.png"), png(sheet(panels, caption)))
        write_whole(Path(output, f"{file.stem}.gif"), animation(panels))
    return {file.name: caption for file, caption in zip(files, captions, strict=True)}
