"""Captions selected by consensus with captions of similar training images."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from losses.cider_d import Sentences
from models.decoding.captions import Captions
from pipelines import captions
from pipelines.caption_batches import CaptionOptions
from pipelines.similar_references import SimilarReferences
from r2m.inference.caption_files import caption_files
from r2m.inference.captioner_inputs import FEATURES_FILE
from r2m.inference.consensus import Consensus, ConsensusOptions, open_consensus
from r2m.inference.embedding_ensemble import EmbeddingEnsemble
from r2m.inference.evaluate_run import evaluate_run
from r2m.inference.retrieval_run import load_embedding
from r2m.inference.run import Run
from tfrecords.builders.captions.build import CaptionsOptions, build_captions
from tfrecords.core.errors import InputError
from tfrecords.formats.paired.reading import PairedSource

OPTIONS = ConsensusOptions(neighbors=3, sharpness=2.0, likelihood=0.5)


@pytest.fixture(scope="module")
def consensus(caption_records: Path) -> Consensus:
    return open_consensus(captions.open_captions(str(caption_records)), "train", OPTIONS)


def hypotheses(consensus: Consensus, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first captions of some training images, in the form that a search returns."""
    found = [consensus.images.sentences[place][0] for place in places]
    lengths = np.array([len(words) for words in found], np.int32)
    tokens = np.zeros((len(found), lengths.max()), np.int32)
    for row, words in zip(tokens, found, strict=True):
        row[: len(words)] = words
    return tokens, lengths


def test_the_choice_is_that_of_the_formula(consensus: Consensus) -> None:
    rng = np.random.default_rng(0)
    images = 4
    features = consensus.images.mean + rng.normal(size=(images, len(consensus.images.mean))).astype(
        np.float32
    )
    found = [hypotheses(consensus, rng.permutation(10)[:5].tolist()) for _ in range(images)]
    width = max(tokens.shape[1] for tokens, _ in found)
    tokens = np.stack([np.pad(t, ((0, 0), (0, width - t.shape[1]))) for t, _ in found])
    lengths = np.stack([n for _, n in found])
    scores = rng.normal(size=lengths.shape).astype(np.float32)
    lengths[1, 3:] = 0
    found_worth = consensus.values(features, tokens, lengths, scores)
    chosen = found_worth.argmax(1)
    for image in range(images):
        x = (features[image] - consensus.images.mean) / consensus.images.deviation
        likeness = [float(x @ d) / np.linalg.norm(x) for d in consensus.images.directions]
        nearest = sorted(range(len(likeness)), key=lambda i: -likeness[i])[:3]
        worth = []
        for place in range(5):
            if not lengths[image, place]:
                continue
            total = weight = 0.0
            for other in nearest:
                for words in consensus.images.sentences[other]:
                    caption = tokens[image, place, : lengths[image, place]]
                    similarity = consensus.reward.similarities([caption], [np.array(words)])[0, 0]
                    total += np.exp(2.0 * likeness[other]) * similarity
                    weight += np.exp(2.0 * likeness[other])
            worth.append(total / weight + 0.5 * scores[image, place])
        np.testing.assert_allclose(found_worth[image, : len(worth)], worth, rtol=1e-4)
        assert (found_worth[image, len(worth) :] == -np.inf).all()
        assert chosen[image] == int(np.argmax(worth))
    assert len(set(chosen.tolist())) > 1


def test_without_a_choice_the_first_is_taken(consensus: Consensus) -> None:
    tokens, lengths = hypotheses(consensus, [0, 1])
    lengths[1] = 0
    found = consensus.values(
        consensus.images.mean[None], tokens[None], lengths[None], np.zeros((1, 2), np.float32)
    )
    assert found.argmax(1).tolist() == [0]
    none = (np.zeros((0, 2, 3), int), np.zeros((0, 2), int), np.zeros((0, 2)))
    assert consensus.values(np.zeros((0, 1)), *none).shape == (0, 2)


def test_a_training_image_is_most_like_itself(consensus: Consensus, caption_records: Path) -> None:
    assert len(consensus.images.directions) == len(consensus.images.sentences) == 10
    np.testing.assert_allclose(np.linalg.norm(consensus.images.directions, axis=1), 1.0, rtol=1e-5)
    vocabulary = captions.open_captions(str(caption_records)).vocabulary()
    ends = {vocabulary.words[words[-1]] for image in consensus.images.sentences for words in image}
    assert ends == {vocabulary.words[2]}
    # The captions of the image itself win over those of the least similar image.
    sharp = consensus._replace(options=ConsensusOptions(neighbors=1, likelihood=0.0))
    for image in range(10):
        features = (
            consensus.images.directions[image] * consensus.images.deviation + consensus.images.mean
        )
        other = int(np.argmin(consensus.images.directions @ consensus.images.directions[image]))
        tokens, lengths = hypotheses(consensus, [other, image])
        if np.array_equal(tokens[0], tokens[1]):
            continue
        found = sharp.values(features[None], tokens[None], lengths[None], np.zeros((1, 2)))
        assert found.argmax(1).tolist() == [1]


