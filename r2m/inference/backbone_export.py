"""Export of the backbone of a pixel model, as a weights file for building records."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from pipelines.inputs.pixels import crop_size
from r2m.configuration.config_fields import RETRIEVAL_STAGES
from r2m.evaluation.output_files import write_whole
from r2m.inference.retrieval_run import RetrievalRun
from r2m.inference.run import Run, RunPath
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError

# Keras derives the file format from it.
SUFFIX = ".weights.h5"


class Exported(NamedTuple):
    """Weights file of a network and the flags that describe it to commands that build records.

    Attributes:
        file: file with the weights.
        flags: flags such as `--backbone=MobileNet`.
    """

    file: Path
    flags: tuple[str, ...]


def export_backbone(run: RunPath, output: str | Path) -> Exported:
    """Writes the weights of the backbone of a model that was trained on pixels.

    Commands that build records use them to compute features of the trained backbone. Other models
    then train on stored features, in a fraction of the time needed with pixels.

    Args:
        run: folder of a captioner or a visual-semantic embedding that was trained with
            `image.source=pixels`.
        output: file to write, `NAME.weights.h5`.

    Raises:
        InputError: the run is of another kind, or the file name has another suffix.
        TrainingError: the run has no complete checkpoint.
    """
    output = Path(output)
    if not output.name.endswith(SUFFIX):
        raise InputError(f"{output}: the name of a weights file must end in {SUFFIX}")
    opened = run if isinstance(run, RunFolder) else RunFolder(run)
    is_embedding = opened.stage in RETRIEVAL_STAGES
    model = RetrievalRun(opened).model if is_embedding else Run.load(opened).model
    network = getattr(model, "network", None)
    if network is None:
        raise InputError(
            f"{opened.path}: this run has no backbone: it reads stored features or concepts; train "
            "one with --config.image.source=pixels --config.image.trained_from=LAYER"
        )
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, output.name)
        network.save_weights(whole)
        write_whole(output, whole.read_bytes())
    image = opened.config.image
    flags = [
        f"--backbone={image.backbone}",
        f"--weights={output}",
        f"--image_size={crop_size(image)}",
    ]
    if image.alpha:
        flags.append(f"--alpha={image.alpha}")
    return Exported(output, tuple(flags))
