"""Exported runs give the answers of the training process in an environment with TensorFlow only."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import r2m
from r2m.serving.export import Exported, export_run
from r2m.serving.portable_export import export_two_graphs
from r2m.serving.warmup import BATCH_SIZES, FILE, prediction_log_class
from tests.serving.tensorflow_environment import make_tensorflow_environment
from tfrecords.core.errors import InputError

RUNS = {
    "att2in2": "runs/att2in2/cross_entropy",
    "pixels": "runs/pixels/cross_entropy",
    "r2m": "runs/r2m/tri",
}
# The head of a PNG of 100 megapixels.
LARGE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
BAD = {
    b"": "empty: the image has zero bytes",
    b"no picture": "unsupported_format: not a JPEG, PNG, GIF, BMP (24 bits per pixel) or WebP (not "
    "animated)",
    LARGE: "too_large: 10000 x 10000 pixels, more than the 80 megapixels allowed",
}
CLI = "tensorflow.python.tools.saved_model_cli"
CONCEPTS = [["flower", "moon", "flower"], ["boat"], ["zebra unicorn"], ["Flower "], []]
TEXTS = ["a yellow flower", "TWO  boats, in the sea.", "", "xyzzy", "caf\u00e9 \u2018moon\u2019"]


@pytest.fixture(scope="module")
def exports(exported: Callable[[str], Exported]) -> dict[str, Exported]:
    return {name: exported(name) for name in (*RUNS, "vse")}


@pytest.fixture(scope="module")
def requests(image_files: list[bytes]) -> dict[tuple[str, str], dict[str, Any]]:
    images = [image_files[0], *BAD, *image_files[1:]]
    # TensorFlow Serving pads with the first word.
    concepts = [row + [CONCEPTS[0][0]] * (3 - len(row)) for row in CONCEPTS]
    rng = np.random.default_rng(0)
    pixels = rng.uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    return {
        ("att2in2", "serving_default"): {"images": images},
        ("att2in2", "attention"): {"images": images},
        ("att2in2", "from_pixels"): {"pixels": pixels},
        ("att2in2", "from_features"): {
            "grid_feature": rng.normal(size=(2, 2, 2, 32)).astype(np.float32)
        },
        ("pixels", "serving_default"): {"images": images},
        ("r2m", "from_concepts"): {
            "concepts": concepts,
            "concept_lengths": np.array([3, 1, 1, 1, 0], np.int32),
        },
        ("vse", "encode_image"): {"images": images},
        ("vse", "encode_text"): {"texts": TEXTS},
        ("vse", "rank"): {
            "images": [images[0], *images[:2]],
            "texts": [TEXTS, TEXTS[:2] + TEXTS[:1] * 3, TEXTS],
            "text_lengths": np.array([5, 2, 5], np.int32),
        },
    }


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python interpreter of an environment with TensorFlow only."""
    return make_tensorflow_environment(tmp_path_factory.mktemp("environment") / "own")


