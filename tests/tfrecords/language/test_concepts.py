from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.language.concepts import (
    DEFAULT_TABLES,
    ConceptDictionary,
    build_concept_dictionary,
    class_key,
)
from tfrecords.language.label_maps import LabelMap, read_label_map


def label_map(*names):
    return LabelMap("test", dict(enumerate(names, start=1)))


@pytest.fixture(scope="module")
def coco():
    names = ["person", "dog", "hot dog", "sports ball", "orange", "wine glass", "skis", "bus"]
    return build_concept_dictionary([label_map(*names, "surfboard", "scissors", "traffic light")])


def concepts(dictionary, text):
    return [mention.concept for mention in dictionary.find(text.split())]


def test_last_word_rule_without_tables():
    found = build_concept_dictionary([label_map("Coffee cup", "hot dog", "Cup", "bus")], [])
    assert found.words == ("bus", "cup", "dog")
    assert found.concepts_of_class("Coffee cup") == ("cup",)
    assert found.concept_of("cups") == "cup"
    assert found.concept_of("puppy") is None


def test_plurals_are_made_and_never_guessed(coco):
    assert coco.concept_of("buses") == "bus"
    assert coco.concept_of("bu") is None
    assert coco.is_plural("people") and coco.is_plural("men") and coco.is_plural("dogs")
    assert not coco.is_plural("bus") and not coco.is_plural("person")
    assert coco.concept_of("scissors") == "scissors"
    assert coco.concept_of("glass") == "glass"


def test_find_takes_the_longest_form_and_all_its_concepts(coco):
    assert concepts(coco, "a man eats a hot dog") == ["person", "hotdog"]
    assert concepts(coco, "a hot day for the dogs") == ["dog"]
    assert concepts(coco, "a surfer rides") == ["person", "surfboard"]
    assert concepts(coco, "hot") == []
    mention = coco.find(["two", "red", "traffic", "lights"])[0]
    assert (mention.position, mention.length, mention.concept, mention.plural) == (
        2,
        2,
        "stoplight",
        True,
    )


def test_a_hot_dog_is_never_a_dog(coco):
    texts = ["a hot dog", "two hot dogs", "a hot-dog", "chili dogs", "a corn dog", "a corndog"]
    without = build_concept_dictionary([label_map("dog", "bear", "person", "horse")])
    for text in texts:
        assert concepts(coco, text) == ["hotdog"], text
        assert concepts(without, text) == [], text
        assert concepts(without, f"a dog eats {text}") == ["dog"]
    assert coco.is_plural("hot dogs") and not coco.is_plural("hot dog")


def test_a_phrase_without_a_concept_does_not_name_those_of_its_words(tmp_path):
    table = tmp_path / "table.tsv"
    table.write_text("word\tconcepts\nteddy bear\tteddy\ngrizzly bear\tbear\ncub\tlion\n")
    found = build_concept_dictionary([label_map("bear", "cub")], [table])
    assert concepts(found, "a teddy bear and teddy bears") == []
    assert concepts(found, "a grizzly bear and bears") == ["bear", "bear"]
    assert found.concept_of("cub") == "cub"  # a class of the detector takes precedence
    seen = build_concept_dictionary([label_map("bear", "teddy")], [table])
    assert concepts(seen, "a teddy bear and teddy bears") == ["teddy", "teddy"]


def test_forms_that_name_nothing(coco):
    assert concepts(coco, "an orange shirt") == []
    assert concepts(coco, "two oranges") == ["orange"]
    assert concepts(coco, "a couple of dogs") == ["dog"]
    assert concepts(coco, "a couple with dogs") == ["person", "dog"]
    assert concepts(coco, "a man wearing glasses") == ["person"]
    assert concepts(coco, "two glasses of wine") == ["wine", "glass"]


def test_classes(coco):
    assert coco.concepts_of_class("Hot_Dog") == ("hotdog",)
    assert coco.concepts_of_class("wine glass") == ("wine", "glass")
    assert coco.concepts_of_class("police dog") == ("dog",)  # in no label map: last word
    assert coco.concepts_of_class("puppy, whelp") == ("dog",)
    assert coco.concepts_of_class("volcano") == ()
    assert coco.concepts_of_class("") == ()


def test_first_label_map_decides_a_shared_class(tmp_path):
    one = tmp_path / "one.tsv"
    one.write_text("class\tconcepts\twhole list\nkite\tbird\nalp\tmountain\nski\tski\n")
    toy, bird = label_map("kite", "person", "dog"), label_map("kite", "alp")
    assert build_concept_dictionary([toy, bird], [one]).concepts_of_class("kite") == ("kite",)
    assert build_concept_dictionary([bird, toy], [one]).concepts_of_class("kite") == ("bird",)


