"""Rewards in the graph: golden values, the reference scorers, and the kernel in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer

from losses.caption_reward import CaptionReward, SimilarCaptions
from losses.cider_d import CiderD
from losses.cider_d import Sentences as Rows
from losses.cider_reward import CiderReward
from tests.losses.test_cider_d import GOLDEN
from tfrecords.language.document_frequencies import DocumentFrequencies, count_ngrams

Sentence = Sequence[int]
Images = Sequence[Sequence[Sentence]]


def frequencies(images: Images) -> DocumentFrequencies:
    return count_ngrams(
        ((np.concatenate(own), np.array([len(r) for r in own])) for own in images if own),
        vocabulary_sha256="a",
    )


def cider(images: Images) -> CiderReward:
    counted = frequencies(images)
    return CiderReward(counted.keys, counted.counts, counted.images)


def padded(rows: Sequence[Sentence], size: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.full([len(rows), size], 5, np.int32)  # padding, which must be ignored
    for place, row in zip(found, rows, strict=True):
        place[: len(row)] = row
    return found, np.array([len(row) for row in rows], np.int32)


def arguments(
    hypotheses: Sequence[Sentence], images: Images, size: int = 17, references: int = 5
) -> tuple[np.ndarray, ...]:
    tokens, lengths = padded(hypotheses, size)
    rows = np.full([len(images), references, size + 2], 7, np.int32)
    counts = np.zeros([len(images), references], np.int32)
    for image, own in enumerate(images):
        rows[image, : len(own)], counts[image, : len(own)] = padded(own, size + 2)
    return tokens, lengths, rows, counts


def by_coco(hypotheses: Sequence[Sentence], images: Images, each: int) -> np.ndarray:
    """Computes CIDEr-D by pycocoevalcap, which counts document frequencies per hypothesis."""
    scorer = CiderScorer(n=4, sigma=6.0)
    for row, hypothesis in enumerate(hypotheses):
        texts = [" ".join(map(str, words)) for words in (hypothesis, *images[row // each])]
        scorer += (texts[0], texts[1:])
    scorer.compute_doc_freq()
    return np.array(scorer.compute_cider())


def test_golden_values() -> None:
    hypotheses = [
        [1, 2, 3, 4, 0], [1, 2, 3, 0], [1, 2, 3, 4],
        [6, 3, 4, 0], [6, 3, 4, 0], [6, 3, 4, 0],
        [2, 2, 2, 7, 0], [2, 2, 2, 7, 0], [2, 2, 2, 7, 0],
    ]  # fmt: skip
    found = CaptionReward(cider(GOLDEN)).scores(*arguments(hypotheses, GOLDEN, 8, 2))
    expected = [[5.718574, 3.269936, 5.236152], [6.820984] * 3, [4.910816] * 3]
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.fixture(scope="module")
def real(shared_data: Path) -> tuple[list[list[int]], list[list[list[int]]]]:
    """1,000 captions of a model and five references of each image, as word ids."""
    folder, ids = shared_data / "metric_oracle_flickr30k", {}

    def lines(name: str) -> list[list[int]]:
        texts = (folder / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
        return [
            [*(ids.setdefault(word, len(ids) + 3) for word in text.split()[:16]), 2]
            for text in texts
        ]

    references = lines("references")
    return lines("predictions_init_1"), [references[i : i + 5] for i in range(0, 5000, 5)]


def test_real_captions_score_as_the_reference_scorers_do(
    real: tuple[list[list[int]], list[list[list[int]]]],
) -> None:
    hypotheses, images = real
    given = arguments(hypotheses, images)
    reward = CaptionReward(cider(images))
    np.testing.assert_allclose(
        reward.scores(*given)[:, 0], by_coco(hypotheses, images, 1), atol=1e-5
    )
    bleu = reward._replace(cider_weight=0.0, bleu_weight=1.0).scores(*given)[:, 0]
    np.testing.assert_allclose(bleu, coco_bleu(hypotheses, images, 1), atol=1e-5)
    both = reward._replace(cider_weight=0.5, bleu_weight=2.0).scores(*given)
    np.testing.assert_allclose(both, 0.5 * reward.scores(*given) + 2 * bleu[:, None], atol=1e-5)


def coco_bleu(hypotheses: Sequence[Sentence], images: Images, each: int) -> list[float]:
    scorer = BleuScorer(n=4)
    for row, hypothesis in enumerate(hypotheses):
        texts = [" ".join(map(str, words)) for words in (hypothesis, *images[row // each])]
        scorer += (texts[0], texts[1:])
    found: list[float] = scorer.compute_score(option="closest", verbose=0)[1][3]
    return found


def test_thousands_of_random_captions() -> None:
    """Sentences have few distinct words, so that n-grams repeat, and ids beyond 16 bits."""
    rng = np.random.default_rng(1)
    for words, offset in ((4, 3), (12, 3), (40, 200_000), (40, 2**31 - 41)):
        images = [
            [rng.integers(words, size=rng.integers(1, 12)) + offset for _ in range(5)]
            for _ in range(200)
        ]
        hypotheses = [
            rng.integers(words, size=rng.integers(1, 15)) + offset for _ in range(5 * 200)
        ]
        given = arguments(hypotheses, images)
        reward = CaptionReward(cider(images))
        found = reward.scores(*given).numpy().reshape(-1)
        np.testing.assert_allclose(found, by_coco_with(images, hypotheses), atol=1e-5)
        bleu = reward._replace(cider_weight=0.0, bleu_weight=1.0).scores(*given)
        expected = coco_bleu(hypotheses, images, 5)
        np.testing.assert_allclose(bleu.numpy().reshape(-1), expected, atol=1e-5)


def by_coco_with(images: Images, hypotheses: Sequence[Sentence]) -> np.ndarray:
    """CIDEr-D in NumPy, with document frequencies of the images."""
    counted = frequencies(images)
    prepared = CiderD(counted.lookup, counted.images).prepare(
        rows_of([r for own in images for r in own]), np.repeat(np.arange(len(images)), 5)
    )
    each = len(hypotheses) // len(images)
    return prepared.scores(rows_of(hypotheses), np.repeat(np.arange(len(images)), each))


def rows_of(sentences: Sequence[Sentence]) -> Rows:
    return Rows(np.concatenate(sentences), np.array([len(sentence) for sentence in sentences]))


SENTENCES = st.lists(st.integers(2, 5), min_size=1, max_size=7)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(SENTENCES, max_size=3), min_size=1, max_size=3), st.data())
def test_images_with_any_number_of_references(
    images: list[list[list[int]]], data: st.DataObject
) -> None:
    known = [[[2, 3, 4, 5], [3, 3]], *images]
    hypotheses = [data.draw(st.lists(st.integers(2, 6), max_size=9)) for _ in range(2 * len(known))]
    counted = frequencies(known)
    owners = np.repeat(np.arange(len(known)), [len(own) for own in known])
    prepared = CiderD(counted.lookup, counted.images).prepare(
        rows_of([r for own in known for r in own]), owners
    )
    words = np.array([word for caption in hypotheses for word in caption], int)
    lengths = np.array([len(caption) for caption in hypotheses])
    expected = prepared.scores(Rows(words, lengths), np.repeat(np.arange(len(known)), 2))
    found = CaptionReward(cider(known)).scores(*arguments(hypotheses, known, 9, 3))
    np.testing.assert_allclose(found.numpy().reshape(-1), expected, atol=1e-5)
    bleu = CaptionReward(cider(known), 0.0, 1.0).scores(*arguments(hypotheses, known, 9, 3))
    assert np.isfinite(bleu).all()
    for image, own in enumerate(known):
        for sample in range(2):
            caption = hypotheses[2 * image + sample]
            exact = coco_bleu([caption], [own], 1)[0] if own and caption else 0.0
            assert float(bleu[image, sample]) == pytest.approx(exact, abs=1e-5)


def test_captions_of_similar_images_have_a_share() -> None:
    hypotheses = [[1, 2, 3, 4, 0], [6, 3, 4, 0]]
    given = arguments(hypotheses, GOLDEN[:2], 8, 2)
    theirs = [[[1, 2, 3, 0], [3, 4, 6, 3, 0], [5, 1, 0]], [[6, 3, 4, 4, 0], [2, 0]]]
    _, _, tokens, lengths = arguments(hypotheses, theirs, 8, 3)
    weights = np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]], np.float32)
    similar = SimilarCaptions(*map(tf.constant, (tokens, lengths, weights)))
    found = CaptionReward(cider(GOLDEN), 2.0, 1.0, 0.25).scores(*given, similar)
    own = CaptionReward(cider(GOLDEN)).scores(*given).numpy()
    bleu = CaptionReward(cider(GOLDEN), 0.0, 1.0).scores(*given).numpy()
    counted = frequencies(GOLDEN)
    kernel = CiderD(counted.lookup, counted.images)
    for image, references in enumerate(theirs):
        terms = kernel.similarities([np.array(hypotheses[image])], [*map(np.array, references)])[0]
        mean = terms @ weights[image, : len(terms)]
        assert mean > 0
        expected = 2.0 * (0.75 * own[image, 0] + 0.25 * mean) + bleu[image, 0]
        assert float(found[image, 0]) == pytest.approx(expected, abs=1e-5)


def test_nothing_to_score() -> None:
    reward = CaptionReward(cider(GOLDEN), 1.0, 1.0)
    empty = reward.scores(*arguments([], [], 4, 2))
    assert empty.shape == (0, 0)
    assert reward.scores(*arguments([[1, 0]], [[]], 4, 2)).numpy().tolist() == [[0.0]]
    # A batch without references; captions that consist of the end marker only, or of no words.
    tokens, lengths, _, _ = arguments([[0], []], [[]], 4, 0)
    nothing = np.zeros([1, 0, 3], np.int32), np.zeros([1, 0], np.int32)
    assert reward.scores(tokens, lengths, *nothing).numpy().tolist() == [[0.0, 0.0]]
    ends = reward.scores(*arguments([[0], []], GOLDEN[:1], 4, 2)).numpy()
    assert np.isfinite(ends).all() and ends[0, 1] == 0.0


@pytest.mark.skipif(
    len(tf.config.list_logical_devices("CPU")) < 2, reason="TensorFlow started with one CPU device"
)
def test_two_replicas_in_the_graph_score_what_one_does() -> None:
    reward = CaptionReward(cider(GOLDEN))
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    hypotheses = [[1, 2, 3, 4, 0], [6, 3, 4, 0]]
    given = arguments(hypotheses, GOLDEN[:2], 8, 2)

    @tf.function(autograph=False)
    def scores() -> tf.Tensor:
        def own() -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            return reward.scores(*(tf.gather(x, [replica]) for x in map(tf.constant, given)))

        return tf.concat(strategy.experimental_local_results(strategy.run(own)), 0)

    np.testing.assert_allclose(scores()[:, 0], [5.718574, 6.820984], atol=2e-6)
