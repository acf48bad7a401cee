from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfrecords.core.errors import InputError
from tfrecords.core.shards import Skip
from tfrecords.formats.text.reading import parse_source, plan_parts, read_part

TEXTS = [["One dog.", "Two dogs."], [], ["A cat ñ."], ["\U0001f415", "Last."]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of TFDS with a set shaped as `coco_captions`, two splits, two shards."""
    data_dir = tmp_path_factory.mktemp("tfds")
    features = tfds.features.FeaturesDict(
        {
            "captions": tfds.features.Sequence({"id": np.int64, "text": tfds.features.Text()}),
            "image": tfds.features.Image(shape=(None, None, 3)),
            "image/filename": tfds.features.Text(),
            "paragraphs": tfds.features.Sequence(tfds.features.Sequence(tfds.features.Text())),
            "title": np.str_,
        }
    )

    class TinyCaptions(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, dl_manager: Any) -> Any:
            return {
                "train": self._generate_examples(TEXTS),
                "val": self._generate_examples([["v"], []]),
            }

        def _generate_examples(self, rows: Any) -> Any:
            for index, texts in enumerate(rows):
                yield (
                    index,
                    {
                        "captions": [{"id": index, "text": text} for text in texts],
                        "image": np.zeros((2, 2, 3), np.uint8),
                        "image/filename": f"{index}.jpg",
                        "paragraphs": [[f"p{index}", "q"], [], ["r"]],
                        "title": f"Title {index}",
                    },
                )

    config = tfds.download.DownloadConfig(num_shards=2, try_download_gcs=False)
    TinyCaptions(data_dir=data_dir, file_format="tfrecord").download_and_prepare(
        download_config=config
    )
    return data_dir


@pytest.fixture(autouse=True)
def _data_dir(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))


def read(value: str) -> list[str | Skip]:
    return [item for part in plan_parts(parse_source(value)) for item in read_part(part)]


@pytest.mark.parametrize("name", ["tiny_captions", "tiny_captions:1.0.0", "tiny_captions:1.*.*"])
def test_texts_of_a_data_set(name: str) -> None:
    everything = sorted(text for texts in TEXTS for text in texts)
    assert sorted(map(str, read(f"tfds:{name}@train"))) == everything
    assert sorted(map(str, read(f"tfds:{name}:captions/text"))) == sorted([*everything, "v"])
    assert len(plan_parts(parse_source(f"tfds:{name}@train"))) == 2
    assert sorted(map(str, read(f"tfds:{name}:title@val"))) == ["Title 0", "Title 1"]
    assert read(f"tfds:{name}:paragraphs@val") == ["p0", "q", "r", "p1", "q", "r"]


def test_what_decides_the_records() -> None:
    forms = {part.form for part in plan_parts(parse_source("tfds:tiny_captions"))}
    assert forms == {"tfds:captions/text"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tfds:tiny_caption", "there is no prepared tfds data set tiny_caption in .*tfds build"),
        ("tfds:tiny_captions:2.0.0", "there is no prepared tfds data set tiny_captions:2.0.0"),
        ("tfds:tiny_captions@test", "no split 'test'; it has train, val"),
        ("tfds:tiny_captions:text", "no text 'text'.* captions/text, image/filename, paragraphs"),
        ("tfds:tiny_captions:image", "no text 'image'"),
        ("tfds:a:b:c", "expected tfds:NAME"),
        ("tfds:../..", r"tfds data set \.\./\.\."),
        ("tfds:", "expected tfds:NAME|tfds data set"),
    ],
)
def test_what_is_not_there_is_named(value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(value)


def test_damaged_data_sets(prepared: Path, tmp_path: Path) -> None:
    (folder,) = (prepared / "tiny_captions").glob("1.0.0")
    copy = tmp_path / "copy"
    copy.mkdir()

    def restore() -> None:
        for path in folder.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())

    restore()
    source = f"tfds:{copy}:captions/text@val"
    assert read(source) == ["v"]
    shard = min(copy.glob("*val*"))
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(InputError, match="broken record at byte 0"):
        read(source)
    shard.write_bytes(b"")
    with pytest.raises(InputError, match="has 0 records, expected 1"):
        read(source)
    shard.unlink()
    with pytest.raises(InputError, match=r"the shard .* is missing"):
        read(source)
    for damaged in ("features.json", "dataset_info.json"):
        restore()
        (copy / damaged).write_text('{"x": [')
        with pytest.raises(InputError, match="cannot be opened"):
            read(source)


def test_our_own_records_are_a_source(tmp_path: Path) -> None:
    from tfrecords.core.examples import encode_example
    from tfrecords.core.writer import write_dataset

    features = tfds.features.FeaturesDict({"text": tfds.features.Text()})
    records = write_dataset(
        folder=tmp_path / "x",
        kind="corpora",
        name="x",
        splits={"train": [lambda: [encode_example({"text": "A dog."})]]},
        features=features,
        options={},
        sources=[],
    )
    assert read(f"tfds:{records.folder}") == ["A dog."]
