"""Batches of captions: selection, lengths, features, order and resume."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipelines import caption_batches, captions
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs.global_vector import GlobalVector
from pipelines.inputs.grid import Grid
from pipelines.inputs.pixels import Pixels
from pipelines.inputs.regions import Regions
from pipelines.inputs.spec import InputSpec
from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example
from tfrecords.core.records import SENTENCE_LENGTHS, SENTENCE_WORDS, Records
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.core.writer import write_dataset

IMAGES, G, GRID = 23, 3, (2, 2, 3)
ALL = InputSpec((GlobalVector(), Grid()))
REGIONS = InputSpec((Regions(),))
THREE = CaptionOptions(captions_per_image=3)


def sentences_of(image: int) -> list[list[int]]:
    """Returns 1 to 5 sentences, which begin with the numbers of the image and of the sentence."""
    return [
        [1, 100 + image, 200 + number, *range(10, 10 + (image + number) % 5), 2]
        for number in range(image % 5 + 1)
    ]


def boxes_of(image: int) -> np.ndarray:
    """Returns one box per region."""
    return np.random.default_rng([1, image]).random((image % 4, 4)).astype(np.float32)


def example(image: int) -> bytes:
    rows = sentences_of(image)
    rng = np.random.default_rng(image)
    return encode_example(
        {
            "image_id": f"{image}.jpg",
            "split": "train",
            "texts": ["x"] * len(rows),
            "caption_ids": list(range(len(rows))),
            SENTENCE_WORDS: list(itertools.chain(*rows)),
            SENTENCE_LENGTHS: [len(row) for row in rows],
            "height": 0,
            "width": 0,
            "global_feature": rng.normal(size=G).astype("<f2").tobytes(),
            "grid_feature": rng.normal(size=GRID).astype("<f2").tobytes(),
            "region_feature": rng.normal(size=(image % 4, 2)).astype("<f2").tobytes(),
            "boxes": boxes_of(image).ravel(),
        }
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    half = {"dtype": np.float16, "encoding": "bytes"}
    tensor, sequence = tfds.features.Tensor, tfds.features.Sequence
    write_dataset(
        folder=(folder := tmp_path_factory.mktemp("captions") / "toy"),
        kind="captions",
        name="toy",
        splits={"train": [lambda: map(example, range(IMAGES))], "val": [lambda: [example(4)]]},
        features=tfds.features.FeaturesDict(
            {
                **dict.fromkeys(("image_id", "split"), tfds.features.Text()),
                **dict.fromkeys(("height", "width"), tfds.features.Scalar(np.int64)),
                "texts": sequence(tfds.features.Text()),
                "caption_ids": sequence(np.int64),
                "sentences": sequence(sequence(np.int64)),
                "global_feature": tensor(shape=(G,), **half),
                "grid_feature": tensor(shape=GRID, **half),
                "region_feature": tensor(shape=(None, 2), **half),
                "boxes": tensor(shape=(None, 4), dtype=np.float32),
            }
        ),
        options={
            "feature_size": G,
            "grid_shape": list(GRID),
            "region_size": 2,
            "feature_dtype": "float16",
        },
        sources=[],
        extra_files={"vocabulary.txt": build_vocabulary({"a": 1}, min_count=1).file_bytes},
        progress=False,
    )
    return captions.open_captions(str(folder))


def batches(
    records: Records,
    count: int,
    inputs: InputSpec = ALL,
    options: CaptionOptions = THREE,
    **changes: Any,
) -> Any:
    settings = {"batch_size": 5, "seed": 3, **changes}
    dataset = caption_batches.training_batches(records, inputs, options, **settings)
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def shown(batch: dict[str, np.ndarray]) -> list[list[list[int]]]:
    """Returns the sentences of each image, without padding."""
    return [
        [row[: length + 1].tolist() for row, length in zip(rows, lengths, strict=True)]
        for rows, lengths in zip(batch["tokens"], batch["lengths"], strict=True)
    ]


def test_an_epoch_shows_every_image_once_with_its_own_captions(records: Records) -> None:
    epoch = batches(records, 5)
    assert [len(batch["lengths"]) for batch in epoch].count(3) == 1
    seen = Counter()
    for batch in epoch:
        for rows, vector, grid in zip(shown(batch), batch["global"], batch["regions"], strict=True):
            image = rows[0][1] - 100
            seen[image] += 1
            mine = sentences_of(image)
            assert all(row in mine for row in rows)
            if len(mine) >= 3:  # neighbors
                first = mine.index(rows[0])
                assert rows == mine[first : first + 3]
            rng = np.random.default_rng(image)
            np.testing.assert_array_equal(vector, rng.normal(size=G).astype(np.float16))
            np.testing.assert_array_equal(
                grid, rng.normal(size=GRID).astype(np.float16).reshape(4, 3)
            )
    assert seen == Counter(range(IMAGES))


def test_what_is_drawn_differs_by_epoch_and_covers_all(records: Records) -> None:
    drawn = {tuple(row) for batch in batches(records, 60) for rows in shown(batch) for row in rows}
    assert drawn == {tuple(row) for image in range(IMAGES) for row in sentences_of(image)}


@pytest.mark.parametrize("first_step", [1, 5, 13])
def test_a_run_goes_on_where_it_was(records: Records, first_step: int) -> None:
    whole, rest = batches(records, 16), batches(records, 3, first_step=first_step)
    for one, other in zip(whole[first_step:], rest, strict=False):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_long_sentences_are_cut_and_ended(records: Records) -> None:
    cut = 0
    for batch in batches(records, 5, InputSpec(()), CaptionOptions(max_length=4)):
        assert batch["tokens"].shape[1:] == (5, 5) and batch["lengths"].max() == 4
        for row in itertools.chain(*shown(batch)):
            whole = sentences_of(row[1] - 100)[row[2] - 200]
            # Start, three words, end.
            assert row == (whole if len(whole) <= 5 else [*whole[:4], 2])
            cut += len(whole) > 5
    assert cut


def test_regions_are_padded_and_counted(records: Records) -> None:
    for batch in batches(records, 5, REGIONS):
        images = [rows[0][1] - 100 for rows in shown(batch)]
        assert batch["region_lengths"].tolist() == [image % 4 for image in images]
        assert batch["regions"].shape == (len(images), max(batch["region_lengths"]), 2)
        for image, rows in zip(images, batch["regions"], strict=True):
            wanted = np.random.default_rng(image)
            wanted.normal(size=G), wanted.normal(size=GRID)
            np.testing.assert_array_equal(
                rows[: image % 4], wanted.normal(size=(image % 4, 2)).astype(np.float16)
            )
            assert not rows[image % 4 :].any()


def test_rows_of_unit_norm(records: Records) -> None:
    (batch,) = batches(records, 1, InputSpec((Grid(unit_norm=True),)))
    np.testing.assert_allclose(np.linalg.norm(batch["regions"], axis=-1), 1.0, rtol=1e-5)


def test_validation_has_the_first_captions(records: Records) -> None:
    (batch,) = caption_batches.validation_batches(records, "val", ALL, THREE, batch_size=5)
    assert shown({k: v.numpy() for k, v in batch.items()}) == [sentences_of(4)[:3]]
    (images,) = caption_batches.image_batches(records, "val", ALL, batch_size=5)
    assert images["image_id"].numpy().tolist() == [b"4.jpg"]
    assert "tokens" not in images and images["regions"].shape == (1, 4, 3)


def test_wrong_requests(records: Records, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="captions_per_image must be at least 1"):
        CaptionOptions(captions_per_image=0)
    manifest = {**records.manifest, "features": ["global_feature"]}
    bare = Records(folder=tmp_path, kind="captions", name="toy", manifest=manifest)
    with pytest.raises(InputError, match="no grid_feature, only global_feature"):
        InputSpec((Grid(),)).check(bare)
    pixels = InputSpec((Pixels(resize=8, crop=8),))
    with pytest.raises(
        InputError, match=r"toy: these records contain no pictures.*--nostore_pixels"
    ):
        caption_batches.image_batches(records, "val", pixels, batch_size=1)