@pytest.fixture(scope="module")
def answers(
    python: Path,
    exports: dict[str, Exported],
    requests: dict[tuple[str, str], dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Answers from an environment with TensorFlow only."""
    folder = tmp_path_factory.mktemp("answers")
    listed = [
        (str(exports[name].folder), signature, inputs)
        for (name, signature), inputs in requests.items()
    ]
    (folder / "requests.pkl").write_bytes(pickle.dumps(listed))
    script = Path(__file__).with_name("tensorflow_only.py")
    files = [str(folder / name) for name in ("requests.pkl", "answers.pkl")]
    done = subprocess.run(
        [python, "-I", str(script), *files],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = pickle.loads((folder / "answers.pkl").read_bytes())
    return dict(zip(requests, found, strict=True))


@pytest.mark.parametrize("name", ["att2in2", "pixels"])
def test_captions_of_image_files_are_those_of_the_training_process(
    name: str, old_runs: Path, image_files: list[bytes], answers: dict[Any, Any]
) -> None:
    found = answers[name, "serving_default"]
    expected = list(r2m.load(old_runs / RUNS[name]).caption(image_files))
    status = [text.decode() for text in found["status"]]
    assert status == ["ok", *BAD.values(), *["ok"] * (len(image_files) - 1)]
    for row in (1, 2, 3):
        assert found["captions"][row].tolist() == [b""] * 3
        assert np.isnan(found["scores"][row]).all()
    for row, own in zip((0, *range(4, len(status))), expected, strict=True):
        texts = [own.text, *(other.text for other in own.alternatives)]
        assert [text.decode() for text in found["captions"][row]] == texts
        scores = [own.score, *(other.score for other in own.alternatives)]
        np.testing.assert_allclose(found["scores"][row], scores, atol=1e-4)


def test_all_ways_in_lead_to_the_same_captions(
    old_runs: Path, exports: dict[str, Exported], answers: dict[Any, Any]
) -> None:
    run = r2m.load(old_runs / RUNS["att2in2"])._run
    features = answers["att2in2", "from_features"]
    rng = np.random.default_rng(0)
    rng.uniform(0, 255, (2, 32, 32, 3))
    grid = rng.normal(size=(2, 2, 2, 32)).astype(np.float32)
    inputs = run.loaded.inputs.assemble({"grid_feature": tf.constant(grid)})
    expected = run.captioning.returning(3).hypotheses(inputs)
    texts = [[one.caption.encode() for one in own] for own in expected]
    assert features["captions"].tolist() == texts
    assert answers["att2in2", "from_pixels"]["captions"].shape == (2, 3)
    attention = answers["att2in2", "attention"]
    best = answers["att2in2", "serving_default"]["captions"][:, :1]
    assert attention["captions"].tolist() == best.tolist()
    maps, words = attention["attention"], attention["words"]
    assert maps.shape == (*words.shape, 2, 2)
    np.testing.assert_allclose(maps.sum(axis=(2, 3)), words != b"", atol=1e-5)
    assert exports["pixels"].left_out.keys() == {"from_features"}


def test_r2m_captions_words_as_in_python(old_runs: Path, answers: dict[Any, Any]) -> None:
    found = answers["r2m", "from_concepts"]
    captioner = r2m.load(old_runs / RUNS["r2m"])
    for row, concepts in enumerate(CONCEPTS):
        status = found["status"][row].decode()
        if not concepts:
            assert status == "empty: the item has no concepts"
        elif concepts == ["zebra unicorn"]:
            assert status == "unknown_concept: the model has no concept 'zebra unicorn'"
            with pytest.raises(InputError, match="has no concept"):
                list(captioner.caption_concepts([concepts]))
        else:
            assert status == "ok"
            (own,) = captioner.caption_concepts([concepts])
            texts = [own.text, *(other.text for other in own.alternatives)]
            assert [text.decode() for text in found["captions"][row]] == texts


def test_vectors_and_ranks_are_those_of_the_training_process(
    embedding_run: Path, image_files: list[bytes], answers: dict[Any, Any]
) -> None:
    run = r2m.load(embedding_run)
    images = answers["vse", "encode_image"]
    np.testing.assert_allclose(
        images["vectors"][[0, 4, 5]], run.encode_images(image_files), atol=2e-3
    )
    assert not images["vectors"][1:4].any()
    texts = answers["vse", "encode_text"]
    good = [0, 1, 4]
    expected = run.encode_sentences([TEXTS[place] for place in good])
    np.testing.assert_allclose(texts["vectors"][good], expected, atol=1e-5)
    assert [text.decode() for text in texts["status"]] == [
        "ok", "ok", "empty: there is no word in the text",
        "unknown_words: none of the words is in the vocabulary", "ok",
    ]  # fmt: skip
    ranked = answers["vse", "rank"]
    similarities = expected @ images["vectors"][0]
    np.testing.assert_allclose(ranked["similarities"][0][good], similarities, atol=1e-4)
    order = ranked["order"][0].tolist()
    assert [place for place in order if place in good] == order[:3]
    assert order[:3] == [good[place] for place in np.argsort(-similarities, kind="stable")]
    status = [text.decode() for text in ranked["status"]]
    assert status[0] == "unknown_words: none of the words is in the vocabulary (text 3)"
    assert status[1] == "ok" and ranked["order"][1, 2:].tolist() == [2, 3, 4]
    assert np.isnan(ranked["similarities"][1]).tolist() == [False] * 2 + [True] * 3
    assert status[2] == BAD[b""] and np.isnan(ranked["similarities"][2]).all()


def test_the_folder_of_a_version_holds_all_that_serving_needs(exports: dict[str, Exported]) -> None:
    for name, own in exports.items():
        assert own.folder.name == "1"
        config = json.loads((own.folder / "config.json").read_text())
        assert config["signatures"] == own.signatures and config["name"] == name
        for signature in own.signatures.values():
            outputs = [*signature["inputs"].values(), *signature["outputs"].values()]
            assert all(tensor["shape"][0] is None for tensor in outputs)
        assert (own.folder / "vocabulary.txt").read_text().startswith("<pad>\t")
        assert "Apache License" in (own.folder / "LICENSE").read_text()
        batching = (own.folder / "batching.config").read_text()
        assert "allowed_batch_sizes: 1\n" in batching
        assert ("pad_variable_length_inputs" in batching) == (name in ("r2m", "vse"))
        header, _, text = (own.folder / "README.md").read_text().partition("\n---\n")
        assert header.startswith("---\nlicense: apache-2.0\n") and f"# {name}, version 1" in text
        for why in own.left_out.values():
            assert why in text
    assert [path.name for path in exports["r2m"].folder.parent.iterdir() if path.is_dir()] == ["1"]


def test_warm_up_requests_are_answered(exports: dict[str, Exported]) -> None:
    own = exports["r2m"]
    model = tf.saved_model.load(str(own.folder))
    sizes = []
    for record in tf.data.TFRecordDataset(str(own.folder / FILE)).as_numpy_iterator():
        request = prediction_log_class().FromString(record).predict_log.request
        assert request.model_spec.name == "r2m"
        inputs = {
            name: tf.constant(tf.make_ndarray(proto)) for name, proto in request.inputs.items()
        }
        found = model.signatures[request.model_spec.signature_name](**inputs)
        sizes.append((request.model_spec.signature_name, len(found["status"])))
        assert set(found["status"].numpy()) == {b"ok"}
    assert sizes == [(name, size) for name in own.signatures for size in BATCH_SIZES]


def test_warm_up_requests_are_messages_of_tensorflow_serving(exports: dict[str, Exported]) -> None:
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    for record in tf.data.TFRecordDataset(str(exports["vse"].folder / FILE)).as_numpy_iterator():
        request = apis.PredictionLog.FromString(record).predict_log.request
        own = exports["vse"].signatures[request.model_spec.signature_name]
        assert set(request.inputs) == set(own["inputs"])


def test_saved_model_cli_shows_the_signatures(python: Path, exports: dict[str, Exported]) -> None:
    own = exports["att2in2"]
    done = subprocess.run(
        [python, "-I", "-m", CLI, "show", "--dir", own.folder, "--all"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    for name in own.signatures:
        assert f"signature_def['{name}']" in done.stdout


def test_saved_model_cli_runs_a_signature(
    python: Path, exports: dict[str, Exported], answers: dict[Any, Any], tmp_path: Path
) -> None:
    command = [python, "-I", "-m", CLI, "run", "--dir", exports["r2m"].folder, "--tag_set", "serve"]
    command += ["--signature_def", "from_concepts", "--outdir", tmp_path]
    command += ["--input_exprs", 'concepts=[["boat"]];concept_lengths=[1]']
    subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = np.load(tmp_path / "captions.npy", allow_pickle=True)  # strings of our own
    assert found.tolist() == [answers["r2m", "from_concepts"]["captions"][1].tolist()]


def test_settings_without_a_use_are_refused(old_runs: Path, embedding_run: Path) -> None:
    folder = old_runs / "refused"
    with pytest.raises(
        InputError, match=r"generates no captions: leave out --beam_size, --captions"
    ):
        export_run(embedding_run, folder, decoding={"beam_size": 2}, captions=3)
    with pytest.raises(InputError, match="which has no backbone: leave out --weights"):
        export_run(old_runs / RUNS["r2m"], folder, weights="vgg.h5")
    with pytest.raises(InputError, match="contains its network: leave out --weights"):
        export_run(old_runs / RUNS["pixels"], folder, weights="vgg.h5")
    with pytest.raises(InputError, match=r"--captions=9: must be at most 3"):
        export_run(old_runs / RUNS["r2m"], folder, captions=9)
    with pytest.raises(InputError, match=r"--format=litert writes the loop of a captioner; export"):
        export_two_graphs(embedding_run, folder, "litert")
    assert not folder.exists()
