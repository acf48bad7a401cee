"""Scores of files of other tools: the same scores for every format, an error for mismatches."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2m.evaluation.caption_scores import score_captions
from r2m.evaluation.result_files import read_any_predictions, read_any_references
from r2m.evaluation.scoring import score_files
from tfrecords.core.errors import InputError

QUICK = {"metrics": ("bleu", "rouge_l", "cider"), "tokenizer": "ptb_python"}
TEXTS = {
    "a.jpg": ["A dog runs on the grass .", "The dog is running, in a field"],
    "b.jpg": ["Two men play football", "men playing soccer on a green field ."],
    "c.jpg": ["A woman holds a red umbrella in the rain", "a café in the rain"],
}
CAPTIONS = {"c.jpg": "a woman in the rain", "a.jpg": "a dog, in a field", "b.jpg": ""}
IDS = {"a.jpg": 11, "b.jpg": 0, "c.jpg": 33}
EXPECTED = score_captions(CAPTIONS, TEXTS, **QUICK).scores  # type: ignore[arg-type]


def _write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def _coco() -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"val/{name}"} for name, i in IDS.items()],
        "annotations": [
            {"id": 9, "image_id": IDS[name], "caption": text}
            for name, texts in TEXTS.items()
            for text in texts
        ],
    }


def _karpathy(splits: dict[str, str]) -> dict[str, Any]:
    return {
        "images": [
            {
                "filename": name,
                "filepath": "val2014",
                "cocoid": IDS[name],
                "split": splits.get(name, "test"),
                "sentences": [{"raw": text} for text in texts],
            }
            for name, texts in TEXTS.items()
        ]
    }


REFERENCES: dict[str, Any] = {
    "coco.json": _coco(),
    "no_images.json": {"annotations": _coco()["annotations"]},
    "karpathy.json": _karpathy({}),
    "flickr.token": "".join(
        f"{name}#{i}\t{text}\n" for name, texts in TEXTS.items() for i, text in enumerate(texts)
    ),
    "table.csv": "image,caption\n"
    + "".join(f'{name},"{text}"\n' for name, texts in TEXTS.items() for text in texts),
    "table.tsv": "filename\ttext\n"
    + "".join(f"{name}\t{text}\n" for name, texts in TEXTS.items() for text in texts),
    "neuraltalk.json": [
        {"file_path": f"val2014/{name}", "id": IDS[name], "captions": texts}
        for name, texts in TEXTS.items()
    ],
    "lines.jsonl": "".join(
        json.dumps({"id": i, "image_id": IDS[name], "file_name": name, "caption": text}) + "\n"
        for name, texts in TEXTS.items()
        for i, text in enumerate(texts)
    ),
    "names.json": TEXTS,
    "ids.json": {str(IDS[name]): texts for name, texts in TEXTS.items()},
    "pycocoevalcap.json": {
        name: [{"caption": text} for text in texts] for name, texts in TEXTS.items()
    },
}
PREDICTIONS: dict[str, Any] = {
    "ours.json": [
        {"image_id": IDS[name], "file_name": name, "caption": text}
        for name, text in CAPTIONS.items()
    ],
    "names.json": [{"image_id": name, "caption": text} for name, text in CAPTIONS.items()],
    "object.json": CAPTIONS,
    "lists.json": {name: [{"caption": text}] for name, text in CAPTIONS.items()},
    "table.csv": "image,caption\n" + "".join(f'{n},"{text}"\n' for n, text in CAPTIONS.items()),
    "table.tsv": "image_name\tprediction\tcaption\n"
    + "".join(f"{name}\t-\t{text}\n" for name, text in CAPTIONS.items()),
    "semicolons.csv": "\ufefffile;caption\n" + "".join(f"{n};{t}\n" for n, t in CAPTIONS.items()),
    "windows.csv": "image,caption\r\n"
    + "".join(f'images\\{n},"{text}"\r\n' for n, text in CAPTIONS.items()),
    "lines.jsonl": "".join(
        json.dumps({"image_id": IDS[name], "file_name": name, "caption": text}) + "\n"
        for name, text in CAPTIONS.items()
    ),
    "images.json": [{"image": name, "caption": text} for name, text in CAPTIONS.items()],
    "coco.json": {
        "images": _coco()["images"],
        "annotations": [{"image_id": IDS[n], "caption": text} for n, text in CAPTIONS.items()],
    },
}  # fmt: skip


@pytest.mark.parametrize("references", REFERENCES)
def test_every_format_gives_the_same_scores(tmp_path: Path, references: str) -> None:
    target = _write(tmp_path / references, REFERENCES[references])
    (tmp_path / "p").mkdir()
    for name, content in PREDICTIONS.items():
        by_id = references in ("no_images.json", "ids.json")
        if by_id and name not in ("ours.json", "coco.json", "lines.jsonl"):
            continue
        report = score_files(str(_write(tmp_path / "p" / name, content)), str(target), **QUICK)
        assert report.scores.scores == pytest.approx(EXPECTED, abs=1e-12), name
        assert report.scores.empty_predictions == 1
        if by_id:
            assert report.settings["matched by"] == "id"


def test_results_of_coco_ids_alone(tmp_path: Path) -> None:
    rows = [{"image_id": IDS[name], "caption": text} for name, text in CAPTIONS.items()]
    predictions = str(_write(tmp_path / "p.json", rows))
    for name in ("coco.json", "karpathy.json"):
        target = _write(tmp_path / name, REFERENCES[name])
        report = score_files(predictions, str(target), **QUICK)
        assert report.settings == {"reference file": name, "matched by": "id"}
        assert report.scores.scores == pytest.approx(EXPECTED, abs=1e-12)


def test_a_split_is_chosen_by_name_and_is_test_by_default(tmp_path: Path) -> None:
    rows = _karpathy({"c.jpg": "val"})["images"]
    target = str(_write(tmp_path / "r.json", {"images": [*rows, {**rows[0], "filename": "t.jpg",
                        "cocoid": 5, "split": "restval"}]}))  # fmt: skip
    chosen = {name: text for name, text in CAPTIONS.items() if name != "c.jpg"}
    predictions = str(_write(tmp_path / "p.json", chosen))
    report = score_files(predictions, target, **QUICK)
    assert (report.split, report.scores.images) == ("r.json test", 2)
    everything = str(_write(tmp_path / "all.json", CAPTIONS))
    with pytest.raises(InputError, match=r"no image for 1 of 3 .*'c\.jpg'.* splits test, val: cho"):
        score_files(everything, target, **QUICK)
    report = score_files(everything, target, split="all", **QUICK)
    assert report.scores.scores == pytest.approx(EXPECTED, abs=1e-12)
    assert report.settings["images without a prediction (left out)"] == 1
    with pytest.raises(
        InputError, match=r"split 'dev'; it has test \(2 images\), val \(1 images\)"
    ):
        score_files(predictions, target, split="dev", **QUICK)


def test_what_is_left_out_is_counted_with_examples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {**TEXTS, "d.jpg": [], "e.jpg": ["nobody captions this"]}
    target = _write(tmp_path / "r.json", texts)
    predictions = str(_write(tmp_path / "p.json", {**CAPTIONS, "d.jpg": "a dog"}))
    report = score_files(predictions, str(target), **QUICK)
    assert report.scores.scores == pytest.approx(EXPECTED, abs=1e-12)
    assert report.settings["images without a prediction (left out)"] == 1
    assert report.settings["predictions without references (left out)"] == 1
    assert "1 images without a prediction (left out): 'e.jpg'" in caplog.text
    assert "1 predictions without references (left out): 'd.jpg'" in caplog.text


@pytest.mark.parametrize(
    ("predictions", "says"),
    [
        ({"x.jpg": "a", "y.jpg": "b"}, r"named 'x\.jpg', 'y\.jpg'; references 'a\.jpg', 'b\.jpg'"),
        (
            {**CAPTIONS, "x.jpg": "a"},
            r"no image for 1 of 4 .* file name\): 'x\.jpg'; it contains 'a",
        ),
        ({"a.jpg": ["one", "two"]}, r"p\.json: more than one prediction for 'a\.jpg'"),
        ([{"image_id": 1, "caption": ""}, {"image_id": 1, "caption": ""}], "more than one .* '1'"),
        ({"a.jpg": 3}, r"p\.json: expected COCO results .* the key 'a\.jpg' with 3"),
        ({}, "no predictions: expected COCO results"),
        ([], "no predictions"),
        (["a dog"], "prediction 0: expected"),
        ("{", r"p\.json:1: malformed JSON"),
    ],
)  # fmt: skip
def test_mismatches_and_other_forms_are_refused(
    tmp_path: Path, predictions: Any, says: str
) -> None:
    target = _write(tmp_path / "r.json", TEXTS)
    with pytest.raises(InputError, match=says):
        score_files(str(_write(tmp_path / "p.json", predictions)), str(target), **QUICK)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["image_id", "caption", "annotations", "images", "id", "file_name"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=200, deadline=None)
def test_any_json_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    for read in (read_any_predictions, read_any_references):
        with contextlib.suppress(InputError):
            found = read(str(path))
            assert all(isinstance(text, str) for image in found for text in image.captions)


@pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH")
def test_the_command_reproduces_published_scores(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "metric_oracle_flickr30k"
    if not (folder / "published_scores.json").is_file():
        pytest.skip(f"no published scores at {folder}")

    def lines(name: str) -> list[str]:
        return (folder / name).read_text(encoding="utf-8").rstrip("\n").split("\n")

    images, texts = lines("images.txt"), lines("references.txt")
    tokens = [f"{images[i // 5]}#{i % 5}\t{text}\n" for i, text in enumerate(texts)]
    _write(tmp_path / "references.token", "".join(tokens))
    stems = [name.removesuffix(".jpg") for name in images]
    _write(tmp_path / "p.json", dict(zip(stems, lines("predictions_merge_1.txt"), strict=True)))
    done = subprocess.run(
        [sys.executable, "-m", "r2m.cli.score", "--predictions=p.json", "--output=out",
         "--references=flickr:references.token", "--metrics=bleu,cider", "--metric=rouge_l"],
        cwd=tmp_path, capture_output=True, encoding="utf-8", check=False,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": str(Path(shutil.which("java") or "").parent),
             "PYTHONIOENCODING": "ascii", "JAVA_TOOL_OPTIONS": "-Duser.language=ar"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = dict(re.findall(r"\| (\S+) \| ([\d.]+) \|", done.stdout))
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["tokenizer"] == "ptb" and report["images"] == 1000
    published = json.loads((folder / "published_scores.json").read_text())["merge_1"]
    for name, theirs, tolerance in (
        ("bleu_4", "Bleu_4", 0.003), ("rouge_l", "ROUGE_L", 0.003), ("cider", "CIDEr", 0.01)
    ):  # fmt: skip
        assert report["scores"][name] == pytest.approx(published[theirs], abs=tolerance)
        assert float(shown[name.upper().replace("_", "-").replace("CIDER", "CIDEr")]) == (
            pytest.approx(100 * report["scores"][name], abs=0.006)
        )
    assert (tmp_path / "out" / "report.md").is_file()


def test_captions_of_the_training_split_are_not_novel(tmp_path: Path) -> None:
    predictions = str(_write(tmp_path / "p.json", {"c.jpg": "men playing soccer on a green field"}))
    references = str(_write(tmp_path / "r.json", _karpathy({"a.jpg": "train", "b.jpg": "restval"})))
    found = score_files(predictions, references, split="test", metrics=("bleu",),
                        tokenizer="ptb_python")  # fmt: skip
    assert found.scores.statistics["novel_captions"] == 0
    assert found.scores.statistics["mean_length"] == 7
    _write(tmp_path / "p.json", {"a.jpg": TEXTS["a.jpg"][0]})
    found = score_files(predictions, references, split="train", metrics=("bleu",),
                        tokenizer="ptb_python")  # fmt: skip
    assert "novel_captions" not in found.scores.statistics
