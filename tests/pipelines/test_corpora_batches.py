"""Sentence batches: content, order, resume."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import tensorflow as tf

from pipelines import corpora
from pipelines.inputs.concepts import Concepts
from tfrecords.core.errors import InputError

OPTIONS = Concepts(max_concepts=4)


@pytest.fixture(scope="module")
def records(corpora_folder):
    return corpora.open_corpora(str(corpora_folder))


def _batches(records, count, **changes):
    settings = {
        "batch_size": 16, "max_length": 20, "seed": 5, "concepts": OPTIONS, **changes
    }  # fmt: skip
    dataset = corpora.training_batches(records, **settings)
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def _epoch_size(records, batch_size=16):
    return -(-records.count("train") // batch_size)


def _sentences(batches):
    return sorted(
        tuple(row[: length + 1])
        for batch in batches
        for row, length in zip(batch["tokens"].tolist(), batch["lengths"], strict=True)
    )


def _equal(a, b):
    return all(
        x.keys() == y.keys() and all(np.array_equal(x[key], y[key]) for key in x)
        for x, y in zip(a, b, strict=True)
    )


def test_an_epoch_holds_every_sentence_once(records):
    size = _epoch_size(records)
    batches = _batches(records, 2 * size)
    first, second = _sentences(batches[:size]), _sentences(batches[size:])
    assert len(first) == records.count("train") == len(set(first))
    assert first == second
    assert not _equal(batches[:size], batches[size:])


@pytest.mark.parametrize("difference", [-1, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_manifest_that_counts_wrongly_is_found_out(records, split, difference):
    manifest = copy.deepcopy(records.manifest)
    manifest["splits"][split]["count"] += difference
    other = dataclasses.replace(records, manifest=manifest)
    with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain"):
        if split == "train":
            _batches(other, 2 * _epoch_size(records))
        else:
            list(corpora.validation_batches(
                other, batch_size=16, max_length=20, concepts=OPTIONS
            ))  # fmt: skip


@pytest.mark.parametrize("few_shapes", [False, True])
def test_batches_have_the_documented_layout(records, few_shapes):
    multiple = 4 if few_shapes else 1
    for batch in _batches(records, 10, few_shapes=few_shapes):
        tokens, lengths = batch["tokens"], batch["lengths"]
        assert {value.dtype for value in batch.values()} == {np.dtype("int32")}
        assert tokens.shape[1] - 1 == -(-lengths.max() // multiple) * multiple
        assert (tokens[:, 0] == 1).all()
        for row, length in zip(tokens, lengths, strict=True):
            assert row[length] == 2
            assert (row[1:length] > 2).all()
            assert not row[length + 1 :].any()
        most = OPTIONS.max_concepts if few_shapes else batch["concept_lengths"].max()
        assert batch["concepts"].shape[1] == most
        for row, length in zip(batch["concepts"], batch["concept_lengths"], strict=True):
            assert 1 <= length <= 4
            assert (row[:length] > 2).all()
            assert not row[length:].any()


def test_like_lengths_share_a_batch(records):
    spreads = [np.ptp(batch["lengths"]) for batch in _batches(records, _epoch_size(records))]
    assert np.mean(spreads) < 2


@pytest.mark.parametrize("first_step", [1, 7, 18, 40])
def test_batches_depend_on_their_number_only(records, first_step):
    whole = _batches(records, first_step + 5)
    assert _equal(whole[first_step:], _batches(records, 5, first_step=first_step))


def test_the_global_seed_of_tensorflow_plays_no_part(records):
    tf.random.set_seed(1)
    first = _batches(records, 4)
    tf.random.set_seed(2)
    assert _equal(first, _batches(records, 4))


def test_another_seed_gives_another_order(records):
    assert not _equal(_batches(records, 5), _batches(records, 5, seed=6))


def test_long_sentences_are_cut_and_lose_their_end(records):
    batches = _batches(records, _epoch_size(records), max_length=6)
    assert max(batch["lengths"].max() for batch in batches) == 6
    cut = [row for b in batches for row, n in zip(b["tokens"], b["lengths"], strict=True) if n == 6]
    assert any(row[6] != 2 for row in cut)


def test_concepts_are_shuffled_in_training_and_kept_in_validation(records):
    def order_of(batches):
        return {
            (tuple(row[: n + 1]), tuple(concepts[:k]))
            for b in batches
            for row, n, concepts, k in zip(
                b["tokens"].tolist(), b["lengths"],
                b["concepts"].tolist(), b["concept_lengths"], strict=True,
            )
        }  # fmt: skip

    size = _epoch_size(records)
    seen = order_of(_batches(records, 6 * size))
    assert len(seen) > records.count("train")
    validation = [
        list(
            corpora.validation_batches(
                records, batch_size=8, max_length=20, concepts=OPTIONS
            ).as_numpy_iterator()
        )
        for _ in range(2)
    ]
    assert _equal(*validation)
    assert sum(len(b["lengths"]) for b in validation[0]) == records.count("val")


def test_repeats_follow_the_number_of_objects_spoken_of(records):
    vocabulary = records.vocabulary()
    dogs = vocabulary.id_of("dogs"), vocabulary.id_of("dog")
    options = Concepts(max_concepts=4, max_repeats=3)
    checked = 0
    for batch in _batches(records, 15, concepts=options):
        for row, concepts in zip(batch["tokens"], batch["concepts"], strict=True):
            if dogs[0] in row:
                assert list(concepts).count(dogs[1]) == 2
                checked += 1
            elif dogs[1] in row:
                assert list(concepts).count(dogs[1]) == 1
    assert checked > 5


def test_a_truncated_shard_is_an_error(records, tmp_path):
    import shutil

    folder = tmp_path / "records"
    shutil.copytree(records.folder, folder)
    shard = next(folder.glob("*.tfrecord*"))
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(InputError, match=shard.name):
        corpora.open_corpora(str(folder))


def test_image_records_are_refused(images_folder):
    with pytest.raises(InputError, match="corpora"):
        corpora.open_corpora(str(images_folder))


def test_word_dropout_and_scheduled_sampling_change_previous_words_only(records):
    rates = {"word_dropout": 0.3, "scheduled_sampling": 0.6}
    plain, changing = _batches(records, 12), _batches(records, 12, **rates)
    unknown = records.vocabulary().unk_id
    hidden, own, both = [], [], []
    for batch, other in zip(plain, changing, strict=True):
        previous, own_words = other.pop("previous"), other.pop("own_words")
        assert _equal([batch], [other])
        words = batch["tokens"][:, :-1]
        assert previous.shape == words.shape == own_words.shape
        assert (previous[:, 0] == words[:, 0]).all() and not own_words[:, 0].any()
        changed = previous != words
        assert (previous[changed] == unknown).all()
        real = (np.arange(words.shape[1]) < batch["lengths"][:, None])[:, 1:]
        hidden += changed[:, 1:][real].tolist()
        own += own_words[:, 1:][real].tolist()
        both += (changed & own_words)[:, 1:][real].tolist()
    # The two are drawn independently.
    np.testing.assert_allclose([np.mean(hidden), np.mean(own)], [0.3, 0.6], atol=0.05)
    np.testing.assert_allclose(np.mean(both), 0.18, atol=0.05)
    later = _batches(records, 4, first_step=8, **rates)
    again = _batches(records, 12, **rates)[8:]
    assert _equal(later, again)
