"""The supervised stage: its loss, its batches and its validation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.captioners.registry import build_captioner, captioner_names
from models.decoding.search import DecodingOptions
from pipelines import captions
from pipelines.caption_batches import CaptionOptions
from pipelines.inputs.global_vector import MeanOfRows
from pipelines.inputs.grid import Grid
from pipelines.inputs.spec import InputSpec
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.distribution.workers import Worker
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.options import TrainingOptions
from r2m.engine.train import train
from r2m.inference.captioning import Captioning
from r2m.tasks.captioning.cross_entropy import CrossEntropy, CrossEntropyOptions
from r2m.tasks.captioning.stage import CaptionerData, CaptionerStage, Objective
from tfrecords.core.records import Records

PLAIN = CrossEntropyOptions()
INPUTS = InputSpec((Grid(),))
MEAN = InputSpec((MeanOfRows(Grid()),))
OPTIONS = CaptionOptions(captions_per_image=2, max_length=12)


@pytest.fixture(scope="module")
def records(caption_records: Path) -> Records:
    return captions.open_captions(str(caption_records))


def make_stage(
    records: Records,
    loss: CrossEntropyOptions = PLAIN,
    name: str = "att2in2",
    objective: Objective | None = None,
) -> CaptionerStage:
    keras.utils.set_random_seed(0)
    vocabulary = records.vocabulary()
    data = CaptionerData(records, vocabulary, MEAN if name == "fc" else INPUTS, OPTIONS, 0)
    signature = data.signature("val")
    model = build_captioner(
        name,
        vocabulary_size=len(vocabulary),
        **data.inputs.sizes(signature),
        units=16,
        word_size=16,
        dropout=0.0,
    )
    search = DecodingOptions(beam_size=2, max_length=12)
    return CaptionerStage(
        data=data,
        model=model,
        objective=objective or CrossEntropy(loss),
        batch_size=5,
        captioning=Captioning(model, vocabulary, search, signature),
        worker=Worker(),
    )


def first_batch(stage: CaptionerStage, step: int = 0) -> dict[str, tf.Tensor]:
    return next(iter(stage.train_dataset(step)))


def test_the_loss_is_that_of_each_caption_alone(records: Records) -> None:
    stage = make_stage(records)
    batch = first_batch(stage)
    (term,) = stage.loss(batch, training=True).values()
    total, words = 0.0, 0
    for image in range(5):
        for caption in range(2):
            length = int(batch["lengths"][image, caption])
            tokens = batch["tokens"][image, caption][None, : length + 1]
            memory = stage.model.encode({"regions": batch["regions"][image][None]})
            hidden = stage.model.teacher_forced(memory, tokens[:, :-1])[0]
            log_p = tf.nn.log_softmax(stage.model.logits(hidden))
            total -= float(tf.reduce_sum(tf.gather(log_p, tokens[0, 1:], batch_dims=1)))
            words += length
    np.testing.assert_allclose(term.total, total, rtol=1e-4)
    assert term.normalizer == words


def test_scheduled_sampling_begins_with_its_epoch(records: Records) -> None:
    loss = CrossEntropyOptions(sampling_start=0, sampling_every=1, sampling_increase=0.5)
    stage = make_stage(records, loss)
    assert stage.steps_per_epoch == 2
    early, late = first_batch(stage), first_batch(stage, 2)
    assert float(early["sampling_probability"]) == 0.0
    assert float(late["sampling_probability"]) == 0.25  # the maximum
    plain = make_stage(records).loss(early, training=True)["cross_entropy"].total
    np.testing.assert_allclose(stage.loss(early, training=True)["cross_entropy"].total, plain)
    sampled = stage.loss({**late, "sampling_probability": tf.constant(1.0)}, training=True)
    assert sampled["cross_entropy"].total != stage.loss(late, training=False)["cross_entropy"].total


def test_the_worst_are_left_out_from_their_epoch_on(records: Records) -> None:
    loss = CrossEntropyOptions(drop_worst=0.25, drop_worst_after=1, reduction="captions")
    stage, plain = make_stage(records, loss), make_stage(records)
    assert stage.steps_per_epoch == 2 and stage.compares_rows
    assert "drop_worst" not in first_batch(plain)
    parts = [float(batch["drop_worst"]) for batch in stage.train_dataset(0).take(5)]
    assert parts == [0.0, 0.0, 0.25, 0.25, 0.25]
    early, late = first_batch(stage, 1), first_batch(stage, 2)
    for batch, training, kept in ((early, True, 10), (late, True, 8), (late, False, 10)):
        found = stage.loss(batch, training=training)
        assert int(found["cross_entropy"].normalizer) == kept
        if kept == 10:
            (all_,) = plain.loss(batch, training=training).values()
            np.testing.assert_allclose(found["cross_entropy"].total, all_.total, rtol=1e-5)
            assert found["per_word"].normalizer == all_.normalizer


@pytest.mark.parametrize(
    "options",
    [
        CrossEntropyOptions(sampling_start=0),
        CrossEntropyOptions(drop_worst=0.5, drop_worst_after=1),
    ],
    ids=["sampling", "drop_worst"],
)
def test_batches_go_on_from_any_step(records: Records, options: CrossEntropyOptions) -> None:
    stage = make_stage(records, options)
    whole = [dict(batch) for batch in stage.train_dataset(0).take(4)]
    for name, value in first_batch(stage, 3).items():
        np.testing.assert_array_equal(value, whole[3][name])


def test_the_loss_per_word_is_logged_with_the_loss_per_caption(
    records: Records, tmp_path: Path
) -> None:
    stage = make_stage(records, CrossEntropyOptions(reduction="captions"))
    batch = first_batch(stage)
    found = stage.loss(batch, training=True)
    (by_words,) = make_stage(records).loss(batch, training=True).values()
    total, captions, words = by_words.total, batch["lengths"].shape[0] * 2, by_words.normalizer
    # Sums over threads may differ in the last bit.
    for name, divisor, weight in (("cross_entropy", captions, 1.0), ("per_word", words, 0.0)):
        assert float(found[name].total) == pytest.approx(float(total), rel=1e-6)
        assert found[name][1:] == (divisor, weight)
    options = TrainingOptions(
        steps=1, learning_rate=0.01, log_every=1, evaluate_every=1, checkpoint_every=1,
        show_progress=False,
    )  # fmt: skip
    train(stage, options, tmp_path, strategy=make_strategy("one_device"))
    logged, validated, *_ = read_metrics(tmp_path)
    # Logging the loss per word does not change the optimized loss.
    assert logged["loss"] == pytest.approx(total / captions)
    assert logged["loss/cross_entropy"] == pytest.approx(total / captions)
    assert logged["loss/per_word"] == pytest.approx(total / words)
    assert validated["loss"] == validated["cross_entropy"] > validated["per_word"] > 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"sampling_start": -1}, "sampling_start=-1 must not be negative; None is off"),
        ({"sampling_increase": -0.1}, "sampling_increase=-0.1 must not be negative"),
        ({"sampling_most": 1.1}, "sampling_most=1.1 must be between 0 and 1"),
        ({"sampling_every": 0}, "sampling_every=0 must be at least 1"),
        ({"drop_worst": 1.0}, "drop_worst=1.0 must be 0 or more and below 1"),
        ({"drop_worst_after": -1}, "drop_worst_after=-1 must not be negative"),
        ({"smoothing": -0.1}, "smoothing=-0.1 must be 0 or more"),
        ({"reduction": "letters"}, "unknown reduction 'letters'; known: words, captions"),
    ],
)
def test_impossible_losses_are_refused(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropyOptions(**bad)


def test_all_words_may_be_its_own() -> None:
    assert CrossEntropyOptions(sampling_start=0, sampling_most=1.0).sampling_most == 1.0


def test_it_learns_and_is_validated(records: Records, tmp_path: Path) -> None:
    stage = make_stage(records)
    options = TrainingOptions(
        steps=60, learning_rate=0.02, log_every=20, evaluate_every=60, checkpoint_every=60,
        show_progress=False,
    )  # fmt: skip
    summary = train(stage, options, tmp_path, strategy=make_strategy("one_device"))
    losses = [line["loss"] for line in read_metrics(tmp_path) if line["kind"] == "train"]
    assert losses[-1] < 0.7 * losses[0]
    assert {"loss", "cider", "bleu_4"} <= set(summary.best_metrics)
    found = stage.evaluate(60)
    assert found.texts["captions"].startswith("| image | caption | references |")
    assert found.images["pictures"].shape[0] == 4


def test_what_is_shown_of_attention_is_the_part_that_was_seen(records: Records) -> None:
    stage = make_stage(records)
    whole = stage._pictures[0].shape
    sheets = stage.evaluate(0).images["attention"]
    assert sheets.dtype == np.uint8 and len(sheets) == 4
    options = dict(records.manifest["options"])
    options["backbone"] = {**options["backbone"], "short_side": 128}  # cropped to 64
    cut = dataclasses.replace(records, manifest={**records.manifest, "options": options})
    assert make_stage(cut)._pictures[0].shape == (whole[0] // 2, whole[1] // 2, 3)


def test_only_attention_is_looked_for(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("a shape is wrong")

    without, stage = make_stage(records, name="lstm"), make_stage(records)
    monkeypatch.setattr(Captioning, "captions", broken)
    assert without._attention() == {}
    monkeypatch.setattr(Captioning, "captions", lambda _, inputs: ["a"] * 4)
    monkeypatch.setattr(stage.model, "attention", broken)
    with pytest.raises(ValueError, match="a shape is wrong"):
        stage._attention()


def test_every_captioner_is_built_by_name() -> None:
    # The units must be divisible by the eight heads of transformers.
    sizes: dict[str, Any] = {"vocabulary_size": 9, "units": 8}
    boxes = tf.constant([[[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]])
    for name in captioner_names():
        model = build_captioner(name, global_size=3, region_size=5, grid_cells=2, **sizes)
        inputs = {"regions": tf.ones([1, 2, 5]), "global": tf.ones([1, 3]), "boxes": boxes}
        memory = model.encode(inputs)
        assert model.teacher_forced(memory, tf.constant([[1, 3]])).shape == (1, 2, 8)
    with pytest.raises(ValueError, match=r"unknown captioner 'gru'; .*known: att2in, .*, rnn"):
        build_captioner("gru", global_size=3, region_size=5, grid_cells=2, **sizes)
    with pytest.raises(ValueError, match="'fc' needs global features"):
        build_captioner("fc", region_size=5, grid_cells=2, **sizes)
    with pytest.raises(ValueError, match="'lstm' needs a grid"):
        build_captioner("lstm", global_size=3, region_size=5, grid_cells=None, **sizes)
