"""Flags of the commands that score captions."""

from __future__ import annotations

from typing import Any

from absl import flags

from r2m.cli.flag_groups import SCORING, put_flag
from r2m.cli.value_flags import define_choice
from r2m.evaluation.metrics import METRICS

_METRICS_HELP = (
    f"Metrics to compute, of {', '.join(METRICS)}. METEOR and SPICE require Java and are reported "
    "as unavailable without it. Default: all."
)


class _Metrics(flags.ArgumentParser):
    """Parses metrics separated by commas."""

    syntactic_help = "metrics separated by commas"

    def parse(self, argument: str) -> tuple[str, ...]:
        names = argument.split(",")
        if unknown := [name for name in names if name not in METRICS]:
            raise ValueError(f"{unknown[0]!r} is not a metric; known: {', '.join(METRICS)}")
        return tuple(names)

    def flag_type(self) -> str:
        return "metrics"


def define_scoring_flags() -> None:
    """Defines the flags of the metrics and the tokenizer."""
    flags.DEFINE_multi(
        _Metrics(),
        flags.ArgumentSerializer(),
        "metrics",
        None,
        _METRICS_HELP,
    )
    flags.FLAGS["metrics"].help = _METRICS_HELP  # absl adds that the flag may be repeated
    put_flag("metrics", SCORING, "METRIC,...")
    flags.DEFINE_alias("metric", "metrics")
    define_choice(
        "tokenizer",
        "auto",
        ("auto", "ptb", "ptb_python", "characters", "icu"),
        "ptb is the tokenizer that all papers use and requires Java; ptb_python is a "
        "reimplementation with nearly identical results. characters and icu (extra [segmenter]) "
        "are for scripts without spaces between words. auto: the --segmenter of a run; else ptb, "
        "or ptb_python without Java.",
        group=SCORING,
    )


def scoring_options() -> dict[str, Any]:
    """Returns the values of these flags, by the argument names of `score_captions`."""
    given: list[tuple[str, ...]] | None = flags.FLAGS["metrics"].value
    chosen = METRICS if given is None else [name for names in given for name in names]
    return {
        "metrics": tuple(dict.fromkeys(chosen)),
        "tokenizer": flags.FLAGS["tokenizer"].value,
    }
