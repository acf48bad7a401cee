"""Words of scripts without spaces, HTML entities, and text that needs a segmenter."""

from __future__ import annotations

import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfrecords.core.errors import InputError
from tfrecords.core.segmentation import UnspacedText, check_segmenter, join_words
from tfrecords.core.vocabulary import build_vocabulary
from tfrecords.language.concepts import build_concept_dictionary
from tfrecords.language.html_entities import decode_entities
from tfrecords.language.label_maps import LabelMap
from tfrecords.language.plurals import plural_of
from tfrecords.language.tokenization import tokenize

SENTENCES = {
    "chinese": ("一只黑色的狗在草地上奔跑。", "一只 黑色 的 狗 在 草地 上 奔跑"),
    "japanese": ("公園で犬が走っている", "公園 で 犬 が 走 って いる"),
    "thai": ("สุนัขสีดำกำลังวิ่งอยู่", "สุนัข สี ดำ กำลัง วิ่ง อยู่"),
    "khmer": ("ឆ្កែខ្មៅកំពុងរត់", "ឆ្កែ ខ្មៅ កំពុង រត់"),
    "lao": ("ກໍາລັງແລ່ນຢູ່ເທິງ", "ກຳລັງ ແລ່ນ ຢູ່ ເທິງ"),
    "burmese": ("ခွေးပေါ်တွင်ပြေး", "ခွေး ပေါ် တွင် ပြေး"),
}
PARTS = ["狗", "草", "で", "ー", "々", "สุ", "ดำ", "ក្", "가", "é", "ab", "12", " ", ", ", "。"]
MIXED = st.lists(st.sampled_from(PARTS), max_size=24).map("".join)


def unspaced(texts: list[str]) -> UnspacedText:
    found = UnspacedText()
    for text in texts:
        found.add(text, tokenize(text))
    return found


def test_characters_are_words_and_latin_words_are_whole() -> None:
    text = "一只iPhone 12手机,在3个café旁边。"
    words = ["一", "只", "iphone", "12", "手", "机", "在", "3", "个", "café", "旁", "边"]
    assert tokenize(text, segmenter="characters") == words
    assert tokenize(text, segmenter="characters", keep_punctuation=True)[-1] == "。"
    assert join_words(words, "characters") == "一只iphone 12手机在3个café旁边"
    assert tokenize("นี่", segmenter="characters") == ["นี่"]  # marks stay on their letter
    assert tokenize("한국어 문장", segmenter="characters") == ["한국어", "문장"]


@pytest.mark.parametrize("language", SENTENCES)
def test_words_by_dictionary(language: str) -> None:
    pytest.importorskip("icu4py")
    text, words = SENTENCES[language]
    assert tokenize(text, segmenter="icu") == words.split()
    assert join_words(words.split(), "icu") == words.replace(" ", "")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from tfrecords.core import segmentation

    segmentation._word_breaker.cache_clear()
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    with pytest.raises(InputError, match=r"pip install 'r2m\[segmenter\]'"):
        check_segmenter("icu")
    with pytest.raises(InputError, match="known: words, characters, icu"):
        check_segmenter("jieba")


@given(MIXED)
def test_a_sentence_of_characters_reads_back_as_the_same_words(text: str) -> None:
    # NLTK's rules leave the second of two commas on the word behind them, also in English text.
    assume(",," not in text)
    words = tokenize(text, segmenter="characters")
    assert tokenize(join_words(words, "characters"), segmenter="characters") == words
    vocabulary = build_vocabulary(dict.fromkeys(words, 1) | {"x": 1}, min_count=1)
    assert vocabulary.decode(vocabulary.encode_sentence(words)) == " ".join(words)


@settings(max_examples=50)
@given(st.text())
def test_text_with_spaces_is_the_same_with_every_segmenter(text: str) -> None:
    latin = "".join(character for character in text if character < "\u0250")
    assert tokenize(latin, segmenter="characters") == tokenize(latin)


@pytest.mark.parametrize("language", SENTENCES)
def test_text_without_spaces_is_refused_and_split_text_is_not(language: str) -> None:
    text, words = SENTENCES[language]
    found = unspaced([text] * 3 + ["a dog runs"] * 20)
    assert found.describe()
    with pytest.raises(InputError, match=rf"3 of 23 sentences .*{text[:5]}.*=characters.*=icu"):
        found.check(None)
    found.check("words")  # a warning
    assert unspaced([words]).describe() is None
    # Names in an English corpus.
    assert unspaced([f"a sign says {text}"] + ["a dog runs"] * 200).describe() is None


def test_concepts_of_other_scripts() -> None:
    assert [plural_of(word) for word in ("狗", "สุนัข", "café")] == ["狗", "สุนัข", "cafés"]
    names = {1: "自行车", 2: "狗", 3: "สุนัข", 4: "fire hydrant"}
    label_map = LabelMap(name="labels", classes=names)
    plain = build_concept_dictionary([label_map], ())
    assert plain.words == ("hydrant", "สุนัข", "狗", "自行车")
    assert plain.plurals == {"hydrants"}
    assert [m.concept for m in plain.find(["一", "辆", "自行车", "和", "狗"])] == ["自行车", "狗"]
    split = build_concept_dictionary([label_map], (), "characters")
    words = tokenize("一辆自行车和สุนัข", segmenter="characters")
    assert [(m.concept, m.length) for m in split.find(words)] == [("自行车", 3), ("สุนัข", 3)]
    assert split.concepts_of_class("自行车") == ("自行车",)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("salt &amp; pepper", "salt & pepper"),
        ("a &quot;stop&quot; sign&#39;s, 2 &lt; 3 &#x27;x&#x27;", "a \"stop\" sign's, 2 < 3 'x'"),
        ("AT&T, R&D; ?a=1&copy=2 & more", "AT&T, R&D; ?a=1&copy=2 & more"),
        ("&amp;lt;", "&lt;"),  # once
        ("&nbsp;&eacute;", "\u00a0é"),
    ],
)
def test_html_entities(text: str, decoded: str) -> None:
    assert decode_entities(text) == decoded
