"""What every R2M experiment can set, at the published values.

Other configurations start from `base.get_config()` and change what differs. Every field can be
overridden on the command line: `--config.stages.xe.steps=200`.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict, FieldReference, config_dict


def get_config(arg: str | None = None) -> ConfigDict:
    """Settings of the IJCAI 2020 paper's released code, paths left open.

    Args:
        arg: unused; present because configuration files may take one.
    """
    del arg
    return ConfigDict(
        {
            "name": "r2m",
            # Seeds weights, dropout and the order of batches.
            "seed": 0,
            "data": {
                "corpora": "",
                "images": "",
                # Concepts the encoder is shown: the best-scored ones.
                "max_concepts": 5,
                # How often one concept may be repeated when several such objects are there.
                "max_repeats": 1,
            },
            "image": {
                # `features`: vectors stored in the records. `pixels`: crops through a frozen CNN.
                "source": "features",
                "resize": 346,
                "crop": 299,
                # Any keras.applications name; weights are `imagenet`, a file or `none`.
                "backbone": "InceptionResNetV2",
                "weights": "imagenet",
                # Width multiplier of the MobileNets; 0 for all others.
                "alpha": 0.0,
            },
            "model": {
                "units": 512,
                "heads": 2,
                "decoder": "relational",
                "fusion": "attention",
                "reconstructor": "relational",
                "dropout": 0.2,
                "tie_embeddings": False,
                # Upstream leaves the image projection at its random start: `frozen`.
                "image_projection": "trained",
            },
            "loss": {"reconstruction_weight": 1.0, "margin": 0.2},
            "decoding": {
                "beam_size": 3,
                "max_length": 20,
                "length_normalization": 0.0,
                # Upstream may say <unk>; we do not.
                "allow_unknown": False,
            },
            # None is the default of the optimiser or schedule; what it does not have must be None.
            # Periods are steps, or text: "2 epochs", "0.5 epochs", "10%" (of the stage's steps).
            "training": {
                "strategy": "auto",
                # grpc://HOST:PORT of an r2m-data-service that makes the batches; None: made here.
                "data_service": _none(str),
                # float32, or mixed_bfloat16: activations of half the size.
                "precision": "float32",
                # Compiles loss and gradients of the stages that only read sentences with XLA.
                "jit": False,
                # Parts a batch is computed in, one after the other: saves memory.
                "micro_batches": 1,
                # adam, adamw, kiros_adam, rmsprop, sgd or adagrad.
                "optimizer": "adam",
                "optimizer_settings": {
                    "beta_1": _none(float),
                    "beta_2": _none(float),
                    "epsilon": _none(float),
                    "rho": _none(float),
                    "momentum": _none(float),
                    "nesterov": _none(bool),
                },
                # Of the learning rate, which is each stage's own: constant, step, noam, cosine or
                # plateau; r2m/engine/optimization/schedules.py has their formulas.
                "schedule": {
                    "name": "constant",
                    "warm_up": _any(0),
                    "decay_start": _none(object),
                    "decay_every": _none(object),
                    "decay_rate": _none(float),
                    "factor": _none(float),
                    "model_size": _none(int),
                    "final_fraction": _none(float),
                    "patience": _none(int),
                    "min_learning_rate": _none(float),
                },
                # At most one of the two.
                "clip_global_norm": _any(5.0),
                "clip_value": _none(float),
                "weight_decay": 0.0,
                # Of the average of the weights that is evaluated and kept as the best; None: none.
                "ema_decay": _none(float),
                "steps_per_loop": 10,
                "log_every": _any(100),
                "keep_checkpoints": 2,
                # A loss or gradient that is not finite: `stop`, or `skip` the batch and go on, up
                # to `max_skipped` in a row.
                "on_nonfinite": "stop",
                "max_skipped": 3,
            },
            "stages": {
                "xe": _stage(1e-4, 5_000, 500, 30),
                "xe_rec": _stage(1e-4, 6_000, 500, 40),
                "tri": _stage(1e-5, 50, 10, 40),
                "tri_rec": _stage(1e-5, 100, 10, 40),
                "joint": _stage(1e-4, 10_000, 500, 20),
            },
        }
    )


def _stage(learning_rate: float, steps: int, evaluate_every: int, max_length: int) -> dict:
    return {
        "learning_rate": learning_rate,
        "batch_size": 256,
        "steps": _any(steps),
        # Also the period of checkpoints.
        "evaluate_every": _any(evaluate_every),
        # Words of a sentence, the end marker included; longer ones are cut.
        "max_length": max_length,
    }


def _any(value: Any) -> FieldReference:
    """A field that takes values of other types too: text for a period, None for a bound."""
    return FieldReference(value, field_type=object)


def _none(kind: type) -> FieldReference:
    return config_dict.placeholder(kind)
