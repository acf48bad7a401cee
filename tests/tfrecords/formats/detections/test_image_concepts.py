from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.formats.detections.image_concepts import image_concepts
from tfrecords.formats.detections.reading import DetectionSource, read_detections
from tfrecords.language.concepts import build_concept_dictionary
from tfrecords.language.label_maps import LabelMap
from tfrecords.language.unlikely_pairs import from_saved

CLASSES = ["person", "dog", "sports ball", "car"]
TAGS = ["whippet", "Saluki", "seashore, coast", "neck brace"]


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    maps = [LabelMap("coco", dict(enumerate(CLASSES))), LabelMap("tags", dict(enumerate(TAGS)))]
    words = {"whippet": "dog", "saluki": "dog", "seashore": "beach, ocean", "neck brace": "-"}
    table = tmp_path_factory.mktemp("tables") / "t.tsv"
    rows = [f"{name}\t{concepts}" for name, concepts in words.items()]
    table.write_text("\n".join(["class\tconcepts\twhole list", *rows]))
    return build_concept_dictionary(maps, [table])


def results(names, rows, images=("a.jpg", "b.jpg")):
    """Rows: image number, class, bbox, score."""
    return {
        "images": [
            {"id": i, "file_name": name, "width": 200, "height": 100}
            for i, name in enumerate(images)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(names)],
        "annotations": [
            {"image_id": i, "category_id": names.index(c), "bbox": box, "score": s}
            for i, c, box, s in rows
        ],
    }


def source(folder, name, data, **options):
    path = folder / name
    path.write_text(json.dumps(data))
    return DetectionSource(path=path, **options)


WHOLE = [0, 0, 200, 100]


@pytest.fixture
def sources(tmp_path):
    boxes = [
        (0, "dog", [20, 10, 100, 50], 0.9),
        (0, "dog", [0, 0, 20, 10], 0.5),
        (0, "dog", [0, 0, 10, 10], 0.29),
        (0, "car", [100, 50, 200, 50], 0.6),
    ]
    tags = [
        (0, "whippet", WHOLE, 0.2),
        (0, "Saluki", WHOLE, 0.2),
        (0, "seashore, coast", WHOLE, 0.35),
        (0, "neck brace", WHOLE, 0.99),
        (1, "whippet", WHOLE, 0.2),
        (1, "Saluki", WHOLE, 0.2),
        (1, "seashore, coast", WHOLE, 0.25),
    ]
    return (
        source(tmp_path, "boxes.json", results(CLASSES, boxes)),
        source(tmp_path, "tags.json", results(TAGS, tags)),
    )


def test_boxes_are_fractions_clipped_to_the_image(sources):
    found = read_detections(sources[:1])["a.jpg"]
    np.testing.assert_allclose(
        found.boxes, [[0.1, 0.1, 0.6, 0.6], [0, 0, 0.1, 0.1], [0.5, 0.5, 1, 1]], atol=1e-6
    )
    assert found.class_names == ("dog", "dog", "car")
    assert found.sizes == {0: (100, 200)}
    assert not found.is_tag.any()


def test_every_listed_image_is_there_even_without_detections(sources):
    found = read_detections(sources[:1])["b.jpg"]
    assert found.boxes.shape == (0, 4)
    assert found.class_names == ()


def test_concepts_are_merged_counted_and_ordered(sources, dictionary):
    found = read_detections(sources)
    concepts = image_concepts(found["a.jpg"], dictionary, sources=sources)
    # 0.2 + 0.2 for dog from the tags is less certain than the box; seashore gives two words.
    assert [(c.word, c.count) for c in concepts] == [
        ("beach", 1),
        ("ocean", 1),
        ("car", 1),
        ("dog", 2),
    ]
    assert concepts[-1].score == pytest.approx(0.9)
    assert concepts[-1].box == pytest.approx((0.1, 0.1, 0.6, 0.6))
    assert concepts[0].box == pytest.approx((0, 0, 1, 1))


def test_tags_add_up_before_the_threshold(sources, dictionary):
    found = read_detections(sources)["b.jpg"]
    concepts = image_concepts(found, dictionary, sources=sources)
    assert [(c.word, round(c.score, 3), c.count) for c in concepts] == [("dog", 0.4, 1)]


def test_order_limit_weight_and_allowed(sources, dictionary):
    found = read_detections(sources)["a.jpg"]
    by_id = image_concepts(found, dictionary, sources=sources, order="class_id")
    assert [c.word for c in by_id] == ["dog", "car", "beach", "ocean"]
    two = image_concepts(found, dictionary, sources=sources, max_concepts=2)
    assert [c.word for c in two] == ["car", "dog"]
    only = image_concepts(found, dictionary, sources=sources, allowed={"ocean"})
    assert [c.word for c in only] == ["ocean"]
    heavy = (sources[0], DetectionSource(path=sources[1].path, weight=3.0))
    assert image_concepts(found, dictionary, sources=heavy)[-1].word == "dog"
    assert image_concepts(found, dictionary, sources=heavy)[-1].score == pytest.approx(1.2)


