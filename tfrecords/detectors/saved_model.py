"""Detection SavedModels of the TensorFlow object detection API, for TF2 and TF1.

A SavedModel is a program: open only those whose publisher you trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from tfrecords.core.errors import InputError
from tfrecords.detectors.graphs import OUTPUTS, GraphDetector, check_names
from tfrecords.detectors.options import DetectorOptions

_SIGNATURE = "serving_default"


def open_saved_model(options: DetectorOptions) -> GraphDetector:
    """Opens the folder with `saved_model.pb`.

    Raises:
        InputError: the folder is missing, damaged, or has no signature of the detection API.
    """
    path = Path(options.model)
    if not (path / "saved_model.pb").is_file():
        found = sorted(item.name for item in path.iterdir())[:5] if path.is_dir() else []
        raise InputError(
            f"{path} is not a SavedModel: expected a folder with saved_model.pb, found "
            f"{', '.join(found) or 'no such folder'}"
        )
    try:
        model = tf.saved_model.load(str(path))
    except Exception as error:  # a damaged file can raise any error
        raise InputError(f"cannot open the SavedModel {path}: {error}") from error
    if _SIGNATURE not in model.signatures:
        known = ", ".join(model.signatures) or "none"
        raise InputError(f"{path} has no signature {_SIGNATURE}; it has {known}")
    signature = model.signatures[_SIGNATURE]
    check_names(OUTPUTS, signature.structured_outputs, f"the signature {_SIGNATURE} of {path}")
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise InputError(
            f"{path} has the inputs {', '.join(sorted(inputs)) or '(none)'}; expected one input, "
            "the images"
        )
    ((name, spec),) = inputs.items()

    def run(images: tf.Tensor) -> Mapping[str, tf.Tensor]:
        # References the model, because its signature alone does not keep the variables alive.
        outputs: Mapping[str, tf.Tensor] = model.signatures[_SIGNATURE](**{name: images})
        return outputs

    return GraphDetector(run, spec, options, resources=model)
