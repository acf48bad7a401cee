"""Construction of the visual-semantic embedding that a configuration describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.vse import PixelNetwork, VisualSemanticEmbedding
from pipelines.retrieval_batches import PairOptions
from r2m.configuration.settings import precision, setting
from tfrecords.core.vocabulary import END_ID, START_ID
from tfrecords.pictures.backbones import Network


def build_embedding(
    config: Any,
    vocabulary_size: int,
    sizes: Mapping[str, int | None],
    network: Network | None,
    dtype: str = "float32",
) -> VisualSemanticEmbedding:
    """Builds the embedding that `config.model` describes.

    Args:
        config: configuration of the experiment.
        vocabulary_size: V.
        sizes: sizes of stored features, see `InputSpec.sizes`.
        network: backbone of a model of pixels; None for stored features.
        dtype: dtype of the activations.

    Raises:
        InputError: a setting is invalid.
    """
    chosen = config.model.to_dict()
    rows = chosen.pop("image_input") == "regions"
    pixels = None
    if network is None:
        stored = sizes["region_size" if rows else "global_size"]
        assert stored is not None, "the signature of features contains their size"
        feature_size = stored
    else:
        feature_size = network.output_shape[-1]
        pixels = PixelNetwork(
            network.model,
            network.preprocess,
            config.image.trained_from,
            config.image.average_mirrored,
        )
    with precision(dtype), setting("config.model and config.image"):
        return VisualSemanticEmbedding(
            vocabulary_size=vocabulary_size,
            feature_size=feature_size,
            pixel_rows=rows,
            pixels=pixels,
            name="visual_semantic_embedding",
            **chosen,
        )


def pair_options(config: Any) -> PairOptions:
    """Returns the options of sentences and of their batches from `config.data`."""
    data = config.data
    with setting("config.data"):
        return PairOptions(
            batching=data.batching,
            captions_per_image=data.captions_per_image,
            max_length=data.max_length,
            start_marker=data.start_marker,
            word_noise=data.word_noise,
        )


def encoder_ids(words: Sequence[int], options: PairOptions) -> list[int]:
    """Returns the ids of a sentence with the markers that the encoder reads.

    Args:
        words: ids without markers.
        options: options of the sentences.
    """
    start = [START_ID] if options.start_marker else []
    return [*start, *words[: options.max_length - 1], END_ID]