def test_the_less_certain_of_an_unlikely_pair_is_left_out_before_the_limit(sources, dictionary):
    found = read_detections(sources)["a.jpg"]
    # By score: beach, ocean, car, dog.
    for order, words in (("score", ["beach", "dog"]), ("class_id", ["dog", "beach"])):
        dropped = Counter()
        concepts = image_concepts(
            found, dictionary, sources=sources, max_concepts=2, order=order, dropped=dropped,
            unlikely=from_saved({"car": "dog ocean", "dog": "ocean"}),
        )  # fmt: skip
        assert [concept.word for concept in concepts] == words
        assert dropped == {"unlikely_pair": 2}
    none = Counter()
    image_concepts(found, dictionary, sources=sources, dropped=none, unlikely=from_saved({}))
    assert none == {}


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(0, 100)), max_size=30))
def test_more_concepts_never_change_the_best_ones(tmp_path_factory, dictionary, rows):
    folder = tmp_path_factory.mktemp("d")
    rows = [(0, name, [1, 1, 5, 5], score / 100) for name, score in rows]
    rows.append((1, "dog", [1, 1, 5, 5], 1.0))
    one = (source(folder, "d.json", results(CLASSES, rows)),)
    found = read_detections(one)["a.jpg"]
    every = image_concepts(found, dictionary, sources=one, max_concepts=99)
    assert [c.score for c in every] == sorted(c.score for c in every)
    assert len({c.word for c in every}) == len(every)
    for most in range(1, 5):
        best = image_concepts(found, dictionary, sources=one, max_concepts=most)
        assert best == every[-most:]


def test_plain_list_needs_its_images(tmp_path):
    data = results(CLASSES, [(0, "dog", [1, 1, 5, 5], 0.9)])
    rows = source(tmp_path, "rows.json", data["annotations"])
    with pytest.raises(InputError, match="plain list"):
        read_detections([rows])
    images = tmp_path / "images.json"
    images.write_text(json.dumps({"images": data["images"], "categories": data["categories"]}))
    found = read_detections([DetectionSource(path=rows.path, companion=images)])
    assert found["a.jpg"].class_names == ("dog",)


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match="no file of detections"):
        read_detections([DetectionSource(path=tmp_path / "none.json")])
    with pytest.raises(InputError, match="no file of detections was given"):
        read_detections([])
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"cut\.json:1: not valid JSON"):
        read_detections([DetectionSource(path=tmp_path / "cut.json")])
    with pytest.raises(InputError, match="contains no detections"):
        read_detections([source(tmp_path, "e.json", results(CLASSES, []))])
    with pytest.raises(InputError, match="expected the keys"):
        read_detections([source(tmp_path, "k.json", {"images": []})])
    stranger = results(CLASSES, [(0, "dog", [1, 1, 5, 5], 0.9), (7, "dog", [1, 1, 5, 5], 0.9)])
    with pytest.raises(InputError, match="annotation 1 is malformed"):
        read_detections([source(tmp_path, "s.json", stranger)])


@pytest.mark.parametrize("text", ["", ",0.3", "a.json,x", "a.json,0.1,2,3"])
def test_source_texts_that_are_none(text):
    with pytest.raises(InputError, match="FILE"):
        DetectionSource.parse(text)


def test_source_text():
    found = DetectionSource.parse("a.json,0.15")
    assert (found.path.name, found.min_score, found.weight) == ("a.json", 0.15, 1.0)
    assert DetectionSource.parse("a.json") == DetectionSource(path=found.path)


def test_real_files(shared_data):
    sources = (
        DetectionSource(path=shared_data / "flickr8k/detections_coco.json"),
        DetectionSource(path=shared_data / "flickr8k/tags_imagenet.json"),
    )
    found = read_detections(sources)
    assert len(found) == 7000
    assert all(((d.boxes >= 0) & (d.boxes <= 1)).all() for d in found.values())
    assert all((d.is_tag == (d.source_index == 1)).all() for d in found.values())
    assert all((d.scores[~d.is_tag] >= 0.3).all() for d in found.values())
    truth = shared_data / "coco/mini/annotations/instances_val2017.json"
    mini = read_detections([DetectionSource(path=truth)])
    assert len(mini) == 79
    assert sum(len(d.class_names) for d in mini.values()) == 624
