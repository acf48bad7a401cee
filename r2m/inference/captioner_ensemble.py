"""Ensembles of captioners, each loaded from its run folder."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models.decoding.ensemble import Ensemble
from pipelines.inputs.spec import InputSpec
from r2m.configuration.settings import setting
from r2m.inference.captioner_inputs import TrainedInputs, check_same_origin
from r2m.inference.loaded_captioner import LoadedCaptioner
from tfrecords.core.errors import InputError
from tfrecords.core.records import check_same_vocabulary


def join_captioners(
    members: Sequence[LoadedCaptioner], weights: Sequence[float] | None = None
) -> LoadedCaptioner:
    """Returns an ensemble that averages the word probabilities of its members.

    Args:
        members: captioners with the same vocabulary.
        weights: weights of the probabilities of each; None: all equal.

    Raises:
        InputError: their vocabularies differ, they compute an input in different ways, or the
            weights are not one positive number per member.
    """
    trained_on = tuple(own for member in members for own in member.trained_on)
    signature, inputs = _common_signature(members), _common_inputs(trained_on)
    with setting("ensemble_weights"):
        model = Ensemble(
            members=[member.model for member in members],
            member_inputs=[list(member.signature) for member in members],
            weights=weights,
        )
    return LoadedCaptioner(
        folders=tuple(folder for member in members for folder in member.folders),
        model=model,
        vocabulary=members[0].vocabulary,
        trained_on=trained_on,
        inputs=inputs,
        signature=signature,
    )


def _common_signature(members: Sequence[LoadedCaptioner]) -> dict[str, tf.TensorSpec]:
    """Returns the inputs of all members; raises `InputError` if they are incompatible."""
    first = members[0]
    signature: dict[str, tf.TensorSpec] = {}
    for member in members:
        path = member.folders[0].path
        check_same_vocabulary(
            f"run {first.folders[0].path}", first.vocabulary.sha256,
            f"run {path}", member.vocabulary.sha256,
        )  # fmt: skip
        for name, spec in member.signature.items():
            if signature.setdefault(name, spec) != spec:
                raise InputError(
                    f"{path} reads {name} as {spec}, another member as {signature[name]}: the "
                    "members of an ensemble must read the same features"
                )
    return signature


def _common_inputs(trained_on: Sequence[TrainedInputs]) -> InputSpec:
    """Returns the inputs of all members; raises `InputError` if one is computed in two ways."""
    inputs = trained_on[0].inputs
    for number, own in enumerate(trained_on):
        for other in trained_on[:number]:
            try:
                _ = own.inputs.union(other.inputs)
            except ValueError as error:
                raise InputError(f"{own.path} and {other.path} {error}") from error
        inputs = inputs.union(own.inputs)
    extracted = [own for own in trained_on if own.reads_backbone]
    for own in extracted[1:]:
        check_same_origin(
            f"those of {own.path}", own.backbone,
            f"those of {extracted[0].path}", extracted[0].backbone,
            regions=own.needs_detections and extracted[0].needs_detections,
        )  # fmt: skip
    return inputs
