"""Python interface of the visual-semantic embedding, with its original names."""

import numpy as np
import pytest
from retrieval_runs import WordEmbedding, paint

import r2m
from tfrecords.core.errors import InputError

NAMES = ("a_dog_on_a_beach", "a_cat_on_a_street", "city_day", "city_night", "two_cat_by_night")
CAPTIONS = ["a dog on a beach", "city night", "two cat", "city day", "street"]


@pytest.fixture
def model(tmp_path):
    return WordEmbedding(tmp_path)


@pytest.fixture
def images(tmp_path):
    paint(tmp_path / "pictures", *NAMES)
    return [tmp_path / "pictures" / f"{name}.png" for name in NAMES]


def test_captions_of_an_image(model, images):
    vectors = r2m.encode_sentences(model, CAPTIONS)
    assert vectors.shape == (5, model.size)
    found = r2m.retrieve_captions(model, CAPTIONS, vectors, str(images[2]), k=2)
    assert found == ["city day", "city night"]


def test_images_of_a_sentence(model, images):
    vectors = r2m.encode_images(model, images)
    assert r2m.retrieve_images(model, NAMES, vectors, "a cat on a street", k=1) == [NAMES[1]]
    assert len(r2m.retrieve_images(model, NAMES, vectors, "a cat", k=9)) == 5


def test_regularities(model, images):
    vectors = r2m.encode_images(model, images)
    words = r2m.encode_sentences(model, ["day", "night"])
    query = vectors[2] - words[0] + words[1]
    expected = np.argsort(-(vectors @ query))[:3]
    found, rows = r2m.regularities(model, NAMES, vectors, images[2], "day", "night", k=3)
    assert rows == expected.tolist() and found == [NAMES[row] for row in rows]
    assert found[0] == "city_night"
    nearest = vectors[rows]
    reranked = np.array(rows)[np.argsort(-(nearest @ nearest.mean(0)))]
    _, rows = r2m.regularities(model, NAMES, vectors, images[2], "day", "night", 3, rerank=True)
    assert rows == reranked.tolist()


def test_bad_input(model, images):
    vectors = r2m.encode_images(model, images)
    with pytest.raises(InputError, match="empty query"):
        r2m.retrieve_images(model, NAMES, vectors, " ")
    with pytest.raises(InputError, match="'Hund' has no word"):
        r2m.encode_sentences(model, ["a dog", "Hund"])
    with pytest.raises(InputError, match=r"shape \[4, 64\] for 5 images: expected \[5, 64\]"):
        r2m.retrieve_images(model, NAMES, vectors[:4], "a dog")
    with pytest.raises(InputError, match="k=0: must be at least 1"):
        r2m.retrieve_images(model, NAMES, vectors, "a dog", k=0)
