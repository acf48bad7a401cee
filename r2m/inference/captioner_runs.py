"""A trained captioner from its run folder alone."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from models.decoding.ensemble import Ensemble
from models.decoding.search import Captions
from pipelines import caption_batches, captions
from pipelines.caption_batches import CaptionOptions, FeatureKind
from r2m.configuration.settings import TRAINING_SPLIT
from r2m.engine.persistence import checkpoints
from r2m.inference.captioner_inputs import caption_options, saved_features
from r2m.inference.captioner_model import build_model, feature_sizes, open_network
from r2m.inference.captioning import CAPTIONED_AT_ONCE, Captioning, search_options
from r2m.inference.consensus import ConsensusOptions, open_consensus
from r2m.inference.run import TrainedRun
from r2m.inference.run_folder import load_vocabulary, saved_run
from tfrecords.errors import InputError
from tfrecords.records import Records, check_same_vocabulary


def open_run(run_folder: Path, overrides: dict[str, Any]) -> TrainedRun:
    """A trained captioner with its best checkpoint, else the latest.

    Args:
        run_folder: of a captioner's stage.
        overrides: of the run's `decoding` settings.

    Raises:
        InputError: the folder is not the run of a captioner, or an impossible setting.
        TrainingError: it holds no whole checkpoint, or one that does not fit.
    """
    config = ConfigDict(saved_run(run_folder)["config"])
    config.decoding.update(overrides)
    vocabulary = load_vocabulary(run_folder)
    checkpoints.require_best_or_latest(run_folder)
    signature = {
        name: tf.TensorSpec(shape, dtype)
        for name, (shape, dtype) in saved_features(run_folder)["inputs"].items()
    }
    network = open_network(config, load=False)
    model = build_model(config, len(vocabulary), feature_sizes(signature), network)
    checkpoints.restore_model(model, run_folder, {"vocabulary": vocabulary.sha256})
    search = search_options(config, vocabulary)

    def batches(
        records: Records, split: str, more: tuple[FeatureKind, ...] = ()
    ) -> tf.data.Dataset:
        options = _options_as_trained(run_folder, config, records)
        return _batches(records, split, options, more, run_folder, signature)

    return TrainedRun(
        folder=run_folder,
        members=(run_folder,),
        model=model,
        captioning=Captioning(model, vocabulary, search, signature),
        vocabulary=vocabulary,
        config=config,
        signature=signature,
        open_records=captions.open_captions,
        batches=batches,
        examples=captions.examples,
    )


def ensemble(runs: Sequence[TrainedRun]) -> TrainedRun:
    """Captioners that caption together; settings of search are those of the first.

    Raises:
        InputError: their vocabularies differ, or they are shown the same thing in different ways.
    """
    first = runs[0]
    signature = _common_signature(runs)

    def batches(
        records: Records, split: str, more: tuple[FeatureKind, ...] = ()
    ) -> tf.data.Dataset:
        each = [_options_as_trained(run.folder, run.config, records) for run in runs]
        options = dataclasses.replace(
            next((options for options in each if options.features), each[0]),
            features=tuple(dict.fromkeys(kind for options in each for kind in options.features)),
            pixels=next((options.pixels for options in each if options.pixels), None),
        )
        return _batches(records, split, options, more, first.folder, signature)

    model = Ensemble([run.model for run in runs], [list(run.signature) for run in runs])
    search = search_options(first.config, first.vocabulary)
    return first._replace(
        members=tuple(run.folder for run in runs),
        model=model,
        captioning=Captioning(model, first.vocabulary, search, signature),
        signature=signature,
        batches=batches,
    )


def _common_signature(runs: Sequence[TrainedRun]) -> dict[str, tf.TensorSpec]:
    """What all of the runs are shown; raises `InputError` where they do not fit together."""
    first = runs[0]
    by_pixels = [run for run in runs if run.config.image.source == "pixels"]
    by_features = [run for run in runs if run.config.image.source != "pixels"]
    signature: dict[str, tf.TensorSpec] = {}
    for run in runs:
        check_same_vocabulary(
            f"run {first.folder}", first.vocabulary.sha256,
            f"run {run.folder}", run.vocabulary.sha256,
        )  # fmt: skip
        for name, spec in run.signature.items():
            if signature.setdefault(name, spec) != spec:
                raise InputError(
                    f"{run.folder}: its {name} are {spec}, those of another member "
                    f"{signature[name]}: they cannot be shown the same features"
                )
    for run in by_pixels[1:]:
        if run.config.image.resize != by_pixels[0].config.image.resize:
            raise InputError(
                f"{run.folder} and {by_pixels[0].folder} differ in image.resize: they cannot be "
                "shown the same pixels"
            )
    for run in by_features[1:]:
        one = by_features[0]
        if run.config.data.unit_norm != one.config.data.unit_norm:
            raise InputError(
                f"{run.folder} and {one.folder} differ in data.unit_norm: they cannot be shown the "
                "same features"
            )
    made = [run for run in by_features if _has_made_features(saved_features(run.folder))]
    for run in made[1:]:
        one = made[0]
        ours, theirs = (saved_features(each.folder)["records"]["backbone"] for each in (run, one))
        _check_made_alike(f"those of {run.folder}", ours, f"those of {one.folder}", theirs)
    return signature


def by_consensus(run: TrainedRun, options: ConsensusOptions) -> TrainedRun:
    """A captioner, or ensemble, whose captions are chosen by consensus from its beams.

    The captions are those of the training images, in the records it was trained on.

    Raises:
        InputError: these are gone, or hold no vectors to find similar images by, or a vocabulary
            that is not the run's.
    """
    known = captions.open_captions(run.config.data.captions)
    check_same_vocabulary(
        f"run {run.folder}", run.vocabulary.sha256, str(known.folder), known.vocabulary_sha256
    )
    consensus = open_consensus(known, TRAINING_SPLIT, options)

    def check(other: str, backbone: Mapping[str, Any] | None) -> None:
        theirs = known.manifest["options"].get("backbone")
        _check_made_alike(f"those of {other}", backbone, f"those of {known.folder}", theirs)

    # Of image files the vectors are made as the features that these members are shown.
    shown = {member: saved_features(member) for member in run.members}
    made = [folder for folder, own in shown.items() if own["features"] and _has_made_features(own)]
    for folder in made or [run.folder]:
        check(str(folder), shown[folder]["records"]["backbone"])

    def batches(records: Records, split: str) -> tf.data.Dataset:
        check(str(records.folder), records.manifest["options"].get("backbone"))
        return run.batches(records, split, ("global_feature",))

    def worth(inputs: Mapping[str, tf.Tensor], found: Captions) -> np.ndarray:
        return consensus.worth(inputs["global"].numpy(), *found)

    config = copy.deepcopy(run.config)
    config.decoding.update(dataclasses.asdict(options))
    search = search_options(config, run.vocabulary, returned=None)
    return run._replace(
        config=config,
        captioning=Captioning(run.model, run.vocabulary, search, run.signature, worth),
        batches=batches,
    )


def _options_as_trained(run_folder: Path, config: Any, records: Records) -> CaptionOptions:
    """What a trained captioner is shown of records: the kinds of features that it learned from.

    Raises:
        InputError: the records do not hold them, or hold what was made in another way.
    """
    options = caption_options(config, records)
    if options.pixels is not None:
        return options
    shown = saved_features(run_folder)
    kinds = tuple(shown["features"])
    if missing := [kind for kind in kinds if kind not in records.feature_names]:
        raise InputError(
            f"{records.folder} holds {', '.join(options.features)}, and no {missing[0]}, which the "
            f"captioner of {run_folder} was trained on: give records that were built as those"
        )
    if _has_made_features(shown):
        _check_made_alike(
            f"those of {records.folder}",
            records.manifest["options"].get("backbone"),
            f"those that {run_folder} was trained on",
            shown["records"]["backbone"],
        )
    return dataclasses.replace(options, features=kinds)


def _has_made_features(shown: Mapping[str, Any]) -> bool:
    """Whether a backbone may have made what is shown: regions are always made elsewhere."""
    return shown["features"] != ["region_feature"]


def _check_made_alike(
    one: str, ours: Mapping[str, Any] | None, other: str, theirs: Mapping[str, Any] | None
) -> None:
    """Raises `InputError` unless features come from the same network, fed and kept alike.

    Args:
        one: whose, for the message.
        ours: the backbone in the options of records; None where features were made elsewhere.
        other: as `one`.
        theirs: as `ours`.
    """
    elsewhere = {"name": "made elsewhere"}
    a, b = ours or elsewhere, theirs or elsewhere
    # How many images went through it at a time makes no difference.
    differ = [key for key in a if key in b and a[key] != b[key] and key != "batch_size"]
    if differ:
        raise InputError(
            f"features were made in two ways: {one} with {_listed(a, differ)}, {other} with "
            f"{_listed(b, differ)}; the same network has to make both"
        )


def _listed(backbone: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {backbone[key]!r}" for key in keys)


def _batches(
    records: Records,
    split: str,
    options: CaptionOptions,
    more: tuple[FeatureKind, ...],
    run_folder: Path,
    signature: Mapping[str, tf.TensorSpec],
) -> tf.data.Dataset:
    """Images of a split, with `more` than `options` tells of features.

    Raises:
        InputError: they are not of the sizes in `signature`.
    """
    kinds = tuple(dict.fromkeys((*options.features, *more)))
    options = dataclasses.replace(options, features=kinds)
    found = caption_batches.image_batches(records, split, options, batch_size=CAPTIONED_AT_ONCE)
    for name, spec in signature.items():
        shape = found.element_spec[name].shape
        if not spec.shape.is_compatible_with(shape):
            raise InputError(
                f"{records.folder}: its {name} are of shape {shape}, those that {run_folder} was "
                f"trained on of {spec.shape}: give records that were built as those"
            )
    return found
