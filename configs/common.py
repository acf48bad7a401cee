"""Sections shared by configurations of every kind, and their fields of several types."""

from __future__ import annotations

import difflib
from typing import Any

from ml_collections import FieldReference, config_dict


def training() -> dict[str, Any]:
    """Returns the settings of training: `config.training`.

    A field has the name of its option in `r2m.engine.options`. None is the default of the optimizer
    or schedule; settings that these do not have must be None. Durations are steps, or text: "2
    epochs", "0.5 epochs", "10%" (of the stage's steps).
    """
    return {
        # Devices that train together: one_device (the first GPU or the CPU), mirrored (all GPUs of
        # this machine), multi_worker (all machines that TF_CONFIG lists), or auto: all available
        # ones.
        "strategy": "auto",
        # grpc://HOST:PORT of an r2m-data-service that makes the batches; None: in this process.
        "data_service": none_of(str),
        # float32, or mixed_bfloat16: activations of half the size.
        "precision": "float32",
        # Compiles loss and gradients of the stages that only read sentences with XLA.
        "jit": False,
        # Number of parts of a batch, and how many of them are computed in parallel. One after the
        # other they save memory; one per core in parallel saves time.
        "micro_batches": 1,
        "at_once": 1,
        # adam, adamw, kiros_adam, rmsprop, sgd or adagrad.
        "optimizer": "adam",
        "optimizer_settings": {
            "beta_1": none_of(float),
            "beta_2": none_of(float),
            "epsilon": none_of(float),
            "rho": none_of(float),
            "momentum": none_of(float),
            "nesterov": none_of(bool),
        },
        # Schedule of the learning rate, which each stage sets.
        "schedule": schedule(),
        # At most one of these two.
        "clip_global_norm": any_type(5.0),
        "clip_value": none_of(float),
        "weight_decay": 0.0,
        # Decay of the average of the weights for evaluation and the best checkpoint; None: none.
        "ema_decay": none_of(float),
        "steps_per_loop": 10,
        "log_every": any_type(100),
        "keep_checkpoints": 2,
        # For a loss or gradient that is not finite: `stop`, or `skip` up to `max_skipped`
        # consecutive batches.
        "on_nonfinite": "stop",
        "max_skipped": 3,
    }


def schedule() -> dict[str, Any]:
    """Returns the schedule of the learning rate: constant, step, noam, cosine or plateau.

    `r2m/engine/optimization/schedules.py` has their formulas.
    """
    return {
        "name": "constant",
        "warm_up": any_type(0),
        "decay_start": none_of(object),
        "decay_every": none_of(object),
        "decay_rate": none_of(float),
        "factor": none_of(float),
        "model_size": none_of(int),
        "final_fraction": none_of(float),
        "patience": none_of(int),
        "min_learning_rate": none_of(float),
    }


def decoding() -> dict[str, Any]:
    """Returns the settings of decoding, in validation and in use: `config.decoding`.

    A field has the name of its option in `models.decoding.options`, which describes it.
    """
    return {
        # `beam`, or captions drawn word by word: `sample`, or `gumbel` by the largest log p with
        # Gumbel noise.
        "method": "beam",
        # Number of hypotheses that are kept; 1: greedy search.
        "beam_size": 3,
        "max_length": 20,
        # Score of a caption of n words, end marker included: log p divided by n**alpha (`power`) or
        # ((5 + n) / 6)**alpha (`wu`), alpha being `length_normalization`.
        "length_penalty": "power",
        "length_normalization": 0.0,
        # Diverse beam search: number of groups of the beam, and penalty on log p of a word per
        # hypothesis of earlier groups that has it at the same step.
        "beam_groups": 1,
        "diversity": 0.5,
        # Minimum number of words, end marker not included.
        "min_length": 0,
        # Whether to forbid repeated trigrams, words that follow themselves, and captions that end
        # with articles, prepositions and forms of "to be".
        "block_trigrams": False,
        "block_repeats": False,
        "block_bad_endings": False,
        # Words and phrases that captions must, and must not, contain: "dog, red car".
        "must_contain": "",
        "must_not_contain": "",
        # For `sample` and `gumbel`: log p is divided by the temperature; words are drawn among the
        # most likely `top_k`, and of these among the first whose probabilities sum to `top_p`.
        "temperature": 1.0,
        "top_k": none_of(int),
        "top_p": 1.0,
        "sampling_seed": 0,
        # Whether <unk> may be generated.
        "allow_unknown": False,
    }


def stage(
    *, learning_rate: float, batch_size: int, steps: int | str, evaluate_every: int | str
) -> dict[str, Any]:
    """Returns the settings of one stage of training: a section of `config.stages`.

    Args:
        learning_rate: initial learning rate of the schedule.
        batch_size: examples per step, over all replicas.
        steps: duration of the stage.
        evaluate_every: duration between evaluations, and between checkpoints.
    """
    return {
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "steps": any_type(steps),
        "evaluate_every": any_type(evaluate_every),
    }


def any_type(value: Any) -> FieldReference:
    """Returns a field that also accepts other types: text for a duration, None for a bound."""
    return FieldReference(value, field_type=object)


def none_of(kind: type) -> FieldReference:
    """Returns a field of that type that is None until it is set."""
    return config_dict.placeholder(kind)


def check_argument(arg: str | None, *known: str) -> None:
    """Checks that ARG in `--config=FILE:ARG` is one of the known words.

    Raises:
        ValueError: it is not; the message lists them, with the nearest one.
    """
    if arg is None or arg in known:
        return
    if not known:
        raise ValueError(f"unknown argument {arg!r}: this configuration takes none")
    near = difflib.get_close_matches(arg, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"unknown argument {arg!r}; known: {', '.join(known)}{meant}")
