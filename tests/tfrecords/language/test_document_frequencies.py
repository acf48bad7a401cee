from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider_scorer import CiderScorer

from tfrecords.core.errors import InputError
from tfrecords.core.examples import encode_example, frame_record
from tfrecords.core.records import VOCABULARY, Records, open_records
from tfrecords.core.vocabulary import END_ID, Vocabulary, build_vocabulary
from tfrecords.core.writer import write_dataset
from tfrecords.language import document_frequencies
from tfrecords.language.document_frequencies import (
    MAX_ORDER,
    DocumentFrequencies,
    count_ngrams,
    frequencies_from_counts,
    frequencies_of_records,
    kept_frequencies,
)

Images = Sequence[Sequence[Sequence[int]]]
SENTENCES = st.lists(st.integers(2, 5), min_size=1, max_size=7)
IMAGES = st.lists(st.lists(SENTENCES, max_size=3), min_size=1, max_size=6)


def by_hand(images: Images) -> Counter[tuple[int, ...]]:
    """The definition, spelled out."""
    counts: Counter[tuple[int, ...]] = Counter()
    for sentences in images:
        ngrams = {
            tuple(words[begin : begin + n])
            for words in sentences
            for n in range(1, MAX_ORDER + 1)
            for begin in range(len(words) - n + 1)
        }
        counts.update(ngrams)
    return counts


def count(images: Images, sha: str = "a" * 64) -> DocumentFrequencies:
    packed = [
        (np.array([*chain(*sentences)], np.int64), np.array([len(words) for words in sentences]))
        for sentences in images
    ]
    return count_ngrams(packed, vocabulary_sha256=sha)


def table(found: DocumentFrequencies) -> dict[tuple[int, ...], int]:
    return {
        tuple(row): int(number)
        for rows, numbers in zip(found.ngrams, found.counts, strict=True)
        for row, number in zip(rows.tolist(), numbers, strict=True)
    }


def vocabulary_of(words: str) -> Vocabulary:
    return build_vocabulary(Counter(words.split()), min_count=1)


def write_captions(
    folder: Path, images: Images, vocabulary: Vocabulary, split: str = "train", shards: int = 2
) -> Records:
    """Records of kind captions; sentences are ids without markers."""

    def job(rows: Images) -> Any:
        for sentences in rows:
            ids = [[1, *words, END_ID] for words in sentences]
            yield encode_example(
                {
                    "sentences/ragged_flat_values": np.array([*chain(*ids)], np.int64),
                    "sentences/ragged_row_lengths_0": np.array([len(i) for i in ids], np.int64),
                }
            )

    return write_dataset(
        folder=folder,
        kind="captions",
        name="toy",
        splits={split: [partial(job, images[index::shards]) for index in range(shards)]},
        features=tfds.features.FeaturesDict(
            {"sentences": tfds.features.Sequence(tfds.features.Sequence(np.int64))}
        ),
        options={},
        sources=[],
        extra_files={VOCABULARY: vocabulary.file_bytes},
        progress=False,
    )


@settings(deadline=None)
@given(IMAGES)
def test_counts_are_those_of_the_definition(images: Images) -> None:
    expected = by_hand(images)
    if not expected:
        with pytest.raises(InputError, match="no reference sentence"):
            count(images)
        return
    found = count(images)
    assert table(found) == expected
    assert found.images == sum(bool(sentences) for sentences in images)
    again = frequencies_from_counts(expected, images=found.images, vocabulary_sha256="b")
    assert table(again) == expected
    for n in range(1, MAX_ORDER + 1):
        assert all(a < b for a, b in pairwise(found.ngrams[n - 1].tolist()))
        every = np.stack(np.meshgrid(*[np.arange(-1, 7)] * n, indexing="ij"), axis=-1)
        wanted = [expected[tuple(row)] for row in every.reshape(-1, n).tolist()]
        assert found.lookup(every).reshape(-1).tolist() == wanted


def test_lookup_of_any_integers() -> None:
    found = count([[[3, 4, 2]]])
    for big in (1 << 31, (1 << 32) + 3, -(1 << 40), 1 << 62):
        assert found.lookup(np.array([[3, big], [big, 4], [3, 4]])).tolist() == [0, 0, 1]
    assert found.lookup(np.zeros((0, 2), np.int32)).shape == (0,)
    assert found.lookup(np.array([3, 4, 2, 2])) == 0  # the table of order 4 is empty
    with pytest.raises(ValueError, match="1 to 4 words, found 5"):
        found.lookup(np.zeros(5, np.int32))