def test_person_words_split_up_only_where_a_detector_tells_them_apart():
    alone = build_concept_dictionary([label_map("person")])
    assert concepts(alone, "a woman and two boys") == ["person", "person"]
    oid = build_concept_dictionary([label_map("Person", "Woman", "Boy")])
    assert concepts(oid, "a woman") == ["person", "woman"]
    assert oid.concepts_of_class("Boy") == ("boy", "child", "person")


@given(
    st.lists(
        st.sampled_from(
            ["a", "hot", "dog", "dogs", "couple", "of", "orange", "surfer", "man", "bus", "two"]
        )
    )
)
def test_mentions_are_in_order_and_cover_their_form(coco, tokens):
    end = 0
    for mention in coco.find(tokens):
        form = " ".join(tokens[mention.position : mention.position + mention.length])
        assert mention.concept in coco.forms[form]
        assert mention.concept in coco.words
        assert mention.position >= end or mention.position + mention.length == end
        end = mention.position + mention.length


def test_json_round_trip_and_digest(coco):
    again = ConceptDictionary.from_json(coco.to_json())
    assert again == coco
    assert again.sha256 == coco.sha256
    assert build_concept_dictionary([label_map("dog")]).sha256 != coco.sha256
    with_counts = {**json.loads(coco.to_json()), "counts": {"dog": 3}}
    assert ConceptDictionary.from_json(json.dumps(with_counts)) == coco


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format_version": 99}'])
def test_broken_json_is_an_input_error(text):
    with pytest.raises(InputError, match=r"concepts\.json"):
        ConceptDictionary.from_json(text, source="concepts.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("word\tconcepts\n", "no rows"),
        ("puppy\tdog\nx\ty\n", "header"),
        ("word\tconcepts\npuppy\n", r":2: expected"),
        ("word\tconcepts\npuppy\tdog\tmany\n", r":2: expected"),
        ("class\tconcepts\npuppy\tdog\tplural\n", r":2: expected"),
        ("word\tconcepts\n# c\npup\tdog\npup\tcat\n", r":4: 'pup' has two rows"),
        ("word\tconcepts\npup\ttwo words\n", "not a single word"),
    ],
)
def test_malformed_tables(tmp_path, text, message):
    path = tmp_path / "table.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        build_concept_dictionary([label_map("dog")], [path])


def test_nothing_to_build_from(tmp_path):
    with pytest.raises(InputError, match="at least one label map"):
        build_concept_dictionary([])
    with pytest.raises(InputError, match="no class of the label maps test"):
        build_concept_dictionary([label_map("Mammal", "Human body")])
    with pytest.raises(InputError, match="there is no concept table"):
        build_concept_dictionary([label_map("dog")], [tmp_path / "none.tsv"])


def test_real_classes_all_mean_what_the_tables_say(shared_data):
    coco = read_label_map(shared_data / "label_maps/mscoco_label_map.pbtxt")
    tags = read_label_map(shared_data / "flickr8k/tags_imagenet.json")
    found = build_concept_dictionary([coco, tags])
    assert all(found.concepts_of_class(name) for name in coco.classes.values())
    table = DEFAULT_TABLES[2].read_text().splitlines()
    rows = {class_key(line.split("\t")[0]) for line in table if not line.startswith("#")}
    undecided = [
        name
        for name in tags.classes.values()
        if not {class_key(name), class_key(name.split(",")[0])} & rows
    ]
    assert undecided == []
    for label, words in {
        "Saluki": ("dog",),
        "seashore": ("beach", "ocean"),
        "alp": ("mountain", "snow"),
        "swimming trunks": ("water",),
        "soccer ball": ("soccer", "ball"),
        "neck brace": (),
        "cardigan": ("sweater",),
        "unicycle": ("bicycle",),
        "tricycle": ("bicycle",),
        "ping-pong ball": ("ball",),
        "hand blower": ("dryer",),
        "hotdog": ("hotdog",),
        "Cardigan, Cardigan Welsh corgi": ("dog",),
    }.items():
        name = next(n for n in tags.classes.values() if label in (n, n.split(",")[0]))
        assert found.concepts_of_class(name) == words


def test_plurals_agree_with_a_published_list(shared_data):
    plurals = json.loads((shared_data / "corpora/concept_plurals.json").read_text())
    found = build_concept_dictionary([LabelMap("oid", dict(enumerate(plurals)))], [])
    differing = {
        word: plural
        for word, plural in plurals.items()
        if word in found.words and found.concept_of(plural) != word
    }
    # What differs are the list's own slips ("segwaies", "mouses"), words without a plural, and
    # plurals that are a concept of their own here ("glasses").
    assert len(differing) <= 0.05 * len(plurals), differing
    assert found.concept_of("mice") == "mouse"
    for word in ("dog", "man", "bus", "knife", "sheep", "goose", "leopard", "box"):
        assert word not in differing
