"""Indexes of folders and files, and searches in them, with a small embedding."""

import importlib.util
import json

import numpy as np
import pytest
from retrieval_runs import WordEmbedding, folder_of, paint

from r2m.evaluation.pages.search_page import search_json, search_table, write_search_page
from r2m.inference.search import model_binding
from r2m.inference.search.index_builder import build_index
from r2m.inference.search.model_binding import open_index
from r2m.inference.search.queries import make_queries
from r2m.inference.search.searching import page_results, search_index
from r2m.inference.search.vector_index import VectorIndex
from tfrecords.core.errors import InputError
from tfrecords.formats.text.reading import parse_source

NAMES = ("a_dog_on_a_beach", "a_cat_on_a_street", "city_day", "city_night", "two_dog")
CAPTIONS = ("a dog on a beach", "a cat on a street", "two cat", "city day", "city night")


@pytest.fixture(autouse=True)
def checkpoint(monkeypatch):
    monkeypatch.setattr(model_binding, "RunFolder", folder_of())


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return WordEmbedding(tmp_path / "run")


@pytest.fixture
def pictures(tmp_path):
    paint(tmp_path / "pictures", *NAMES)
    (tmp_path / "pictures" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


@pytest.fixture
def captions(tmp_path):
    file = tmp_path / "captions.txt"
    file.write_text("\n".join([*CAPTIONS, "ein Hund", CAPTIONS[0], ""]))
    return parse_source(str(file))


def names(result):
    return [hit.item.get("name", hit.item.get("text")) for hit in result.hits]


def test_images_are_found_by_sentences_and_images(run, pictures, tmp_path):
    built = build_index(run, tmp_path / "index", images=[pictures])
    assert len(built.opened) == 5
    assert built.skipped == {"unreadable": 1, "not_an_image": 1}
    assert built.opened.about["skipped_list"][0]["source"] == "broken.png"
    queries = make_queries(
        run, texts=["a dog on a beach", "two dog"], images=[pictures / "city_day.png"]
    )
    results = search_index(built.opened, queries, 2)
    assert [names(result)[0] for result in results] == [
        "a_dog_on_a_beach.png",
        "two_dog.png",
        "city_day.png",
    ]
    assert results[0].hits[0].score == pytest.approx(1, abs=1e-3)
    assert results[0].hits[0].item["path"] == str(pictures / "a_dog_on_a_beach.png")
    assert names(results[2])[1] == "city_night.png" and len(results[2].hits) == 2


def test_captions_are_indexed_once_and_found(run, captions, pictures, tmp_path):
    built = build_index(run, tmp_path / "index", captions=[captions])
    assert len(built.opened) == len(CAPTIONS) and built.skipped == {"unknown_words": 1}
    queries = make_queries(run, images=[pictures / "two_dog.png"], texts=["night"])
    found = search_index(built.opened, queries, 1)
    assert [names(result) for result in found] == [["city night"], ["two cat"]]


def test_words_are_added_and_subtracted(run, pictures, tmp_path):
    index = build_index(run, tmp_path / "index", images=[pictures]).opened
    queries = make_queries(run, images=[pictures / "city_day.png"], minus=["day"], plus=["night"])
    expected = run.encode_images([pictures / "city_day.png"])[0]
    expected = expected - run.encode_sentences(["day"])[0] + run.encode_sentences(["night"])[0]
    np.testing.assert_allclose(queries[0].vector, expected / np.linalg.norm(expected), rtol=1e-5)
    assert queries[0].title.endswith("city_day.png - day + night")
    plain = search_index(index, queries, 3)[0]
    assert names(plain)[0] == "city_night.png"
    again = search_index(index, queries, 3, rerank=True)[0]
    vectors = run.encode_images([pictures / name for name in names(plain)]).astype(np.float16)
    scores = vectors.astype(np.float32) @ vectors.astype(np.float32).mean(0)
    assert names(again) == [names(plain)[row] for row in np.argsort(-scores)]


def test_order_similarity_is_searched_from_both_sides(tmp_path, pictures, captions):
    (tmp_path / "order").mkdir()
    run = WordEmbedding(tmp_path / "order", "order")
    images = build_index(run, tmp_path / "images", images=[pictures]).opened
    texts = build_index(run, tmp_path / "texts", captions=[captions]).opened
    image = run.encode_images([pictures / f"{name}.png" for name in NAMES])
    text = run.encode_sentences(list(CAPTIONS))
    scores = -np.sqrt((np.maximum(text[None] - image[:, None], 0) ** 2).sum(-1))
    queries = make_queries(run, texts=[CAPTIONS[1]], images=[pictures / "city_day.png"])
    by_text, by_image = search_index(images, queries, 5)
    np.testing.assert_allclose(
        [hit.score for hit in by_text.hits], np.sort(scores[:, 1])[::-1], atol=2e-3
    )
    assert names(by_image)[0] == "city_day.png"
    by_text, by_image = search_index(texts, queries, 5)
    np.testing.assert_allclose(
        [hit.score for hit in by_image.hits], np.sort(scores[2])[::-1], atol=2e-3
    )
    assert names(by_text)[0] == CAPTIONS[1]
    with pytest.raises(InputError, match="this embedding has order similarity"):
        make_queries(run, texts=["city"], plus=["night"])
    with pytest.raises(InputError, match="approximate search is for cosine"):
        if importlib.util.find_spec("faiss") is None:
            pytest.skip("faiss is not installed")
        build_index(run, tmp_path / "new", images=[pictures], approximate=True)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({}, "an empty query: give a sentence or --image"),
        ({"texts": ["a dog", "  "]}, "an empty query"),
        ({"texts": ["zwei Hunde"]}, "'zwei Hunde' has no word among the 14 words"),
        ({"texts": ["city"], "plus": ["Nacht"]}, "'Nacht' has no word"),
        ({"texts": ["city"], "minus": ["city"]}, "is zero after --minus and --plus"),
    ],
)
def test_queries_without_a_meaning_are_refused(run, query, message):
    with pytest.raises(InputError, match=message):
        make_queries(run, **query)


