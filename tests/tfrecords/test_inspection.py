from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tfrecords import inspection
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.records import (
    SENTENCE_LENGTHS,
    SENTENCE_WORDS,
    Records,
    open_records,
    read_split,
)
from tfrecords.core.shards import Skip
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.core.writer import write_dataset

VOCABULARY = build_vocabulary({"a": 9, "dog": 3, "cat": 2, "rare": 1}, min_count=2)
CAPTIONS = [["a dog"], ["a cat", "a dog a dog", "rare"]]
PNG = bytes(tf.io.encode_png(np.zeros((3, 5, 3), np.uint8)).numpy())


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Records:
    def examples() -> Any:
        for number, texts in enumerate(CAPTIONS):
            sentences = [VOCABULARY.encode_sentence(text.split()) for text in texts]
            yield encode_example(
                {
                    "image_id": f"{number}.png",
                    "image": PNG,
                    "texts": texts,
                    SENTENCE_WORDS: np.concatenate(sentences),
                    SENTENCE_LENGTHS: [len(sentence) for sentence in sentences],
                    "caption_ids": [123_456_789_012 + number],
                    "global_feature": np.array([-1, 0, 3], "<f2").tobytes(),
                    "boxes": np.array([[0, 0, 0.5, 0.5], [0, 0, 1, 1]][: number + 1], np.float32),
                }
            )
        yield Skip("2.png", "unreadable", "zero bytes")

    half = tfds.features.Tensor(shape=(3,), dtype=np.float16, encoding="bytes")
    return write_dataset(
        folder=tmp_path_factory.mktemp("records") / "toy",
        kind="captions",
        name="toy",
        splits={"train": [examples]},
        features=tfds.features.FeaturesDict(
            {
                "image_id": tfds.features.Text(),
                "image": tfds.features.Image(shape=(None, None, 3)),
                "texts": tfds.features.Sequence(tfds.features.Text()),
                "sentences": tfds.features.Sequence(tfds.features.Sequence(np.int64)),
                "caption_ids": tfds.features.Sequence(np.int64),
                "global_feature": half,
                "boxes": tfds.features.Tensor(shape=(None, 4), dtype=np.float32),
            }
        ),
        options={},
        sources=[],
        extra_files={"vocabulary.txt": VOCABULARY.file_bytes},
        converted={"html_entities": 2},
        progress=False,
    )


def test_statistics(captions: Records) -> None:
    found = inspection.split_statistics(captions, "train")
    assert found.read == 2
    assert found.lengths == {
        "words per sentence": Counter({2: 2, 4: 1, 1: 1}),
        "sentences per image": Counter({1: 1, 3: 1}),
        "regions per image": Counter({1: 1, 2: 1}),
    }
    assert inspection.split_statistics(captions, "train", most=1).read == 1


def test_description(captions: Records) -> None:
    rows = dict(inspection.describe_records(captions))
    assert rows["kind"] == "captions" and rows["split train"] == "2 records in 1 files"
    assert rows["vocabulary"].startswith(f"{len(VOCABULARY)} words (6.67% of the text is unknown)")
    assert rows["feature sentences"] == "list of list of int64 []"
    assert rows["feature boxes"] == "float32 [?, 4]" and rows["feature image"] == "image"
    assert rows["converted: html_entities"] == "2"
    assert rows["left out: unreadable"] == "1" and rows["for example"] == "2.png (unreadable)"


def test_a_record_in_words(captions: Records) -> None:
    _, second = read_split(captions, "train")
    rows = inspection.describe_example(second, captions)
    assert [text for name, text in rows if name == "sentences"] == ["a cat", "a dog a dog", "<unk>"]
    assert ("image", f"PNG 5 x 3, {len(PNG)} B") in rows
    assert ("global_feature", "3 x float16, -1 to 3, mean 0.667") in rows
    assert ("boxes", "0 0 0.5 0.5 0 0 1 1") in rows
    assert ("caption_ids", "123456789013") in rows


def test_the_size_of_a_turned_picture_is_that_of_the_upright_one(captions: Records) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("RGB", (5, 3)).save(stream, "PNG", exif=exif)
    rows = dict(inspection.describe_example({"image": [stream.getvalue()]}, captions))
    assert rows["image"].startswith("PNG 3 x 5, ")


def test_a_lost_record_is_told(captions: Records, tmp_path: Path) -> None:
    shard = Path(captions.shards("train")[0])
    data = shard.read_bytes()
    size = 16 + int.from_bytes(data[:8], "little")
    try:
        shard.write_bytes(data[:size])
        with pytest.raises(InputError, match="cut short"):
            open_records(captions.folder)
        with pytest.raises(InputError, match=r"has 1 records, its manifest lists 2"):
            list(read_split(captions, "train"))
        shard.write_bytes(data[:-3])
        with pytest.raises(InputError, match="broken record at byte"):
            list(read_split(captions, "train"))
    finally:
        shard.write_bytes(data)


@given(st.dictionaries(st.integers(-5, 500), st.integers(1, 10**6), min_size=1))
def test_histogram_counts_everything_once(counts: dict[int, int]) -> None:
    lines = inspection.histogram(Counter(counts))
    assert len(lines) <= 21
    shown = sum(int(line[9:20].replace(",", "")) for line in lines)
    assert shown == sum(counts.values())
    assert max(line.count("#") for line in lines) == 40
