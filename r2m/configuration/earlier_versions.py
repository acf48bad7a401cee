"""Settings saved by earlier versions of R2M, converted to the form of this version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import common

# The `model` section of every captioner once had the fields of all captioners: None was the
# captioner's default, or marked a field that it lacks.
_FIELDS_OF_ALL = {"captioner", "units", "word_size", "attention_units", "pool", "dropout"}
# Captioner of that time -> its own fields, with the defaults that None stood for.
_SHOW_AND_TELL = {"units": 512, "word_size": 256, "dropout": 0.0}
_MAXOUT = {"units": 512, "word_size": 512, "dropout": 0.5}
_WITH_ATTENTION = {**_MAXOUT, "attention_units": 512}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "rnn": {**_SHOW_AND_TELL, "pool": "average"},
    "lstm": {**_SHOW_AND_TELL, "pool": "average"},
    "attention_lstm": _SHOW_AND_TELL,
    "fc": _MAXOUT,
    "att2in": _WITH_ATTENTION,
    "att2in2": _WITH_ATTENTION,
    "updown": _WITH_ATTENTION,
}

# Settings of rewards that were added later, with the values that they had before that.
_REWARD = {
    "sampling": "draws",
    "cider_weight": 1.0,
    "bleu_weight": 0.0,
    "neighbors": 0,
    "neighbor_share": 0.5,
    "loss": "policy",
    "baseline": "leave_one_out",
    "reduction": "captions",
    "cross_entropy_weight": 0.0,
    "entropy_weight": 0.0,
    "dropout": False,
}


# Fields of the `data` section that captioners of earlier versions did not have.
_NEW_DATA = {"use_box": False}
_NEW_PAIRS = {"captions_per_image": 1}
_NEW_PIXELS = {"interpolation": "bilinear"}
# Settings of ranking losses that were added later.
_RANKING = {"name": "hinges", "temperature": 0.05}


def upgrade_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Converts saved settings to the form of this version.

    Args:
        settings: a configuration of `config.json`, or the settings that a checkpoint was saved
            with, of any version.

    Returns:
        Equivalent settings. Those of this version are returned unchanged.
    """
    upgraded, model = dict(settings), settings.get("model")
    if isinstance(model, Mapping) and model.keys() == _FIELDS_OF_ALL:
        own = {name: value for name, value in model.items() if value is not None}
        upgraded["model"] = {**_DEFAULTS.get(model["captioner"], {}), **own}
    # A checkpoint stores the settings of rewards as settings of its loss.
    for section in ("reward", "loss"):
        values = settings.get(section)
        if isinstance(values, Mapping) and "samples" in values:
            upgraded[section] = {**_REWARD, **values}
        if isinstance(values, Mapping) and "sum_epochs" in values:
            upgraded[section] = {**_RANKING, **values}
    stages, training = settings.get("stages"), settings.get("training")
    if isinstance(stages, Mapping) and isinstance(training, Mapping):
        own_stage = stages.get("self_critical")
        # All stages shared the schedule.
        if isinstance(own_stage, Mapping) and "schedule" not in own_stage:
            own_stage = {**own_stage, "schedule": training["schedule"]}
            upgraded["stages"] = {**stages, "self_critical": own_stage}
    data = settings.get("data")
    # Only captioners: configurations of R2M have no rows.
    if isinstance(data, Mapping) and "unit_norm" in data:
        new = {**_NEW_DATA, **(_NEW_PAIRS if "batching" in data else {})}
        upgraded["data"] = {**new, **data}
        # A checkpoint stores the preprocessing of pixels; earlier networks were all of one kind.
        if isinstance(pixels := data.get("pixels"), Mapping):
            upgraded["data"]["pixels"] = {**_NEW_PIXELS, **pixels}
    if isinstance(decoding := settings.get("decoding"), Mapping):
        # The defaults of newer fields match the behavior of these versions.
        upgraded["decoding"] = {**ConfigDict(common.decoding()).to_dict(), **decoding}
    return upgraded
