"""Inputs of a captioner or an embedding: chosen for training, later read from the run folder."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tensorflow as tf

from models.captioners.base import Inputs
from models.captioners.pixels import PixelCaptioner
from models.captioners.registry import captioner_class
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs.spec import PICTURES, InputSpec
from r2m.configuration.settings import setting
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.pictures.feature_options import AVERAGE_MIRRORED

FEATURES_FILE = "image_features.json"
# Options of records that describe how their features were made.
_OF_FEATURES = ("backbone", "feature_dtype", "grid_shape")
# Option of records with the files of detections, and backbone option with the limits on boxes.
REGIONS = "regions"
_EXTERNAL = "not computed by R2M"


def caption_options(config: Any) -> CaptionOptions:
    """Returns the options for captions of an image in a batch from `config.data`."""
    with setting("config.data"):
        return CaptionOptions(
            captions_per_image=config.data.captions_per_image, max_length=config.data.max_length
        )


def record_inputs(config: Any, records: Records) -> InputSpec:
    """Chooses the inputs of a configuration's model from the columns of records.

    Raises:
        InputError: a setting is invalid, or the records lack a required column.
    """
    return _choose(config, records.feature_names, str(records.folder))


def _choose(config: Any, available: Collection[str], where: str) -> InputSpec:
    model, inputs = _model_inputs(config)
    return InputSpec.choose(inputs, config, available, model=model, where=where)


def _model_inputs(config: Any) -> tuple[str, Inputs]:
    """Returns the name of the model that a configuration describes, and its kinds of input."""
    is_captioner = "captioner" in config.model
    name = f"captioner {config.model.captioner}" if is_captioner else f"embedding {config.name}"
    if config.image.source == "pixels":
        return name, PixelCaptioner.inputs
    if not is_captioner:
        return name, Inputs(required=(config.model.image_input,))
    with setting("config.model"):
        return name, captioner_class(config.model.captioner).inputs


class TrainedInputs(NamedTuple):
    """Inputs that a captioner was trained on.

    Attributes:
        path: run folder of the captioner, for messages.
        inputs: inputs with the settings for captioning.
        signature: signature of the tensors, B first.
        backbone: options of the network that computed the features of its records; None if they
            were computed elsewhere.
        feature_dtype: dtype of the stored features.
        grid_shape: (gh, gw, D) of the stored feature maps; None without them.
        regions: files of detections whose boxes became regions, see `detection_sources`; None
            without detections.
    """

    path: Path
    inputs: InputSpec
    signature: dict[str, tf.TensorSpec]
    backbone: Mapping[str, Any] | None
    feature_dtype: Literal["float16", "float32"]
    grid_shape: list[int] | None
    regions: list[dict[str, Any]] | None = None

    @classmethod
    def read(cls, folder: RunFolder) -> TrainedInputs:
        """Reads `image_features.json` of a run folder.

        Raises:
            InputError: the folder is not the run of a captioner.
        """
        file = folder.path / FEATURES_FILE
        if not file.is_file():
            raise InputError(
                f"{folder.path} is not the run of a captioner: it has no {FEATURES_FILE}"
            )
        saved = json.loads(file.read_text(encoding="utf-8"))
        # From the columns that the training read, the same ones are chosen again.
        inputs = _choose(folder.config, {*saved["features"], PICTURES}, str(file)).evaluated()
        signature = inputs.signature(_specs(saved["inputs"]))
        origin = {name: saved["records"].get(name) for name in (*_OF_FEATURES, REGIONS)}
        return cls(folder.path, inputs, signature, **origin)

    @property
    def reads_backbone(self) -> bool:
        """True if its records must come from the same backbone as those of the training."""
        of_images = {"global_feature", "grid_feature"} & set(self.inputs.columns)
        return bool(of_images or self.columns_of_backbone)

    @property
    def needs_detections(self) -> bool:
        """True if its image features are those of detected boxes."""
        return "region_feature" in self.columns_of_backbone

    @property
    def columns_of_backbone(self) -> frozenset[str]:
        """Columns that the records' backbone computed; for regions, from detections."""
        if self.backbone is None:
            return frozenset()
        made = {"global_feature", "grid_feature"}
        if self.backbone.get(REGIONS):
            made |= {"region_feature", "boxes"}
        return frozenset(made & set(self.inputs.columns))


def features_file(
    inputs: InputSpec, signature: Mapping[str, tf.TensorSpec], records: Records, folder: Path
) -> bytes:
    """Returns the contents of `image_features.json`, which `TrainedInputs.read` reads.

    Args:
        inputs: inputs of the captioner.
        signature: signature of their tensors.
        records: records that it is trained on.
        folder: folder of the run. A resumed run keeps the file that an earlier version wrote.
    """
    options = records.manifest["options"]
    content = {
        "inputs": _shapes(signature),
        "features": list(inputs.stored),
        "records": {name: options.get(name) for name in _OF_FEATURES}
        | ({REGIONS: options[REGIONS]} if options.get(REGIONS) else {}),
    }
    file = folder / FEATURES_FILE
    if file.is_file():
        saved = json.loads(file.read_bytes())
        known = inputs.signature(_specs(saved["inputs"]))
        if {**saved, "inputs": _shapes(known)} == content:
            return file.read_bytes()
    return (json.dumps(content, indent=1) + "\n").encode()


def check_same_origin(
    one: str,
    ours: Mapping[str, Any] | None,
    other: str,
    theirs: Mapping[str, Any] | None,
    *,
    regions: bool = False,
) -> None:
    """Raises `InputError` unless features come from the same network with the same options.

    Args:
        one: owner of the features, for the message.
        ours: backbone in the options of records; None if the features were computed elsewhere.
        other: see `one`.
        theirs: see `ours`.
        regions: whether to compare features of regions, too.
    """
    a, b = (dict(made or {"name": _EXTERNAL}) for made in (ours, theirs))
    for made in (a, b):
        pooled = made.pop(REGIONS, None)
        if regions:
            made[REGIONS] = pooled or _EXTERNAL
        if "crops" in made:
            made.setdefault(AVERAGE_MIRRORED, False)
    # The batch size does not change features.
    differ = [key for key in a if key in b and a[key] != b[key] and key != "batch_size"]
    if differ:
        raise InputError(
            f"features were computed in two ways: {one} with {_listed(a, differ)}, {other} with "
            f"{_listed(b, differ)}; both must come from the same network"
        )


def _shapes(signature: Mapping[str, tf.TensorSpec]) -> dict[str, list[Any]]:
    """Returns a signature in the form of JSON; see `_specs`."""
    return {name: [spec.shape.as_list(), spec.dtype.name] for name, spec in signature.items()}


def _specs(shapes: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """Returns the signature in `image_features.json`: name -> shape and dtype."""
    return {name: tf.TensorSpec(shape, dtype) for name, (shape, dtype) in shapes.items()}


def _listed(backbone: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {backbone[key]!r}" for key in keys)
