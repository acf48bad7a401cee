"""Can captions in corpus style be right, and do right ones score? A bound for any model."""

from __future__ import annotations

import pytest

from tfrecords.shapes.captions import references
from tfrecords.shapes.corpus import describe
from tfrecords.shapes.dataset import plain
from tfrecords.shapes.layout import lay_out
from tfrecords.shapes.streams import Stream
from tfrecords.shapes.world import (
    COLORS,
    KINDS,
    MAX_CONCEPTS,
    PLACES,
    SIZES,
    Facts,
    Thing,
    concept_words,
    sample_facts,
)

cider = pytest.importorskip("pycocoevalcap.cider.cider")
_IMAGES = 200


def _understand(words: list[str]) -> Facts:
    """The scene a reader makes of concept words in any order, counting every kind once."""
    kinds = sorted(
        (word for word in words if word in KINDS),
        key=lambda word: (not KINDS[word].painted, KINDS[word].zone == "sky", word),
    )
    color = next((word for word in words if word in COLORS), None)
    size = next((word for word in words if word in SIZES), None)
    main = Thing(kind=kinds[0], color=color, size=size)
    return Facts(
        place=next((word for word in words if word in PLACES), None),
        night=bool({"moon", "star"} & set(kinds)),
        things=(main, *(Thing(kind=kind) for kind in kinds[1:])),
    )


def _scores() -> dict[str, float]:
    expected, concepts = {}, []
    for index in range(_IMAGES):
        facts = sample_facts(Stream("oracle", index))
        scene = lay_out(facts, Stream("oracle layout", index))
        texts = references(scene, Stream("oracle captions", index))
        expected[index] = [plain(text) for text in texts]
        words = concept_words(facts)[:MAX_CONCEPTS]
        concepts.append(Stream("oracle order", index).shuffled(words))
    told = [
        plain(describe(_understand(words), Stream("oracle tells", i)))
        for i, words in enumerate(concepts)
    ]
    systems = {
        "oracle": told,
        "shuffled": told[1:] + told[:1],
        "generic": ["a red car on the road next to a tree and the sun"] * _IMAGES,
    }
    return {
        name: float(cider.Cider().compute_score(expected, {i: [t] for i, t in enumerate(texts)})[0])
        for name, texts in systems.items()
    }


def test_telling_the_concepts_scores_far_above_telling_others():
    scores = _scores()
    assert scores["oracle"] > 1.0
    assert scores["oracle"] > 3 * scores["shuffled"]
    assert scores["oracle"] > 3 * scores["generic"]
