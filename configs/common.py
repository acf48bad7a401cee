"""Sections that configurations of every kind share, and their fields of several types."""

from __future__ import annotations

import difflib
from typing import Any

from ml_collections import FieldReference, config_dict


def training() -> dict[str, Any]:
    """Settings of training: `config.training`.

    A field is named as its option in `r2m.engine.options`. None is the default of the optimizer or
    schedule; settings that these do not have must be None. Durations are steps, or text:
    "2 epochs", "0.5 epochs", "10%" (of the stage's steps).
    """
    return {
        # Devices that train together: one_device (the first GPU or the CPU), mirrored (all GPUs of
        # this machine), multi_worker (all machines that TF_CONFIG lists), or auto: all there are.
        "strategy": "auto",
        # grpc://HOST:PORT of an r2m-data-service that makes the batches; None: made here.
        "data_service": none_of(str),
        # float32, or mixed_bfloat16: activations of half the size.
        "precision": "float32",
        # Compiles loss and gradients of the stages that only read sentences with XLA.
        "jit": False,
        # Parts a batch is computed in, and how many of them at once. One after the other they save
        # memory; on the cores of a processor, as many at once as there are cores save time.
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
        # Of the learning rate, which is each stage's own.
        "schedule": schedule(),
        # At most one of the two.
        "clip_global_norm": any_type(5.0),
        "clip_value": none_of(float),
        "weight_decay": 0.0,
        # Of the average of the weights that is evaluated and kept as the best; None: none.
        "ema_decay": none_of(float),
        "steps_per_loop": 10,
        "log_every": any_type(100),
        "keep_checkpoints": 2,
        # A loss or gradient that is not finite: `stop`, or `skip` the batch and go on, up
        # to `max_skipped` in a row.
        "on_nonfinite": "stop",
        "max_skipped": 3,
    }


def schedule() -> dict[str, Any]:
    """Changes of the learning rate: constant, step, noam, cosine or plateau.

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
    """Settings of decoding, in validation and in use: `config.decoding`.

    A field is named as its option in `models.decoding.options`, which describes it.
    """
    return {
        # `beam`, or captions drawn word by word: `sample`, or `gumbel` by the largest log p with
        # Gumbel noise.
        "method": "beam",
        # Hypotheses that are kept alive; 1: greedy search.
        "beam_size": 3,
        "max_length": 20,
        # Score of a caption of n words, end marker included: log p divided by n**alpha (`power`) or
        # ((5 + n) / 6)**alpha (`wu`), alpha being `length_normalization`.
        "length_penalty": "power",
        "length_normalization": 0.0,
        # Diverse beam search: equal groups of the beam, and what a word loses in log p per
        # hypothesis of the groups before that has it at the same step.
        "beam_groups": 1,
        "diversity": 0.5,
        # Fewest words, the end marker not counted.
        "min_length": 0,
        # Whether three words in a row may occur once only, whether a word may not follow itself,
        # and whether captions may not end with articles, prepositions and forms of "to be".
        "block_trigrams": False,
        "block_repeats": False,
        "block_bad_endings": False,
        # Words and phrases that each caption contains, and that none contains: "dog, red car".
        "must_contain": "",
        "must_not_contain": "",
        # Of `sample` and `gumbel`: log p is divided by the temperature; words are drawn among the
        # likeliest `top_k`, and of these among the first whose probabilities sum to `top_p`.
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
    """Settings of one stage of training: a section of `config.stages`.

    Args:
        learning_rate: initial learning rate of the schedule.
        batch_size: examples per step, over all replicas.
        steps: a period.
        evaluate_every: a period, also of checkpoints.
    """
    return {
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "steps": any_type(steps),
        "evaluate_every": any_type(evaluate_every),
    }


def any_type(value: Any) -> FieldReference:
    """Returns a field that takes values of other types too: text for a period, None for a bound."""
    return FieldReference(value, field_type=object)


def none_of(kind: type) -> FieldReference:
    """Returns a field of that type that is None until it is set."""
    return config_dict.placeholder(kind)


def check_argument(arg: str | None, *known: str) -> None:
    """Refuses what follows the colon in `--config=FILE:ARG`, unless it is one of the known words.

    Raises:
        ValueError: lists them, with the nearest one.
    """
    if arg is None or arg in known:
        return
    if not known:
        raise ValueError(f"unknown argument {arg!r}: this configuration takes none")
    near = difflib.get_close_matches(arg, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"unknown argument {arg!r}; known: {', '.join(known)}{meant}")