def test_similarities_are_the_score_before_its_mean(consensus: Consensus) -> None:
    ours, theirs = consensus.images.sentences[0][:2], consensus.images.sentences[1]
    found = consensus.reward.similarities(ours, theirs)
    assert found.shape == (len(ours), len(theirs))
    joined = (
        Sentences(np.concatenate(rows), np.array([len(words) for words in rows]))
        for rows in (theirs, ours)
    )
    prepared = consensus.reward.prepare(next(joined), np.zeros(len(theirs), int))
    mean = prepared.scores(next(joined), np.zeros(len(ours), int))
    np.testing.assert_allclose(found.mean(1), mean, rtol=1e-6)


def test_a_split_and_its_files_are_captioned_by_consensus(
    att2in2_run: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    def said(name: str, consensus: ConsensusOptions | None) -> dict[str, str]:
        report = evaluate_run(
            att2in2_run, caption_records, "val", tmp_path / name, metrics=("cider",),
            decoding={"beam_size": 4}, consensus=consensus,
        )  # fmt: skip
        assert (consensus is None) == ("neighbors" not in report.decode)
        rows = json.loads((tmp_path / name / "val.predictions.json").read_text())
        return {row["file_name"]: row["caption"] for row in rows}

    plain = said("plain", None)
    # If only the score of the search counts, its first hypothesis is selected.
    assert said("likely", dataclasses.replace(OPTIONS, likelihood=1e6)) == plain
    agreed = dataclasses.replace(OPTIONS, likelihood=0.0)
    by_records = said("agreed", agreed)
    assert by_records != plain
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(str(pictures / "images" / name) for name in plain))
    rows = caption_files(
        att2in2_run, listed, tmp_path / "files", decoding={"beam_size": 4}, consensus=agreed
    ).rows
    assert {row["image_id"]: row["caption"] for row in rows} == by_records


def test_similar_images_are_found_by_an_embedding(
    att2in2_run: Path, embedding_run: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    options = dataclasses.replace(
        OPTIONS,
        likelihood=0.0,
        embeddings=(str(embedding_run),),
        image_text=0.0,
        nearest_captions=0,
    )
    run = Run.load(att2in2_run, decoding={"beam_size": 4}, consensus=options)
    vectors = run._reranker._consensus.images.directions
    embedding = load_embedding(embedding_run)
    np.testing.assert_allclose(
        vectors, embedding.encode_records(caption_records, "train")[1], atol=1e-5
    )
    assert run.config.decoding.embedding.startswith(f"{embedding.folder.name}, checkpoint ")
    # Images from records and image files have the same vectors.
    report = evaluate_run(
        att2in2_run, caption_records, "val", tmp_path / "records", metrics=("cider",),
        decoding={"beam_size": 4}, consensus=options,
    )  # fmt: skip
    assert report.decode["embedding"].startswith(embedding.folder.name)
    rows = json.loads((tmp_path / "records" / "val.predictions.json").read_text())
    by_records = {row["file_name"]: row["caption"] for row in rows}
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(str(pictures / "images" / name) for name in by_records))
    rows = caption_files(
        att2in2_run, listed, tmp_path / "files", decoding={"beam_size": 4}, consensus=options
    ).rows
    assert {row["image_id"]: row["caption"] for row in rows} == by_records


def test_captions_most_similar_to_the_image_count_half(
    embedding_run: Path, caption_records: Path
) -> None:
    embedding = EmbeddingEnsemble.load([str(embedding_run)])
    records = captions.open_captions(str(caption_records))
    options = dataclasses.replace(OPTIONS, likelihood=0.0, nearest_captions=7)
    both = open_consensus(records, "train", options, embedding)
    features = embedding.encode_records(records, "val")[:2]
    tokens, lengths = hypotheses(both, [3, 5, 8])
    given = (
        features,
        np.stack([tokens] * 2),
        np.stack([lengths] * 2),
        np.zeros((2, 3), np.float32),
    )
    by_images = both._replace(captions=None).values(*given)
    sentences = [sentence for own in both.images.sentences for sentence in own]
    texts = [records.vocabulary().decode(sentence) for sentence in sentences]
    known, vectors = embedding.encode_known(texts)
    assert known == list(range(len(texts)))
    likeness = features @ vectors.T
    said = [tokens[place, : lengths[place]] for place in range(3)]
    for image in range(2):
        nearest = np.argsort(-likeness[image], kind="stable")[:7]
        found = both.reward.similarities(said, [sentences[place] for place in nearest])
        own = np.average(found, axis=1, weights=np.exp(8 * likeness[image, nearest]))
        np.testing.assert_allclose(
            both.values(*given)[image], (by_images[image] + own) / 2, rtol=1e-5
        )


