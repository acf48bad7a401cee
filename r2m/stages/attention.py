"""Where a trained captioner looks in image files, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from models.captioners import WITH_ATTENTION
from r2m.evaluation.attention import animation, attention_panels, png, sheet
from r2m.evaluation.files import write_whole
from r2m.stages.caption_files import look_of
from r2m.stages.captioning import is_captioner, open_run
from r2m.stages.paired.data import pixel_options
from r2m.stages.paired.looking import looked, nothing_to_show, seen_part
from r2m.stages.paired.trained import saved_features
from r2m.stages.run_folder import saved_run
from tfrecords.errors import InputError
from tfrecords.features import decode_image

# Images looked at at once.
_BATCH = 32


def show_attention(
    run_folder: str | Path,
    files: Sequence[Path],
    output: str | Path,
    *,
    style: str = "smooth",
    weights: str | None = None,
    overrides: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Shows where a captioner looks in images while it says each word.

    Writes `<name>.attention.png` (a panel a word) and `<name>.attention.gif` (a frame a word) for
    each image, of the part of it that the captioner saw. Images that cannot be read are left out,
    with a warning.

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
        InputError: no such images, none that can be read, or a run whose captioner has no attention
            over a grid.
    """
    _check_files(files, output)
    run_folder = Path(run_folder)
    _check_run(run_folder)
    shown = saved_features(run_folder)["records"]
    run = open_run(run_folder, overrides)
    pixels = pixel_options(run.config) if run.config.image.source == "pixels" else None
    look = look_of(run, files, detections=(), weights=weights)
    captions: dict[str, str] = {}
    faults: list[str] = []
    for start in range(0, len(files), _BATCH):
        chunk = files[start : start + _BATCH]
        seen = look(chunk)
        said = run.captioning.captions(seen.inputs)
        found = looked(run.model, run.vocabulary, seen.inputs, said, shown["grid_shape"])
        for file, caption, own, fault in zip(chunk, said, found, seen.faults, strict=True):
            if fault is not None:
                faults.append(f"{file} cannot be read: {fault}")
                logging.warning("left out: %s", faults[-1])
                continue
            # As the captioner saw it, which does not turn photographs upright.
            picture = decode_image(file.read_bytes()).numpy()
            part = seen_part(picture, pixels, shown["backbone"])
            panels = attention_panels(part, own.words, own.weights, style=style)
            still, moving = _pictures_of(file, output)
            write_whole(still, png(sheet(panels, caption)))
            write_whole(moving, animation(panels))
            captions[file.name] = caption
    if not captions:
        raise InputError(f"there is no image left to show: {faults[0]}")
    return captions


def _pictures_of(file: Path, output: str | Path) -> tuple[Path, Path]:
    """The sheet and the animation of an image; named so that they are not written over it."""
    return Path(output, f"{file.stem}.attention.png"), Path(output, f"{file.stem}.attention.gif")


def _check_files(files: Sequence[Path], output: str | Path) -> None:
    if not files:
        raise InputError("no images were given: name the image files")
    by_stem: dict[str, Path] = {}
    for file in files:
        if file.is_dir():
            raise InputError(f"{file} is a folder: name the image files ({file}/*.jpg)")
        if not file.is_file():
            raise InputError(f"no such image: {file}")
        other = by_stem.setdefault(file.stem, file)
        if other is not file:
            raise InputError(
                f"{other} and {file} would both become {_pictures_of(file, output)[0]}: show them "
                "one after the other, each with an --output of its own"
            )
    written = {path.resolve(): file for file in files for path in _pictures_of(file, output)}
    for file in files:
        if shown := written.get(file.resolve()):
            raise InputError(
                f"{file} is one of the images, and what is shown of {shown} would be written over "
                "it: leave one of them out, or give another --output"
            )


def _check_run(run_folder: Path) -> None:
    """Raises `InputError` for a run with nothing to show, before anything is searched or loaded."""
    if not is_captioner(run_folder):
        raise InputError(
            f"{run_folder} is a run of R2M, which does not look at images: --model takes the run "
            f"of {', '.join(WITH_ATTENTION[:-1])} or {WITH_ATTENTION[-1]}, for example "
            "workspace/runs/updown/cross_entropy"
        )
    captioner = saved_run(run_folder)["config"]["model"]["captioner"]
    why = nothing_to_show(captioner, saved_features(run_folder)["features"])
    if why is not None:
        raise InputError(f"{run_folder}: {why}")