def test_records_are_counted_as_pycocoevalcap_counts_captions(
    shared_data: Path, tmp_path: Path
) -> None:
    from tfrecords.formats.references import read_references
    from tfrecords.language.tokenization import tokenize

    captions = list(read_references(shared_data / "flickr8k" / "captions.token.txt").values())[:200]
    tokens = [[tokenize(caption) for caption in image] for image in captions]
    vocabulary = vocabulary_of(" ".join(word for i in tokens for words in i for word in words))
    records = write_captions(
        tmp_path / "c", [[vocabulary.encode(words) for words in i] for i in tokens], vocabulary
    )
    found = frequencies_of_records(records)

    scorer = CiderScorer()
    for image in tokens:
        scorer += ("a", [" ".join([*words, "<eos>"]) for words in image])
    scorer.compute_doc_freq()
    names = [*vocabulary.words]
    names[END_ID] = "<eos>"
    ours = {tuple(names[i] for i in ngram): n for ngram, n in table(found).items()}
    assert ours == scorer.document_frequency
    assert found.images == len(scorer.crefs) == 200


def test_files_come_back(tmp_path: Path) -> None:
    found = count([[[3, 4, 5, 3, 2]], [[3, 2], [4, 2]]])
    path = tmp_path / "new" / "df.npz"
    found.save(path)
    first = path.read_bytes()
    found.save(path)
    assert path.read_bytes() == first and [p.name for p in path.parent.iterdir()] == ["df.npz"]
    again = DocumentFrequencies.load(path, vocabulary_sha256="a" * 64, vocabulary_of="x")
    assert table(again) == table(found) and again.images == 2
    with pytest.raises(
        InputError,
        match=r"document frequencies .*df\.npz and run r .*sha256 aaaaaaaaaaaa\.\.\. and bbbbbb",
    ):
        DocumentFrequencies.load(path, vocabulary_sha256="b" * 64, vocabulary_of="run r")


GOOD: dict[str, Any] = {
    "format_version": np.int64(1),
    "images": np.int64(2),
    "vocabulary_sha256": np.array("a"),
    **{f"ngrams_{n}": np.full((1, n), 3, np.int32) for n in range(1, 5)},
    **{f"counts_{n}": np.ones(1, np.int32) for n in range(1, 5)},
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, None),
        ({"format_version": np.int64(2)}, "format version 2, this program reads 1"),
        ({"ngrams_2": np.array([[3, 4], [3, 3]], np.int32), "counts_2": [1, 1]}, "2-grams of"),
        ({"ngrams_1": np.array([[4], [3]], np.int32), "counts_1": np.ones(2, np.int32)}, "order"),
        (
            {"ngrams_1": np.array([[3], [3]], np.int32), "counts_1": np.ones(2, np.int32)},
            "repeated",
        ),
        ({"ngrams_2": np.array([[4, 3]], np.int32)}, r"2-gram \[4, 3\] exists but not its first"),
        ({"counts_3": np.array([3], np.int32)}, r"outside 1\.\.2"),
        ({"ngrams_1": np.array([[-1]], np.int32)}, "ids below 0"),
        ({"ngrams_1": np.float32([[3.0]])}, "1-grams of float32"),
        ({"ngrams_1": np.int32([3])}, r"1-grams \(1,\) with counts \(1,\)"),
        ({"images": np.array("many")}, "invalid literal"),
        ({"counts_4": None}, "counts_4"),
        ({"format_version": None}, "KeyError"),
        ({"images": np.array([{}])}, "ValueError"),
    ],
)
def test_malformed_files_are_named(
    tmp_path: Path, change: dict[str, Any], message: str | None
) -> None:
    path = tmp_path / "df.npz"
    arrays = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    np.savez(path, **arrays)
    if message is None:
        assert DocumentFrequencies.load(path, vocabulary_sha256="a", vocabulary_of="x").images == 2
        return
    with pytest.raises(InputError, match=message) as caught:
        DocumentFrequencies.load(path, vocabulary_sha256="a", vocabulary_of="x")
    assert str(path) in str(caught.value)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 4000), st.integers(0, 255), st.integers(0, 4000))
