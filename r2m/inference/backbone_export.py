"""The network that a captioner trained along, as a weights file for the builders of records."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from models.captioners.pixels import PixelCaptioner
from r2m.evaluation.files import write_whole
from r2m.inference.evaluate_run import is_captioner, open_run
from tfrecords.errors import InputError

# Keras tells by it which format a file has.
SUFFIX = ".weights.h5"


class Exported(NamedTuple):
    """A network's weights file and the flags of a builder that describe the network.

    Attributes:
        file: with the weights.
        flags: such as `--backbone=MobileNet`.
    """

    file: Path
    flags: tuple[str, ...]


def export_backbone(run_folder: str | Path, output: str | Path) -> Exported:
    """Writes the weights of the network that a captioner looks at pixels through.

    With them the builders of records make features that the captioner's images have become under
    its training: other captioners then learn from stored features, which takes a fraction of the
    time of learning from pixels.

    Args:
        run_folder: of a captioner that was trained with `image.source=pixels`.
        output: file to write, `NAME.weights.h5`.

    Raises:
        InputError: another kind of run, or another kind of file name.
        TrainingError: the run holds no whole checkpoint.
    """
    output = Path(output)
    if not output.name.endswith(SUFFIX):
        raise InputError(f"{output}: the name of a weights file ends in {SUFFIX}")
    if not is_captioner(run_folder):
        raise InputError(f"{run_folder} is a run of R2M: only captioners train a backbone along")
    run = open_run(run_folder)
    if not isinstance(run.model, PixelCaptioner):
        raise InputError(
            f"{run_folder}: this captioner was shown stored features and has no backbone of its "
            "own; train one with --config.image.source=pixels --config.image.trained_from=LAYER"
        )
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, output.name)
        run.model.network.save_weights(whole)
        write_whole(output, whole.read_bytes())
    image = run.config.image
    flags = [f"--backbone={image.backbone}", f"--weights={output}", f"--image_size={image.crop}"]
    if image.alpha:
        flags.append(f"--alpha={image.alpha}")
    return Exported(output, tuple(flags))
