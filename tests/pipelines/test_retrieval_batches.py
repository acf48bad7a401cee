"""Batches of pairs: every caption once per epoch, with its image; noise; order and resume."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipelines import retrieval_batches
from pipelines.batching import fold_in
from pipelines.inputs.global_vector import GlobalVector
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from pipelines.pairs import compact_lines, count_pairs, pair_stream
from pipelines.retrieval_batches import PairOptions, add_word_noise, batches_per_epoch
from tests.pipelines.test_caption_batches import IMAGES, example, records, sentences_of  # noqa: F401
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records

VECTORS = InputSpec((GlobalVector(),))
ALL = [sentence for image in range(IMAGES) for sentence in sentences_of(image)]


def epochs(
    records: Records,  # noqa: F811
    count: int = 1,
    in_memory: bool = False,
    **changes: Any,
) -> list[Any]:
    """Returns all batches of some epochs."""
    options = PairOptions(**{k: v for k, v in changes.items() if k in PairOptions.__annotations__})
    others = {k: v for k, v in changes.items() if k not in PairOptions.__annotations__}
    settings = {"batch_size": 8, "seed": 3, "inputs": VECTORS, **others}
    counts = count_pairs(records, "train", ("global_feature",))
    if in_memory:
        columns = settings["inputs"].columns
        counts = counts._replace(lines=compact_lines(records, "train", columns, views=True))
    first = settings.get("first_step", 0)
    steps = count * batches_per_epoch(counts, options, settings["batch_size"]) - first
    found = retrieval_batches.training_batches(
        records, settings.pop("inputs"), options, counts, vocabulary_size=300, **settings
    )
    return list(itertools.islice(found.as_numpy_iterator(), steps))


def sentences(batches: list[Any]) -> list[list[int]]:
    return [
        row[:length].tolist()
        for batch in batches
        for row, length in zip(
            batch["tokens"].reshape(-1, batch["tokens"].shape[-1]),
            batch["lengths"].reshape(-1),
            strict=True,
        )
    ]


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("batching", ["shuffled", "same_length"])
def test_an_epoch_has_every_caption_once_beside_its_image(
    records,  # noqa: F811
    batching,
    in_memory,
) -> None:
    found = epochs(records, 2, in_memory=in_memory, batching=batching)
    per_epoch = len(found) // 2
    assert all(len(batch["lengths"]) <= 8 for batch in found)
    for part in (found[:per_epoch], found[per_epoch:]):
        assert sorted(sentences(part)) == sorted(ALL)
    assert sentences(found[:per_epoch]) != sentences(found[per_epoch:])
    for batch in found:
        # The second word is 100 plus the number of the image, which determines its vector.
        numbers = batch["tokens"][:, 1] - 100
        expected = [np.random.default_rng(n).normal(size=3).astype(np.float16) for n in numbers]
        np.testing.assert_allclose(batch["global"], np.stack(expected), rtol=1e-3)
        same = np.equal.outer(numbers, numbers)
        np.testing.assert_array_equal(np.equal.outer(batch["owners"], batch["owners"]), same)
    if batching == "same_length":
        assert all(len(set(batch["lengths"])) == 1 for batch in found)
        sizes = Counter(len(sentence) for sentence in ALL)
        assert per_epoch == sum(-(-count // 8) for count in sizes.values())
    else:
        assert [len(b["lengths"]) for b in found[:per_epoch]].count(8) >= per_epoch - 1


def test_a_pass_takes_one_further_caption_of_each_image(records) -> None:  # noqa: F811
    counts = count_pairs(records, "train", ())
    key = tf.constant([3, 0], tf.int64)
    lines = [pair["line"].numpy() for pair in pair_stream(records, counts, key)]
    assert len(set(lines[:IMAGES])) == IMAGES
    second = lines[IMAGES:][: sum(len(sentences_of(image)) > 1 for image in range(IMAGES))]
    assert len(set(second)) == len(second)


@pytest.mark.parametrize("batching", ["shuffled", "same_length"])
def test_a_run_goes_on_where_it_was(records, batching) -> None:  # noqa: F811
    assert_resumes(records, {"batching": batching, "word_noise": 0.3})


def test_a_run_of_several_captions_per_image_goes_on_where_it_was(records) -> None:  # noqa: F811
    assert_resumes(records, {"captions_per_image": 2, "word_noise": 0.3})


def assert_resumes(records: Records, settings: dict[str, Any]) -> None:  # noqa: F811
    whole = epochs(records, 2, **settings)
    for first in (1, len(whole) // 2 + 2):
        again = epochs(records, 2, first_step=first, **settings)
        for one, other in zip(whole[first:], again, strict=True):
            assert one.keys() == other.keys()
            assert all(np.array_equal(one[name], other[name]) for name in one)
    other_seed = epochs(records, 2, seed=4, **settings)
    assert sentences(other_seed) != sentences(whole)


@pytest.mark.parametrize("in_memory", [False, True])
def test_an_epoch_has_every_image_once_with_several_captions(
    records,  # noqa: F811
    in_memory,
) -> None:
    found = epochs(records, 2, in_memory=in_memory, captions_per_image=2)
    per_epoch = len(found) // 2
    assert per_epoch == -(-IMAGES // 4)
    orders = []
    for part in (found[:per_epoch], found[per_epoch:]):
        orders.append([n for batch in part for n in batch["tokens"][:, 0, 1] - 100])
        assert sorted(orders[-1]) == list(range(IMAGES))
        for batch in part:
            assert batch["tokens"].shape[:2] == batch["lengths"].shape == (len(batch["owners"]), 2)
            assert len(set(batch["owners"].tolist())) == len(batch["owners"])
            numbers = batch["tokens"][:, 0, 1] - 100
            expected = [np.random.default_rng(n).normal(size=3).astype(np.float16) for n in numbers]
            np.testing.assert_allclose(batch["global"], np.stack(expected), rtol=1e-3)
            for number, own, lengths in zip(
                numbers, batch["tokens"], batch["lengths"], strict=True
            ):
                rows = [row[:length].tolist() for row, length in zip(own, lengths, strict=True)]
                assert all(row in sentences_of(number) for row in rows)
                # Two different captions, if the image has two.
                assert (rows[0] != rows[1]) == (len(sentences_of(number)) > 1)
    assert orders[0] != orders[1]


def test_sentences_are_cut_and_begin_as_asked(records) -> None:  # noqa: F811
    whole = sentences(epochs(records))
    assert all(row[0] == 1 and row[-1] == 2 for row in whole)
    bare = sentences(epochs(records, start_marker=False))
    assert sorted(bare) == sorted(row[1:] for row in ALL)
    cut = sentences(epochs(records, max_length=2))
    assert sorted(cut) == sorted([1, row[1], 2] for row in ALL)


def test_noise_masks_exchanges_and_removes_words_and_leaves_markers() -> None:
    rows = tf.ragged.constant([[1, *range(10, 60), 2]] * 400, dtype=tf.int64)
    found = add_word_noise(rows, 0.2, 100, tf.constant([3, 4], tf.int64))
    assert bool(tf.reduce_all(found[:, :1].values == 1))
    assert bool(tf.reduce_all(found[:, -1:].values == 2))
    words = found[:, 1:-1].values.numpy()
    total = 400 * 50
    assert np.mean(words == 99) * len(words) / total == pytest.approx(0.1, abs=0.01)
    assert 1 - len(words) / total == pytest.approx(0.08, abs=0.01)
    strange = np.sum(words > 59) - np.sum(words == 99) + np.sum(words < 10)
    # A tenth of the noisy fifth is replaced, by one of 96 words, 46 of which are in no sentence.
    assert strange / total == pytest.approx(0.02 * 46 / 96, abs=0.005)
    assert words.min() >= 3 and words.max() <= 99
    untouched = add_word_noise(rows, 0.0, 100, fold_in(tf.constant([3, 4], tf.int64), 1))
    assert bool(tf.reduce_all(untouched.values == rows.values))


def test_regions_are_in_the_batches(records) -> None:  # noqa: F811
    inputs = InputSpec((Regions(use_box=True),))
    kept = count_pairs(records, "train", ())._replace(
        lines=compact_lines(records, "train", inputs.columns, views=True)
    )
    assert kept.lines is not None and max(map(len, kept.lines.numpy())) < len(example(4))
    assert compact_lines(records, "train", inputs.columns, views=True, max_bytes=99) is None
    found = epochs(records, inputs=inputs, in_memory=True)
    for batch in found:
        numbers = batch["tokens"][:, 1] - 100
        np.testing.assert_array_equal(batch["region_lengths"], numbers % 4)


def test_images_without_features_are_named(records) -> None:  # noqa: F811
    counts = count_pairs(records, "train", ())
    assert counts.pairs == len(ALL) and counts.max_captions == 5
    # Every fourth image has no region.
    with pytest.raises(
        InputError, match=r"'train'.*all zero.*\(6 in all\): .*0\.jpg.*, \.\.\.\. Extract"
    ):
        count_pairs(records, "train", ("region_feature",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batching": "sorted"}, "known: shuffled, same_length"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"captions_per_image": 0}, "captions_per_image must be at least 1"),
        ({"captions_per_image": 2, "batching": "same_length"}, "captions of an image differ"),
        ({"word_noise": 1.0}, "below 1"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairOptions(**options)
