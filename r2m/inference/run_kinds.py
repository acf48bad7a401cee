"""Kinds of runs by the stages that train them.

To add a kind of run that captions, write a module with a class that implements `LoadedModel`, and
add an entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from r2m.configuration.config_fields import CAPTIONER_STAGES, R2M_STAGES, RETRIEVAL_STAGES
from r2m.inference.captioner_ensemble import join_captioners
from r2m.inference.consensus import ConsensusOptions, ConsensusReranker
from r2m.inference.loaded_captioner import load_captioner
from r2m.inference.loaded_model import LoadedModel
from r2m.inference.loaded_r2m import LoadedR2M
from r2m.inference.retrieval_run import RetrievalRun
from r2m.inference.run_folder import RunFolder
from tfrecords.core.errors import InputError


class RunKind(NamedTuple):
    """A kind of run.

    Attributes:
        name: name of the task that trains it (`r2m.tasks`).
        title: noun for messages: "a run of ...".
        stages: names of its stages.
        load: loads an opened run folder; for runs that caption, as a `LoadedModel` with activations
            of the precision in the second argument
            (`r2m.configuration.training_fields.PRECISIONS`).
        captions: whether its runs caption images.
        join: makes an ensemble of several loaded runs and their weights; None if they cannot
            caption together.
        rerank: makes a reranker by consensus; None if the training has no captions of images.
    """

    name: str
    title: str
    stages: tuple[str, ...]
    load: Callable[..., Any]
    captions: bool = True
    join: Callable[[Sequence[Any], Sequence[float] | None], LoadedModel] | None = None
    rerank: Callable[[Any, ConsensusOptions], ConsensusReranker] | None = None


RUN_KINDS = (
    RunKind(
        name="captioning",
        title="a run of a supervised captioner",
        stages=CAPTIONER_STAGES,
        load=load_captioner,
        join=join_captioners,
        rerank=ConsensusReranker,
    ),
    RunKind(
        name="unsupervised_captioning",
        title="a run of R2M",
        stages=R2M_STAGES,
        load=LoadedR2M,
    ),
    RunKind(
        name="retrieval",
        title="a run of a visual-semantic embedding",
        stages=RETRIEVAL_STAGES,
        load=RetrievalRun,
        captions=False,
    ),
)


def kind_of(folder: RunFolder) -> RunKind:
    """Returns the kind of a run; raises `InputError` for a stage that belongs to no kind."""
    for kind in RUN_KINDS:
        if folder.stage in kind.stages:
            return kind
    known = "; ".join(f"{kind.name}: {', '.join(kind.stages)}" for kind in RUN_KINDS)
    raise InputError(f"{folder.path}: unknown stage {folder.stage!r}; known stages: {known}")
