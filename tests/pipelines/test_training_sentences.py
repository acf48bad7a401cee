"""Detection of captions that repeat a training sentence, for records of both kinds."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines import captions
from pipelines.training_sentences import training_sentences
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records, open_records


@pytest.fixture
def records(caption_records: Path, tmp_path: Path) -> Records:
    return captions.open_captions(str(shutil.copytree(caption_records, tmp_path / "records")))


def test_training_captions_are_known_and_others_are_not(records: Records) -> None:
    vocabulary = records.vocabulary()
    ids = {
        tuple(sentence)
        for batch in _parsed(records, "train")
        for image in batch
        for sentence in image
    }
    known = training_sentences(records, "train")
    assert known.hashes.shape == (len(ids),)
    texts = [vocabulary.decode(sentence) for sentence in ids]
    assert known(texts).all()
    others = [*(f"{text} {text}" for text in texts), *(text[:-1] for text in texts), ""]
    assert not known(others).any()
    assert known([]).shape == (0,)


def _parsed(records: Records, split: str) -> list[list[list[list[int]]]]:
    parse = captions.parser(records, ("sentences",))
    return [
        parse(batch)["sentences"].to_list()
        for batch in tf.data.TFRecordDataset(records.shards(split)).batch(4)
    ]


def test_hashes_are_kept_and_read_again_where_they_are_damaged_or_of_other_records(
    records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    expected = training_sentences(records, "train").hashes
    file = records.folder / "sentence_hashes-train.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    assert (training_sentences(records, "train").hashes == expected).all()
    assert "is damaged" in caplog.text
    np.savez(file, format_version=1, records_digest="other", hashes=np.arange(3))
    assert (training_sentences(records, "train").hashes == expected).all()
    np.savez(file, format_version=1, records_digest=records.digest, hashes=np.arange(3))
    assert training_sentences(records, "train").hashes.tolist() == [0, 1, 2]
    with pytest.raises(InputError, match="no split 'holdout'"):
        training_sentences(records, "holdout")


def test_sentences_of_corpora(corpora_folder: Path) -> None:
    records = open_records(corpora_folder, kind="corpora")
    known = training_sentences(records, "train")
    sentences = list(
        tf.data.TFRecordDataset(records.shards("train")).map(
            lambda row: tf.io.parse_single_example(row, {"sentence": tf.io.RaggedFeature(tf.int64)})
        )
    )
    texts = [records.vocabulary().decode(row["sentence"].numpy()) for row in sentences]
    assert known(texts).all() and not known([f"{text} {text}" for text in texts]).any()
