"""Selection of generated captions by similar images and by detected concepts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r2m.inference.caption_selection import SelectionOptions, select_captions
from tfrecords.core.errors import InputError
from tfrecords.core.records import open_records
from tfrecords.formats.features.record_store import open_feature_records
from tfrecords.formats.paired.reading import PairedSource, read_paired
from tfrecords.language.concepts import ConceptDictionary

TRAIN = [f"train_{number:06d}.png" for number in range(12)]
WORDS = ("a", "small", "house", "tree", "whale", "in", "the", "sea", "two")
OPTIONS = SelectionOptions(neighbors=4, sharpness=2.0, agreement=0.7, likelihood=0.3)


def write_log(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    (folder / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def generated(names: list[str], seed: int, count: int = 3) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    rows = []
    for name in names:
        found = [
            {"caption": " ".join(rng.choice(WORDS, rng.integers(4, 8))), "score": -1.0 - place / 4}
            for place in range(count)
        ]
        concepts = [{"word": word} for word in rng.choice(["house", "tree", "whale", "sea"], 2)]
        rows.append({"image_id": name, **found[0], "captions": found, "concepts": concepts})
    return rows


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_log(tmp_path / "train", generated(TRAIN, 0))


def cider_d(caption: str, reference: str, others: list[str]) -> float:
    """Returns CIDEr-D of one reference, with document frequencies of one caption per image."""

    def ngrams(text: str, order: int) -> Counter[tuple[str, ...]]:
        words = [*text.split(), "</S>"]
        return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))

    total = 0.0
    for order in range(1, 5):
        ours, theirs = ngrams(caption, order), ngrams(reference, order)
        weight = {
            gram: np.log(len(others))
            - np.log(max(1, sum(gram in ngrams(o, order) for o in others)))
            for gram in ours | theirs
        }
        norms = [
            np.sqrt(sum((count * weight[gram]) ** 2 for gram, count in counts.items()))
            for counts in (ours, theirs)
        ]
        dot = sum(min(ours[g], theirs[g]) * theirs[g] * weight[g] ** 2 for g in ours & theirs)
        total += dot / (norms[0] * norms[1]) if min(norms) > 0 else 0.0
    difference = len(caption.split()) - len(reference.split())
    return 10 / 4 * total * float(np.exp(-(difference**2) / 72))


def test_the_selection_is_that_of_the_formula(images: Path, train: Path, tmp_path: Path) -> None:
    select_captions(train, images, tmp_path / "train.json", OPTIONS)
    selected = {row["image_id"]: row for row in json.loads((tmp_path / "train.json").read_text())}
    rows = generated(TRAIN, 0)
    store = open_feature_records(images)
    vectors = np.stack([store.get(name).global_feature for name in TRAIN]).astype(np.float64)
    vectors = (vectors - vectors.mean(0)) / (vectors.std(0) + 0.05)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    folder = open_records(images).folder
    dictionary = ConceptDictionary.from_json((folder / "concepts.json").read_text())
    likely = [row["caption"] for row in rows]
    for place, row in enumerate(rows):
        likeness = vectors @ vectors[place]
        nearest = [other for other in np.argsort(-likeness) if other != place][:4]
        weights = np.exp(2.0 * likeness[nearest])
        values = []
        for one in row["captions"]:
            terms = [cider_d(one["caption"], likely[other], likely) for other in nearest]
            mentioned = {mention.concept for mention in dictionary.find(one["caption"].split())}
            detected = {concept["word"] for concept in row["concepts"]}
            either = mentioned | detected
            agreement = len(mentioned & detected) / len(either) if either else 1.0
            values.append(np.average(terms, weights=weights) + 0.7 * agreement + 0.3 * one["score"])
        chosen = selected[row["image_id"]]
        assert chosen["caption"] == row["captions"][int(np.argmax(values))]["caption"]
        np.testing.assert_allclose(chosen["value"], max(values), atol=2e-4)


def test_images_and_captions_with_the_highest_values_are_kept(
    images: Path, train: Path, tmp_path: Path
) -> None:
    everything = select_captions(train, images, tmp_path / "all.json", OPTIONS)
    options = SelectionOptions(
        neighbors=4, sharpness=2.0, agreement=0.7, likelihood=0.3, captions=2, fraction=0.5
    )
    half = select_captions(train, images, tmp_path / "half.json", options)
    rows, kept = (json.loads((tmp_path / name).read_text()) for name in ("all.json", "half.json"))
    assert (everything.images, everything.kept, half.kept) == (12, 12, 6)
    best = sorted(rows, key=lambda row: -row["value"])[:6]
    assert {row["image_id"] for row in kept} == {row["image_id"] for row in best}
    assert {len(row["captions"]) for row in kept} == {2}
    assert half.distinct == len({text for row in kept for text in row["captions"]})
    likely = {row["image_id"]: row["caption"] for row in generated(TRAIN, 0)}
    changed = sum(row["caption"] != likely[row["image_id"]] for row in rows)
    assert everything.changed == changed > 0


def test_captions_of_a_split_are_compared_with_those_of_another(
    images: Path, tmp_path: Path
) -> None:
    names = [f"val_{number:06d}.png" for number in range(3)]
    rows = [*generated(names, 1), *generated(TRAIN, 0)]
    folder = write_log(tmp_path / "all", rows)
    options = SelectionOptions(neighbors=11, sharpness=0.0, agreement=0.0, likelihood=0.0)
    likely = [row["caption"] for row in rows[3:]]

    def selected(split: str, **others: str) -> list[tuple[str, float]]:
        select_captions(folder, images, tmp_path / "out.json", options, split=split, **others)
        found = json.loads((tmp_path / "out.json").read_text())
        return [(row["image_id"], row["value"]) for row in found]

    found = selected("val", neighbor_split="train")
    assert [name for name, _ in found] == names
    for (_, value), row in zip(found, rows, strict=False):
        # All training images but the least similar one are neighbors.
        values = [
            np.sort([cider_d(one["caption"], other, likely) for other in likely])
            for one in row["captions"]
        ]
        least, most = (max(part.mean() for part in parts) for parts in zip(
            *((own[:-1], own[1:]) for own in values), strict=True
        ))  # fmt: skip
        assert least - 2e-4 <= value <= most + 2e-4
    # An image is no neighbor of its own.
    assert selected("train", neighbor_split="train") == selected("train")


def test_the_builder_reads_the_selection(images: Path, train: Path, tmp_path: Path) -> None:
    select_captions(train, images, tmp_path / "train.json", OPTIONS)
    rows = json.loads((tmp_path / "train.json").read_text())
    found = read_paired(PairedSource.parse(f"train={tmp_path / 'train.json'}")).images
    assert [[own.text for own in image.captions] for image in found] == [
        row["captions"] for row in rows
    ]
    assert [image.file or image.image_id for image in found] == TRAIN


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"captions\.jsonl:1: not a line of r2m-caption \(JSONDecodeError"),
        ("[]", r"captions\.jsonl:1: not a line of r2m-caption \(AttributeError"),
        ('{"image_id": "a", "caption": "a tree"}', r"captions\.jsonl:1: .*KeyError: 'score'"),
        ('{"image_id": "a", "caption": "", "score": 0}', r"captions\.jsonl contains no caption"),
        (
            '{"image_id": "a.png", "caption": "a tree", "score": 0}',
            r"does not contain 1 image \('a\.png'\)",
        ),
    ],
)
def test_damaged_and_foreign_captions_are_rejected(
    images: Path, tmp_path: Path, line: str, message: str
) -> None:
    (tmp_path / "captions.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=message):
        select_captions(tmp_path, images, tmp_path / "out.json", OPTIONS)
    assert not (tmp_path / "out.json").exists()


def test_wrong_inputs_are_rejected(
    images: Path, corpora: Path, train: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"has no captions\.jsonl: give an output folder"):
        select_captions(tmp_path, images, tmp_path / "out.json", OPTIONS)
    with pytest.raises(InputError, match=r"no split 'dev'; known: train, val"):
        select_captions(train, images, tmp_path / "out.json", OPTIONS, split="dev")
    with pytest.raises(InputError, match=r"none of the captioned images .* is in split 'val'"):
        select_captions(train, images, tmp_path / "out.json", OPTIONS, split="val")
    with pytest.raises(InputError, match="12 images: 60 neighbors require more"):
        select_captions(train, images, tmp_path / "out.json", SelectionOptions())
    with pytest.raises(InputError, match="'corpora'"):
        select_captions(train, corpora, tmp_path / "out.json", OPTIONS)
    for wrong in ({"neighbors": 0}, {"captions": 0}, {"agreement": -1}, {"fraction": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SelectionOptions(**wrong)