def test_what_cannot_be_indexed_is_refused(run, pictures, captions, tmp_path):
    with pytest.raises(InputError, match="give --images or --captions"):
        build_index(run, tmp_path / "index")
    with pytest.raises(InputError, match="give --images or --captions"):
        build_index(run, tmp_path / "index", images=[pictures], captions=[captions])
    (tmp_path / "foreign.txt").write_text("ein Hund\n")
    with pytest.raises(InputError, match="nothing to index"):
        build_index(run, tmp_path / "index", captions=[parse_source(str(tmp_path / "foreign.txt"))])
    assert not (tmp_path / "index").exists()


def test_an_index_opens_with_its_own_model_only(run, pictures, tmp_path, monkeypatch):
    build_index(run, tmp_path / "index", images=[pictures])
    monkeypatch.setattr(model_binding, "load_embedding", lambda path, _: WordEmbedding(path))
    index, opened = open_index(tmp_path / "index")
    assert opened.path == run.path and index.facts()["images"] == 5
    monkeypatch.setattr(model_binding, "RunFolder", folder_of("def", 9))
    with pytest.raises(InputError, match="index of another model"):
        open_index(tmp_path / "index")
    run.path.rmdir()
    with pytest.raises(InputError, match="which does not exist: give the folder it was moved to"):
        open_index(tmp_path / "index")


def test_results_as_text_json_and_page(run, pictures, captions, tmp_path):
    index = build_index(run, tmp_path / "index", images=[pictures]).opened
    results = page_results(
        search_index(
            index, make_queries(run, texts=["a dog"], images=[pictures / "city_day.png"]), 2
        )
    )
    assert "\n    1   0." in search_table(results)
    data = json.loads(json.dumps(search_json(results)))
    assert data[1]["hits"][0]["image"] == "city_day.png" and data[0]["query"] == "a dog"
    page = write_search_page(tmp_path / "page.html", results, index.facts()).read_text()
    assert page.count("data:image/jpeg") == 5  # four hits and a query
    assert "<h2>a dog</h2>" in page and "script" not in page.split("</head>")[1]
    texts = build_index(run, tmp_path / "texts", captions=[captions]).opened
    results = page_results(search_index(texts, make_queries(run, texts=["a dog"]), 1))
    assert search_json(results)[0]["hits"][0]["caption"] == "a dog on a beach"
    assert "a dog on a beach" in write_search_page(tmp_path / "t.html", results, {}).read_text()


def test_approximate_search_finds_most_of_the_nearest(run, captions, tmp_path):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    texts = tmp_path / "many.txt"
    words = run.vocabulary.words[3:-1]
    texts.write_text("\n".join(" ".join(rng.choice(words, 5)) for _ in range(3000)))
    built = build_index(
        run, tmp_path / "index", captions=[parse_source(str(texts))], approximate=True
    )
    queries = make_queries(run, texts=["two dog on a beach", "a city by night"])
    exact = search_index(built.opened, queries, 10)
    near = search_index(VectorIndex(tmp_path / "index"), queries, 10, approximate=True)
    for own, other in zip(exact, near, strict=True):
        assert len({*names(own)} & {*names(other)}) >= 8
    all_cells = search_index(built.opened, queries, 10, approximate=True, probes=10**6)
    np.testing.assert_allclose(
        [hit.score for hit in all_cells[0].hits], [hit.score for hit in exact[0].hits], atol=1e-3
    )


def test_approximate_search_needs_its_structure(run, pictures, tmp_path, monkeypatch):
    index = build_index(run, tmp_path / "index", images=[pictures]).opened
    with pytest.raises(InputError, match="build it again with --approximate"):
        search_index(index, make_queries(run, texts=["a dog"]), 1, approximate=True)
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(InputError, match=r"pip install 'r2m\[faiss\]'"):
        build_index(run, tmp_path / "other", images=[pictures], approximate=True)