def test_an_embedding_without_a_word_of_the_captions_is_refused(
    embedding_run: Path, caption_records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedding = EmbeddingEnsemble.load([str(embedding_run)])
    monkeypatch.setattr(embedding.members[0], "knows", lambda text: False)
    with pytest.raises(InputError, match="has no word of the training captions"):
        open_consensus(captions.open_captions(str(caption_records)), "train", OPTIONS, embedding)


def test_similarities_by_several_embeddings_are_averaged(
    embedding_run: Path, caption_records: Path
) -> None:
    members = [load_embedding(embedding_run), load_embedding(embedding_run)]
    # With another sign and scale, as vectors of an independent embedding would have.
    members[1].encode_sentences = lambda texts: -3 * members[0].encode_sentences(texts)
    both, records = EmbeddingEnsemble(members), captions.open_captions(str(caption_records))
    texts = ["a red circle", "a blue square"]
    known, vectors = both.encode_known([*texts, "xyzzy"])
    assert known == [0, 1]
    found = both.encode_records(records, "val") @ vectors.T
    own = members[0].encode_records(records, "val")[1] @ members[0].encode_sentences(texts).T
    np.testing.assert_allclose(found, (own - 3 * own) / 2, atol=1e-6)
    members[1].similarity = "order"
    with pytest.raises(InputError, match="order similarity: only embeddings with cosine"):
        EmbeddingEnsemble(members)


def test_hypotheses_that_fit_the_image_in_an_embedding_are_worth_more(
    att2in2_run: Path, embedding_run: Path, caption_records: Path
) -> None:
    options = dataclasses.replace(OPTIONS, embeddings=(str(embedding_run),), image_text=0.0)
    embedding = load_embedding(embedding_run)
    found = Captions(
        np.array([[[4, 5, 2], [6, 2, 0]], [[0, 0, 0], [7, 8, 2]]], np.int32),
        np.array([[3, 2], [0, 3]], np.int32),
        np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32),
    )  # fmt: skip
    values = []
    for weight in (0.0, 2.0):
        own = dataclasses.replace(options, image_text=weight)
        run = Run.load(att2in2_run, consensus=own)
        records = run.open_records(str(caption_records))
        batch = next(iter(run.record_batches(records, "val")))
        two = {name: tensor[:2] for name, tensor in batch.items()}
        values.append(run._reranker(two, found))
        assert run.config.decoding.image_text == weight
    images = embedding.encode_inputs(two)
    texts = [run.vocabulary.decode(ids) for ids in ([4, 5, 2], [6, 2], [7, 8, 2])]
    fits = np.sum(images[[0, 0, 1]] * embedding.encode_sentences(texts), axis=1)
    gained = values[1] - values[0]
    np.testing.assert_allclose([gained[0, 0], gained[0, 1], gained[1, 1]], 2 * fits, atol=1e-5)
    assert values[0][1, 0] == values[1][1, 0] == -np.inf


def test_features_made_in_another_way_are_refused(att2in2_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(att2in2_run, tmp_path / "other")
    shown = json.loads((other / FEATURES_FILE).read_text())
    shown["records"]["backbone"]["alpha"] = 0.5
    (other / FEATURES_FILE).write_text(json.dumps(shown))
    with pytest.raises(InputError, match=r"computed in two ways: those of .*other with alpha 0\.5"):
        Run.load(other, consensus=OPTIONS)


def test_records_without_vectors_are_refused(pictures: Path, tmp_path: Path) -> None:
    records = build_captions(
        CaptionsOptions(
            folder=tmp_path / "records",
            captions=(PairedSource.parse(f"coco:{pictures / 'captions.json'}"),),
            splits={"train": pictures / "train.txt"},
            min_count=1,
        ),
        progress=False,
    )
    opened = captions.open_captions(str(records.folder))
    with pytest.raises(InputError, match=r"do not contain the vector per image.*--backbone"):
        open_consensus(opened, "train", OPTIONS)
    message = r"do not contain the vector per image.*or set config\.reward\.neighb"
    with pytest.raises(InputError, match=message):
        SimilarReferences(opened, "train", CaptionOptions(), 1)


@pytest.mark.parametrize(
    "bad", [{"neighbors": 0}, {"sharpness": -1.0}, {"likelihood": -1.0}, {"nearest_captions": -1}]
)
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        ConsensusOptions(**bad)
