"""Caption scores: equal to pycocoevalcap's, with missing metrics reported and ids checked."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider as CocoCider
from pycocoevalcap.rouge.rouge import Rouge

from r2m.evaluation import spice
from r2m.evaluation.caption_scores import CaptionScorer, score_captions
from r2m.evaluation.cider import Cider
from r2m.evaluation.metrics import METRICS
from tfrecords.core.errors import InputError

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH")

REFERENCES = {
    "a.jpg": ["A dog runs on the grass .", "The dog is running in a field"],
    "b.jpg": ["Two men play football", "men playing soccer on a green field ."],
    "c.jpg": ["A woman holds a red umbrella in the rain"],
}
PREDICTIONS = {
    "a.jpg": "a dog runs in a field",
    "b.jpg": "two men playing soccer",
    "c.jpg": "a dog on a table",
}
QUICK = ("bleu", "rouge_l", "cider")


def _fake_java(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "java"
    program.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_scores_are_pycocoevalcaps() -> None:
    result = score_captions(PREDICTIONS, REFERENCES, metrics=QUICK, tokenizer="ptb_python")
    references = {
        "c.jpg": ["a woman holds a red umbrella in the rain"],
        "a.jpg": ["a dog runs on the grass", "the dog is running in a field"],
        "b.jpg": ["two men play football", "men playing soccer on a green field"],
    }
    candidates = {i: [PREDICTIONS[i]] for i in references}
    bleu, _ = Bleu(4).compute_score(references, candidates, verbose=0)
    cider, each = CocoCider().compute_score(references, candidates)
    rouge, _ = Rouge().compute_score(references, candidates)
    expected = {**{f"bleu_{n}": s for n, s in enumerate(bleu, 1)}, "rouge_l": rouge, "cider": cider}
    assert result.scores == pytest.approx(expected, abs=1e-12)
    assert result.per_image["cider"] == pytest.approx(dict(zip(references, each, strict=True)))
    assert (result.images, result.references, result.tokenizer) == (3, 5, "ptb_python")
    assert CaptionScorer(REFERENCES).score(PREDICTIONS) == pytest.approx(expected, abs=1e-12)


words = st.lists(st.sampled_from(["a", "the", "dog", "cat", "runs", "on", "red"]), max_size=9)
texts = words.map(" ".join)
groups_of_texts = st.lists(words.filter(bool).map(" ".join), min_size=1, max_size=3)


@given(st.lists(st.tuples(texts, groups_of_texts), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_cached_cider_equals_pycocoevalcaps(images: list[tuple[str, list[str]]]) -> None:
    groups = [group for _, group in images]
    candidates = [text for text, _ in images]
    _, expected = CocoCider().compute_score(
        dict(enumerate(groups)), {i: [text] for i, text in enumerate(candidates)}
    )
    ours = Cider(groups)
    for _ in range(2):
        np.testing.assert_allclose(ours.score(candidates), expected, atol=1e-12)


def test_identical_captions_score_full_marks() -> None:
    same = {i: texts[0] for i, texts in REFERENCES.items()}
    scores = CaptionScorer({i: [text] for i, text in same.items()}).score(same)
    assert scores["bleu_4"] == pytest.approx(1, abs=1e-6)
    assert scores["rouge_l"] == 1 and scores["cider"] == pytest.approx(10)


def test_scorer_per_image_and_order_of_predictions() -> None:
    scorer = CaptionScorer(REFERENCES)
    shuffled = dict(reversed(PREDICTIONS.items()))
    assert scorer.score(shuffled) == scorer.score(PREDICTIONS)
    each = scorer.score_images(PREDICTIONS)["cider"]
    assert each["a.jpg"] > each["c.jpg"]
    assert np.mean(list(each.values())) == pytest.approx(scorer.score(PREDICTIONS)["cider"])


def test_empty_predictions_score_zero_and_are_counted() -> None:
    silent = dict.fromkeys(REFERENCES, "")
    result = score_captions(silent, REFERENCES, metrics=QUICK, tokenizer="ptb_python")
    assert result.empty_predictions == 3
    assert all(score < 1e-4 for score in result.scores.values())
    one = score_captions(
        {**PREDICTIONS, "a.jpg": " . "}, REFERENCES, metrics=QUICK, tokenizer="ptb_python"
    )
    assert one.empty_predictions == 1 and one.per_image["rouge_l"]["a.jpg"] == 0


def test_references_without_a_word_are_left_out() -> None:
    padded = {**REFERENCES, "c.jpg": [*REFERENCES["c.jpg"], "...", ""]}
    plain = score_captions(PREDICTIONS, REFERENCES, metrics=QUICK, tokenizer="ptb_python")
    result = score_captions(PREDICTIONS, padded, metrics=QUICK, tokenizer="ptb_python")
    assert result.scores == plain.scores
    assert (result.dropped_references, result.references) == (2, plain.references)


@pytest.mark.parametrize(
    ("predictions", "references", "says"),
    [
        ({}, {}, "no images to score"),
        ({}, REFERENCES, "no prediction for 3 images: 'a.jpg', 'b.jpg', 'c.jpg'"),
        (PREDICTIONS, {}, "no references for 3 predictions: 'a.jpg'"),
        ({**PREDICTIONS, "x": "a"}, REFERENCES, "no references for 1 predictions: 'x'"),
        (PREDICTIONS, {**REFERENCES, "a.jpg": []}, "empty list of references .* 'a.jpg'"),
        (PREDICTIONS, {**REFERENCES, "a.jpg": ["."]}, "without a single word for 'a.jpg'"),
        (PREDICTIONS, {**REFERENCES, "a.jpg": "a dog"}, "must be lists, .* 'a.jpg'"),
    ],
)
def test_faults_name_the_images(predictions: dict, references: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        score_captions(predictions, references, metrics=QUICK, tokenizer="ptb_python")


def test_scorer_refuses_other_images_and_unknown_metrics() -> None:
    scorer = CaptionScorer(REFERENCES)
    with pytest.raises(InputError, match=r"no prediction for 2 images: 'b\.jpg', 'c\.jpg'"):
        scorer.score({"a.jpg": "a dog"})
    with pytest.raises(InputError, match="no images"):
        CaptionScorer({})
    for wrong in (("bleu", "cidre"), ()):
        with pytest.raises(InputError, match="known: bleu, rouge_l, cider, meteor, spice"):
            score_captions(PREDICTIONS, REFERENCES, metrics=wrong)


def test_a_single_image_has_no_cider() -> None:
    result = score_captions({"a": "a dog"}, {"a": ["a dog"]}, metrics=QUICK, tokenizer="ptb_python")
    assert "needs two images" in result.unavailable["cider"] and "cider" not in result.scores


def test_without_java_metrics_are_unavailable_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    result = score_captions(PREDICTIONS, REFERENCES)
    assert result.tokenizer == "ptb_python"
    assert set(result.scores) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
    assert set(result.unavailable) == {"meteor", "spice"}
    assert "Java is not installed" in result.unavailable["meteor"]


@needs_java
def test_all_metrics_with_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_JAVA_OPTIONS", "-Duser.language=de -Duser.country=DE")
    silent = {**PREDICTIONS, "c.jpg": ""}
    result = score_captions(silent, REFERENCES, metrics=METRICS)
    assert result.tokenizer == "ptb" and set(result.unavailable) <= {"spice"}
    assert result.scores["meteor"] == pytest.approx(0.23225576346375176)  # as under English
    assert result.per_image["meteor"]["c.jpg"] == 0


def test_spice_never_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(spice, "MODELS", ("absent-models.jar",))
    _fake_java(tmp_path, "raise SystemExit('called')", monkeypatch)
    monkeypatch.setattr("urllib.request.urlretrieve", lambda *_: pytest.fail("a download"))
    result = score_captions(PREDICTIONS, REFERENCES, metrics=("spice",), tokenizer="ptb_python")
    assert "absent-models.jar" in result.unavailable["spice"]


SPICE = """
import json, sys
rows = json.load(open(sys.argv[sys.argv.index("-jar") + 2]))
out = [{"image_id": r["image_id"], "scores": {"All": {"f": f}}} for r, f in zip(rows, FS)]
json.dump(out, open(sys.argv[sys.argv.index("-out") + 1], "w"))
"""


@pytest.mark.parametrize(
    ("scores", "expected"), [("[.5, None, .1]", 0.2), ("[.5]", None), ("0", None)]
)
def test_spice_reads_its_program(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scores: str, expected: float | None
) -> None:
    monkeypatch.setattr(spice, "MODELS", ())
    _fake_java(tmp_path, f"FS = {scores}\n{SPICE}", monkeypatch)
    result = score_captions(PREDICTIONS, REFERENCES, metrics=("spice",), tokenizer="ptb_python")
    if expected is None:
        assert result.unavailable["spice"]
    else:
        assert result.scores["spice"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import time; time.sleep(60)", "did not finish in 1 s"),
        ("import sys; sys.exit('Could not reserve heap')", "Could not reserve heap"),
        ("import sys; [print('nonsense', flush=True) for _ in sys.stdin]", "failed"),
        ("print('half', end='')", "failed"),
    ],
)
def test_a_bad_meteor_is_ended_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, says: str
) -> None:
    _fake_java(tmp_path, body, monkeypatch)
    start = time.monotonic()
    result = score_captions(
        PREDICTIONS, REFERENCES, metrics=("meteor",), tokenizer="ptb_python", java_timeout=1
    )
    assert says in result.unavailable["meteor"] and not result.scores
    assert time.monotonic() - start < 10


def test_auto_falls_back_when_the_java_tokenizer_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _fake_java(tmp_path, "print('one line')", monkeypatch)
    result = score_captions(PREDICTIONS, REFERENCES, metrics=("bleu",))
    assert result.tokenizer == "ptb_python" and result.scores
    with pytest.raises(InputError, match=r"returned 1 lines for .* use 'ptb_python'"):
        score_captions(PREDICTIONS, REFERENCES, metrics=("bleu",), tokenizer="ptb")
