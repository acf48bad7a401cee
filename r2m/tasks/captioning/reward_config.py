"""Options of self-critical training from `config.reward`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from losses.cider_reward import CiderReward
from pipelines.caption_batches import CaptionOptions
from pipelines.similar_references import SimilarReferences
from r2m.configuration.settings import TRAINING_SPLIT, setting
from r2m.inference.captioning import search_options
from r2m.tasks.captioning.cross_entropy import CrossEntropyOptions
from r2m.tasks.captioning.self_critical import SelfCritical, SelfCriticalOptions
from tfrecords.core.files import sha256_file
from tfrecords.core.records import Records
from tfrecords.language.document_frequencies import DocumentFrequencies, kept_frequencies


def reward_options(config: Any) -> SelfCriticalOptions:
    """Returns the options of self-critical training; raises `InputError` for invalid ones."""
    with setting("config.reward"):
        return SelfCriticalOptions(**option_fields(config))


def reward_settings(config: Any) -> dict[str, Any]:
    """Returns the `config.reward` settings that must not change on resume; files by contents."""
    file = config.reward.document_frequencies
    settings = option_fields(config)
    if file:
        settings["document_frequencies"] = sha256_file(Path(file))
    if config.reward.get("cross_entropy_weight"):
        settings["cross_entropy"] = dataclasses.asdict(_cross_entropy(config))
    return settings


def reward_objective(
    config: Any, options: SelfCriticalOptions, records: Records, *, keep: bool
) -> SelfCritical:
    """Returns the objective of self-critical training.

    Args:
        config: configuration of the experiment.
        options: options of the objective.
        records: records of kind `captions` for training.
        keep: whether to save counted document frequencies; only one of several processes should.

    Raises:
        InputError: document frequencies cannot be read, or belong to another vocabulary; similar
            images cannot be found.
    """
    vocabulary = records.vocabulary()
    if file := config.reward.document_frequencies:
        frequencies = DocumentFrequencies.load(
            file, vocabulary_sha256=vocabulary.sha256, vocabulary_of=str(records.folder)
        )
    else:
        frequencies = kept_frequencies(records, TRAINING_SPLIT, keep=keep)
    return SelfCritical(
        options,
        CiderReward(frequencies.keys, frequencies.counts, frequencies.images),
        search_options(config, vocabulary).suppressed,
        _cross_entropy(config) if options.cross_entropy_weight else None,
        _similar_references(options, records) if options.neighbors else None,
    )


def _cross_entropy(config: Any) -> CrossEntropyOptions:
    """Returns the options of the cross entropy that is mixed in.

    It feeds the reference words, and leaves no caption out.
    """
    with setting("config.loss"):
        return CrossEntropyOptions(smoothing=config.loss.smoothing, reduction=config.loss.reduction)


def _similar_references(options: SelfCriticalOptions, records: Records) -> SimilarReferences:
    length = CaptionOptions(max_length=options.max_length)
    return SimilarReferences(records, TRAINING_SPLIT, length, options.neighbors)


def option_fields(config: Any) -> dict[str, Any]:
    """Returns the fields of `SelfCriticalOptions` in `config.reward`: all but the file."""
    settings: dict[str, Any] = config.reward.to_dict()
    del settings["document_frequencies"]
    return settings
