"""Scores and several captions of image files, for all kinds of captioners."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from r2m.inference.caption_files import caption_files
from r2m.inference.consensus import ConsensusOptions
from r2m.inference.run import Run
from tfrecords.core.errors import InputError

SEARCH = {"beam_size": 4, "length_normalization": 0.5}


def likelihood(run: Any, inputs: dict[str, tf.Tensor], caption: str) -> tuple[float, int]:
    """log p of a caption of the only image, word by word, and its words with the end marker."""
    # A caption truncated at the maximum length has no end marker.
    ids = run.vocabulary.encode_sentence(caption.split())[: run.config.decoding.max_length + 1]
    memory = run.model.encode(inputs)
    state = run.model.initial_state(memory, len(ids))
    total = 0.0
    for word, following in itertools.pairwise(ids):
        hidden, state = run.model.step(tf.constant([word]), state, memory)
        total += float(tf.nn.log_softmax(run.model.logits(hidden))[0, following])
    return total, len(ids) - 1


def table(folder: Path) -> list[dict[str, str]]:
    data = (folder / "captions.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfimage_id,") and data.count(b"\n") == data.count(b"\r\n")
    return list(csv.DictReader(data.decode("utf-8-sig").splitlines()))


@pytest.mark.parametrize("members", [1, 2])
def test_captions_have_the_likelihood_of_the_model(
    members: int, att2in2_run: Path, caption_records: Path, pictures: Path, tmp_path: Path
) -> None:
    runs = [att2in2_run] * members
    name = (pictures / "val.txt").read_text().split()[0]
    image = pictures / "images" / name
    (row,) = caption_files(runs, image, tmp_path, decoding=SEARCH, captions=3).rows
    assert json.loads((tmp_path / "captions.json").read_text()) == [row]
    assert row["image_id"] == name and len(row["captions"]) == 3
    best = row["captions"][0]
    assert {key: row[key] for key in best} == best
    assert len({found["caption"] for found in row["captions"]}) == 3

    run = Run.load(runs, decoding=SEARCH)
    batches = run.record_batches(run.open_records(str(caption_records)), "val")
    inputs = _inputs_of(batches, name)
    scores = []
    for found in row["captions"]:
        log_p, words = likelihood(run, inputs, found["caption"])
        assert found["log_probability"] == pytest.approx(log_p, abs=2e-3)
        assert found["score"] == pytest.approx(log_p / words**0.5, abs=1e-3)
        assert found["length_normalization"] == 0.5
        scores.append(found["score"])
    assert scores == sorted(scores, reverse=True)
    lines = table(tmp_path)
    assert [line["rank"] for line in lines] == ["1", "2", "3"]
    assert [float(line["score"]) for line in lines] == scores
    assert [line["caption"] for line in lines] == [found["caption"] for found in row["captions"]]
    assert {line["consensus_score"] for line in lines} == {""}


def _inputs_of(batches: tf.data.Dataset, name: str) -> dict[str, tf.Tensor]:
    for batch in batches:
        names = [found.decode() for found in batch.pop("image_id").numpy()]
        if name in names:
            place = names.index(name)
            return {key: value[place : place + 1] for key, value in batch.items()}
    raise AssertionError(f"{name} is not in the split")


def test_by_consensus_the_order_is_its_own(
    att2in2_run: Path, pictures: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "list.txt"
    names = (pictures / "val.txt").read_text().split()
    listed.write_text("\n".join(str(pictures / "images" / name) for name in names))
    consensus = ConsensusOptions(neighbors=3, sharpness=2.0, likelihood=0.0)

    def said(folder: str, captions: int) -> Sequence[dict[str, Any]]:
        return caption_files(
            att2in2_run, listed, tmp_path / folder,
            decoding={"beam_size": 4}, consensus=consensus, captions=captions,
        ).rows  # fmt: skip

    several, one = said("several", 4), said("one", 1)
    reordered = 0
    for row, alone in zip(several, one, strict=True):
        assert row["caption"] == alone["caption"] and "captions" not in alone
        values = [found["consensus_score"] for found in row["captions"]]
        assert len(values) > 1 and values == sorted(values, reverse=True)
        likely = [found["score"] for found in row["captions"]]
        reordered += likely != sorted(likely, reverse=True)
    assert reordered
    assert np.isfinite([float(line["consensus_score"]) for line in table(tmp_path / "one")]).all()


def test_no_more_captions_than_the_beam_is_wide(
    att2in2_run: Path, pictures: Path, tmp_path: Path
) -> None:
    for consensus in (None, ConsensusOptions()):
        with pytest.raises(InputError, match=r"--captions=5: must be at most 4, .* --beam_size=5"):
            caption_files(
                att2in2_run, pictures / "images", tmp_path,
                decoding=SEARCH, captions=5, consensus=consensus,
            )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