def test_damaged_files_are_input_errors(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("d") / "df.npz"
    count([[[3, 4, 5, 3, 2]], [[3, 2], [4, 2]]], "a").save(path)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= flip
    path.write_bytes(data[: len(data) - cut % 200 if cut % 2 else len(data)])
    try:
        DocumentFrequencies.load(path, vocabulary_sha256="a", vocabulary_of="x")
    except InputError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("other", ["missing", "folder", "npy"])
def test_what_is_no_file(tmp_path: Path, other: str) -> None:
    path = tmp_path / "x.npz"
    if other == "folder":
        path.mkdir()
    if other == "npy":
        with path.open("wb") as stream:
            np.save(stream, np.zeros(3))
    with pytest.raises(InputError, match="document frequencies"):
        DocumentFrequencies.load(path, vocabulary_sha256="a", vocabulary_of="x")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"sentences/ragged_flat_values": [1, 3, 2]}, "sentences of 0 words together, but 3"),
        (([1, 3, 2], [2]), "sentences of 2 words together, but 3 words"),
        (([3, 3, 2], [3]), "without start or end marker"),
        (([1, 3, 3], [3]), "without start or end marker"),
        (([1, 99, 2], [3]), r"outside 0\.\.4"),
        (([1, -3, 2], [3]), r"outside 0\.\.4"),
        (([1, 3, 2], [1, 2]), "a sentence of 1 or 2 words"),
        (([1, 3, 2], [2**63 - 1, 2**63 - 1, 5]), "a sentence of 5 or"),
        (([1.0, 2.0], [2]), "contains no integers"),
        ((["a"], [2]), "contains no integers"),
        ({"image_id": "x"}, "no reference sentence"),
    ],
)
def test_damaged_records_are_named(tmp_path: Path, features: Any, message: str) -> None:
    if isinstance(features, tuple):
        names = ("sentences/ragged_flat_values", "sentences/ragged_row_lengths_0")
        features = dict(zip(names, features, strict=True))
    vocabulary = vocabulary_of("dog")
    records = write_captions(tmp_path / "c", [[[3]]], vocabulary, shards=1)
    shard = Path(records.shards("train")[0])
    shard.write_bytes(frame_record(encode_example(features)))
    with pytest.raises(InputError, match=message) as caught:
        frequencies_of_records(records)
    if "no reference" not in message:
        assert f"{shard}, record 1" in str(caught.value)
    shard.write_bytes(b"")
    with pytest.raises(InputError, match="has 0 records, its manifest lists 1"):
        frequencies_of_records(records)


def test_only_captions_of_a_split(tmp_path: Path) -> None:
    records = write_captions(tmp_path / "c", [[[3], [3, 4]], [], [[4]]], vocabulary_of("a b"))
    found = frequencies_of_records(records)
    assert (found.images, found.lookup(np.array([[3], [4], [END_ID], [1]])).tolist()) == (
        2,
        [1, 2, 2, 0],
    )
    assert found.vocabulary_sha256 == records.vocabulary_sha256
    with pytest.raises(InputError, match="no split 'val'; it has train"):
        frequencies_of_records(records, "val")


def test_they_are_counted_once_per_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    words = vocabulary_of("a b")
    records = write_captions(tmp_path / "c", [[[3], [3, 4]], [[4]]], words)
    path = records.folder / "document_frequencies-train.npz"
    assert table(kept_frequencies(records, keep=False)) == table(frequencies_of_records(records))
    assert not path.exists()
    found = kept_frequencies(records)
    first = path.read_bytes()

    def recount(*_: Any) -> None:
        raise AssertionError("counted again")

    with monkeypatch.context() as patched:
        patched.setattr(document_frequencies, "frequencies_of_records", recount)
        assert table(kept_frequencies(records)) == table(found)
    assert not caplog.records and open_records(records.folder).digest == records.digest
    # What other records left there, and what is damaged, is not used.
    other = write_captions(tmp_path / "o", [[[3]], [[3], [4]]], words)
    for bad, reason in (
        (kept_frequencies(other), "it was computed from other records"),
        (count([[[3]]], words.sha256), "it was computed from other records"),
        (None, "is not a file of document frequencies"),
        (count([[[3]]], "b" * 64), "(sha256 bbbbbbbbbbbb"),
    ):
        path.write_bytes(first[:100])
        if bad is not None:
            bad.save(path)
        caplog.clear()
        assert table(kept_frequencies(records)) == table(found)
        assert reason in caplog.text and path.read_bytes() == first


def test_records_that_cannot_be_written_to_are_counted_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = write_captions(tmp_path / "c", [[[3], [3, 4]], [[4]]], vocabulary_of("a b"))
    path = records.folder / "document_frequencies-train.npz"
    path.mkdir()  # permissions do not stop root
    assert table(kept_frequencies(records)) == table(frequencies_of_records(records))
    assert f"counted in memory only, and again at every start: cannot write {path}" in caplog.text


def test_the_script(tmp_path: Path) -> None:
    """Counts, and writes where it says."""
    records = write_captions(tmp_path / "c", [[[3], [3, 4]], [[4]]], vocabulary_of("a b"))
    # Without the wrapper of all scripts, which loads TensorFlow.
    main = "from absl import flags; from r2m.cli import build_document_frequencies as script;"
    main += "import sys; flags.FLAGS(sys.argv); script.main([])"
    root = Path(__file__).resolve().parents[3]
    env = {**os.environ, "PYTHONPATH": str(root), "R2M_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", main, f"--captions={records.folder}"],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    path = tmp_path / "records" / "document_frequencies" / "toy-train.npz"
    assert done.stdout == (f"{path}: 3 1-grams, 3 2-grams, 1 3-grams, 0 4-grams of 2 images\n")
    sha = records.vocabulary_sha256
    again = DocumentFrequencies.load(path, vocabulary_sha256=sha, vocabulary_of="x")
    assert table(again) == table(frequencies_of_records(records))
