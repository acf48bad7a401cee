"""Self-critical training: its loss, and an increase of its rewards."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from captioner_runs import small

from configs.captioners import updown
from losses.caption_reward import CaptionReward
from losses.cider_reward import CiderReward
from losses.sequence_losses import leave_one_out
from models.decoding.search import DecodingOptions, decode
from pipelines import caption_batches, captions
from pipelines.similar_references import SimilarReferences
from r2m.configuration.config_checks import check_config
from r2m.engine.distribution.sharing import share
from r2m.engine.distribution.strategies import make_strategy
from r2m.engine.errors import TrainingError
from r2m.engine.monitoring.metrics_file import read_metrics
from r2m.engine.options import TrainingOptions
from r2m.engine.train import train
from r2m.inference.evaluate_run import evaluate_run
from r2m.tasks.captioning.experiment import run_captioner
from r2m.tasks.captioning.self_critical import SelfCritical, SelfCriticalOptions
from r2m.tasks.captioning.stage import CaptionerStage
from tests.models.small_captioners import SAMPLES as SMALL_SAMPLES
from tests.models.small_captioners import V, sample
from tests.tasks.test_captioner import INPUTS, OPTIONS, first_batch, make_stage
from tests.tasks.test_uninformative_metrics import NO_NGRAMS
from tfrecords.core.errors import InputError
from tfrecords.core.records import Records
from tfrecords.core.vocabulary import END_ID
from tfrecords.language.document_frequencies import frequencies_of_records

SAMPLES, LIMIT = 3, 8
# Includes the first word after the end marker. It is frequent, so a softmax that does not exclude
# it gives other losses.
SUPPRESSED = (0, 1, 3)


@pytest.fixture(scope="module")
def records(caption_records: Path) -> Records:
    return captions.open_captions(str(caption_records))


def self_critical_stage(records: Records, name: str = "att2in2", **options: Any) -> CaptionerStage:
    frequencies = frequencies_of_records(records, "train")
    objective = SelfCritical(
        SelfCriticalOptions(**{"samples": SAMPLES, "max_length": LIMIT, **options}),
        CiderReward(frequencies.keys, frequencies.counts, frequencies.images),
        SUPPRESSED,
        similar=SimilarReferences(records, "train", OPTIONS, options["neighbors"])
        if "neighbors" in options
        else None,
    )
    return make_stage(records, name=name, objective=objective)


def test_golden_advantages() -> None:
    rewards = tf.constant([[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])
    found = rewards - leave_one_out(rewards)
    np.testing.assert_allclose(found, [[-1.5, 0.0, 1.5], [0.0, 0.0, 0.0]])


def test_the_loss_is_that_of_the_captions_it_drew(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = self_critical_stage(records)
    batch = first_batch(stage)
    given: list[np.ndarray] = []
    scores = CaptionReward.scores

    def noted(self: CaptionReward, *arguments: tf.Tensor | None) -> tf.Tensor:
        given[:] = (tensor.numpy() for tensor in arguments if tensor is not None)
        return scores(self, *arguments)

    monkeypatch.setattr(CaptionReward, "scores", noted)
    found = stage.loss(batch, training=True)
    tokens, lengths, references, _ = given
    assert len(tokens) == 5 * SAMPLES and references.shape[0] == 5
    rewards = scores(stage._objective._reward, *given).numpy()
    assert float(found["reward"].total) == pytest.approx(rewards.sum(), rel=1e-5)
    assert int(found["policy"].normalizer) == 5 * SAMPLES
    assert float(found["words"].total) == lengths.sum()
    expected = 0.0
    for row, (words, length) in enumerate(zip(tokens, lengths, strict=True)):
        image, sample = divmod(row, SAMPLES)
        advantage = rewards[image, sample] - np.delete(rewards[image], sample).mean()
        memory = stage.model.encode({"regions": batch["regions"][image][None]})
        fed = tf.constant([[1, *words[: length - 1]]])
        hidden = stage.model.teacher_forced(memory, fed)[0]
        # The softmax is over the words that can be drawn.
        can_be = np.isin(np.arange(len(records.vocabulary())), SUPPRESSED, invert=True)
        log_p = tf.nn.log_softmax(tf.where(can_be, stage.model.logits(hidden), -1e9)).numpy()
        expected -= advantage * log_p[np.arange(length), words[:length]].sum()
    assert float(found["policy"].total) == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_the_greedy_caption_is_the_baseline(records: Records) -> None:
    stage = self_critical_stage(records, baseline="greedy", reduction="words")
    model, batch = stage.model, first_batch(stage)
    found = {name: term.total.numpy() for name, term in stage.loss(batch, training=True).items()}
    options = DecodingOptions(beam_size=1, max_length=LIMIT, suppressed=SUPPRESSED)
    greedy = decode(model, model.encode({"regions": batch["regions"]}), options)
    references = batch["references"], batch["reference_lengths"]
    own = stage._objective._reward.scores(greedy.tokens[:, 0], greedy.lengths[:, 0], *references)
    assert found["baseline"] == pytest.approx(SAMPLES * own.numpy().sum(), rel=1e-5)
    # The samples are those of the other baseline, which is the mean of their rewards.
    other = self_critical_stage(records, reduction="words")
    others = {name: term.total.numpy() for name, term in other.loss(batch, training=True).items()}
    for name in ("reward", "words", "entropy", "ended", "reward_spread"):
        assert found[name] == others[name]
    assert others["baseline"] == pytest.approx(others["reward"], rel=1e-5)
    assert found["policy"] != others["policy"]
    assert 0 < found["entropy"] / (5 * SAMPLES) < np.log(len(records.vocabulary()))


@pytest.mark.parametrize(
    "options",
    [
        {"baseline": "greedy", "reduction": "words"},
        {"baseline": "greedy", "sampling": "beam"},
        {"loss": "risk", "entropy_weight": 0.1},
    ],
)
def test_parts_of_a_batch_sum_to_the_whole(records: Records, options: dict[str, Any]) -> None:
    """Includes parts without images, as replicas may have."""
    stage = self_critical_stage(records, "fc", **options)
    batch = first_batch(stage)
    whole, parts = stage.loss(batch, training=True), 4
    shares = [stage.loss(share(batch, part, parts), training=True) for part in range(parts)]
    assert [int(own["reward_spread"].normalizer) for own in shares] == [2, 2, 1, 0]
    for name, term in whole.items():
        for field in ("total", "normalizer"):
            summed = sum(float(getattr(own[name], field)) for own in shares)
            assert summed == pytest.approx(float(getattr(term, field)), rel=1e-4, abs=1e-4), name


def test_nothing_is_generated_to_count_captions(records: Records) -> None:
    stage = self_critical_stage(records, "fc", baseline="greedy")

    @tf.function(autograph=False)
    def normalizers(batch: Any) -> list[tf.Tensor]:
        return [term.normalizer for term in stage.loss(batch, training=False).values()]

    graph = normalizers.get_concrete_function(first_batch(stage)).graph
    needed, left = set(), [output.op for output in graph.outputs]
    while left:
        operation = left.pop()
        if operation.name not in needed:
            needed.add(operation.name)
            left += [tensor.op for tensor in operation.inputs]
    assert not [name for name in needed if "while" in name]


def test_a_beam_gives_the_likeliest_captions(records: Records) -> None:
    stage, drawing = self_critical_stage(records, sampling="beam"), self_critical_stage(records)
    batch = first_batch(stage)
    assert "draws" not in batch
    found, drawn = stage.loss(batch, True), drawing.loss(first_batch(drawing), True)
    assert found["reward"].normalizer == 5 * SAMPLES
    assert float(found["entropy"].total) < float(drawn["entropy"].total)


def test_cross_entropy_is_mixed_in(records: Records) -> None:
    stage = self_critical_stage(records, cross_entropy_weight=0.25)
    batch = first_batch(stage)
    found, alone = stage.loss(batch, True), self_critical_stage(records).loss(batch, True)
    assert (found["policy"].weight, found["cross_entropy"].weight) == (0.75, 0.25)
    np.testing.assert_allclose(found["policy"].total, alone["policy"].total)
    plain = make_stage(records).loss(batch, True)["cross_entropy"]
    np.testing.assert_allclose(found["cross_entropy"].total, plain.total)


def test_entropy_is_a_reward(records: Records) -> None:
    stage = self_critical_stage(records, entropy_weight=0.5)
    batch = first_batch(stage)
    found = {name: term.total.numpy() for name, term in stage.loss(batch, True).items()}
    alone = self_critical_stage(records).loss(batch, True)
    assert found["reward"] == alone["reward"].total
    assert found["baseline"] > found["reward"]
    assert found["policy"] != alone["policy"].total


@pytest.mark.parametrize("name", [name for name in SMALL_SAMPLES if name != "ensemble"])
def test_every_captioner_learns_from_rewards(name: str) -> None:
    """Every weight has a finite gradient, also in R2M's decoder and in a captioner of pixels."""
    small, rng = sample(name), np.random.default_rng(2)
    model, inputs = small.build(name=name), small.inputs(3)
    references = rng.integers(2, V - 1, (3, 2, 5)).astype(np.int32)
    batch = {
        **inputs,
        "references": tf.constant(references),
        "reference_lengths": tf.constant([[5, 4], [3, 5], [2, 0]]),
        "draws": tf.constant(rng.uniform(size=(3, 4, 6)), tf.float32),
    }
    objective = SelfCritical(
        SelfCriticalOptions(samples=4, max_length=6, baseline="greedy"),
        CiderReward(*NO_NGRAMS, images=50),
        (0, 1, V - 1),
    )
    with tf.GradientTape() as tape:
        terms = objective.loss(model, batch, training=True)
        loss = terms["policy"].total
    assert float(terms["reward"].total) > 0
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        if any(part in variable.path for part in small.unreached):
            continue
        assert gradient is not None and np.isfinite(tf.convert_to_tensor(gradient)).all()
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0, variable.path


def test_no_likelihood_goes_to_words_that_are_never_drawn(records: Records) -> None:
    stage = self_critical_stage(records)
    with tf.GradientTape() as tape:
        total = stage.loss(first_batch(stage), training=True)["policy"].total
    gradient = tape.gradient(total, stage.model.word_output.bias.value).numpy()
    assert np.abs(gradient).max() > 0
    np.testing.assert_array_equal(gradient[list(SUPPRESSED)], 0.0)


def test_references_are_all_captions_of_the_image_with_their_ends(records: Records) -> None:
    batches = caption_batches.training_batches(
        records, INPUTS, OPTIONS, batch_size=5, seed=0, with_references=True
    )
    for batch in batches.take(2):
        references, lengths = batch["references"].numpy(), batch["reference_lengths"].numpy()
        tokens = batch["tokens"].numpy()
        for image in range(len(references)):
            own = [
                tuple(r[:n]) for r, n in zip(references[image], lengths[image], strict=True) if n
            ]
            assert all(sentence[-1] == 2 and sentence[0] != 1 for sentence in own)
            for caption, n in zip(tokens[image], batch["lengths"].numpy()[image], strict=True):
                assert tuple(caption[1 : n + 1]) in own


def test_empty_captions_are_worth_nothing(records: Records) -> None:
    stage = self_critical_stage(records, baseline="greedy", entropy_weight=0.1)
    stage.model.word_output.bias.assign(100.0 * np.eye(len(records.vocabulary()))[END_ID])
    found = {name: term.total for name, term in stage.loss(first_batch(stage), True).items()}
    assert np.isfinite(list(found.values())).all()
    # Each sample has one word, the end marker, which all references contain.
    assert float(found["words"]) == float(found["ended"]) == 5 * SAMPLES
    assert float(found["reward"]) == 0.0 and float(found["advantage"]) < 1e-6
    metrics = {f"loss/{name}": float(total) for name, total in found.items()}
    remark = stage.remark(metrics)
    assert remark is not None and "Their reward is 0, with document frequencies of 10" in remark


def test_rewards_that_are_not_finite_never_reach_the_weights(
    records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = self_critical_stage(records, "fc")
    before = [variable.numpy() for variable in stage.model.trainable_variables]
    bad = tf.constant([[1.0, np.nan, 0.0]])
    monkeypatch.setattr(
        CaptionReward,
        "scores",
        lambda self, tokens, *_: tf.tile(bad, [tf.shape(tokens)[0] // 3, 1]),
    )
    options = TrainingOptions(
        steps=2, evaluate_every=0, checkpoint_every=0, best_metric=None, show_progress=False
    )
    with pytest.raises(TrainingError, match="not finite"):
        train(stage, options, tmp_path, strategy=make_strategy("one_device"))
    for variable, value in zip(stage.model.trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_training_raises_the_reward(records: Records, tmp_path: Path) -> None:
    stage = self_critical_stage(records)
    options = TrainingOptions(
        steps=200, learning_rate=0.02, log_every=25, evaluate_every=200, checkpoint_every=200,
        clip_global_norm=1.0, show_progress=False,
    )  # fmt: skip
    train(stage, options, tmp_path, strategy=make_strategy("one_device"))
    rewards = [row["loss/reward"] for row in read_metrics(tmp_path) if "loss/reward" in row]
    # Means of 25 steps, because rewards of single steps vary by a few percent.
    assert np.mean(rewards[-3:]) > 1.1 * rewards[0]


def test_batches_go_on_from_any_step(records: Records) -> None:
    stage = self_critical_stage(records)
    whole = [dict(batch) for batch in stage.train_dataset(0).take(4)]
    for name, value in first_batch(stage, 3).items():
        np.testing.assert_array_equal(value, whole[3][name])


@pytest.mark.parametrize(
    "bad",
    [
        {"samples": 1},
        {"samples": 1, "baseline": "greedy", "loss": "risk"},
        {"samples": 0, "baseline": "greedy"},
        {"max_length": 0},
        {"baseline": "mean"},
        {"sampling": "nucleus"},
        {"loss": "policy_gradient"},
        {"reduction": "images"},
        {"cross_entropy_weight": 1.0},
        {"entropy_weight": -0.1},
        {"entropy_weight": float("nan")},
        {"bleu_weight": -1.0},
        {"cider_weight": 0.0},
    ],
)
def test_impossible_options_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        SelfCriticalOptions(**bad)
    assert SelfCriticalOptions(samples=1, baseline="greedy").samples == 1


def test_one_sample_is_refused_before_records_are_opened() -> None:
    config = updown.get_config("test")
    config.reward.samples = 1
    with pytest.raises(InputError, match=r"samples=1: must be at least 2 with reward\.baseline=le"):
        check_config(config, "self_critical")
    config.reward.baseline = "greedy"
    check_config(config, "self_critical")


def test_dropout_is_refused_with_a_baseline_that_is_no_mean() -> None:
    config = updown.get_config("flickr8k")
    check_config(config, "self_critical")
    config.reward.baseline = "greedy"
    with pytest.raises(InputError, match=r"dropout=True: must be False with reward\.baseline=gr"):
        check_config(config, "self_critical")
    config.reward.loss = "risk"  # has no baseline
    check_config(config, "self_critical")


def test_it_goes_on_from_cross_entropy_in_the_same_folder(
    att2in2_run: Path, caption_records: Path, tmp_path: Path
) -> None:
    config = small(caption_records)
    config.stages.self_critical.update({"batch_size": 5, "steps": 2, "evaluate_every": 1})
    with pytest.raises(InputError, match=r"no run in .*cross_entropy: train that stage first"):
        run_captioner(config, tmp_path, name="self_critical")
    shutil.copytree(att2in2_run, tmp_path / "cross_entropy")
    summary = run_captioner(config, tmp_path, name="self_critical")
    assert summary.step == 2
    assert (caption_records / "document_frequencies-train.npz").is_file()
    rows = read_metrics(tmp_path / "self_critical")
    before = [row for row in read_metrics(att2in2_run) if row["kind"] == "evaluation"]
    first = next(row for row in rows if row["kind"] == "evaluation")
    # Its first evaluation gives the best score of the previous run.
    assert first["cider"] == max(row["cider"] for row in before)
    report = evaluate_run(
        tmp_path / "self_critical", caption_records, "val", tmp_path, metrics=("cider",)
    )
    assert report.scores.images == 4


def test_rewards_weigh_words_by_the_file_that_is_named(
    att2in2_run: Path, records: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small(records.folder)
    config.reward.document_frequencies = "counts.npz"
    config.stages.self_critical.update({"batch_size": 5, "steps": 1, "evaluate_every": 0})
    train_on = partial(run_captioner, config, "run", name="self_critical", init_from=att2in2_run)
    with pytest.raises(InputError, match=r"no file of document frequencies counts\.npz: make it"):
        train_on()
    own = frequencies_of_records(records)
    replace(own, vocabulary_sha256="b" * 64).save("counts.npz")
    with pytest.raises(InputError, match=rf"counts\.npz and .*{records.folder} .*sha256 b{{12}}"):
        train_on()
    # With a larger number of images, n-grams have larger weights.
    replace(own, images=5 * own.images, records_digest=None).save("counts.npz")
    assert train_on().step == 1
    # The same counts in another file are the same reward; other counts are not.
    config.reward.document_frequencies = str(shutil.copy("counts.npz", "copy.npz"))
    assert train_on().step == 1
    config.reward.document_frequencies = None
    with pytest.raises(TrainingError, match="document_frequencies None, was '"):
        train_on()


def test_captions_of_similar_images_are_rewarded(
    att2in2_run: Path, records: Records, tmp_path: Path
) -> None:
    stage = self_critical_stage(records, neighbors=4, neighbor_share=0.25)
    batch = first_batch(stage)
    found = stage.loss(batch, training=True)
    assert float(found["reward"].total) > 0
    # Captions of similar images contribute to the reward: without them, it differs.
    plain = self_critical_stage(records).loss(batch, training=True)
    alone = self_critical_stage(records, neighbors=4, neighbor_share=1.0).loss(batch, training=True)
    mixed = 0.75 * plain["reward"].total + 0.25 * alone["reward"].total
    assert float(found["reward"].total) == pytest.approx(float(mixed), rel=1e-5)
    assert float(alone["reward"].total) != float(plain["reward"].total)
    # By the command, also with resume.
    config = small(records.folder)
    config.reward.neighbors = 4
    config.stages.self_critical.update({"batch_size": 5, "steps": 1, "evaluate_every": 0})
    train_on = partial(run_captioner, config, tmp_path, name="self_critical", init_from=att2in2_run)
    assert train_on().step == 1
    config.stages.self_critical.steps = 2
    assert train_on().step == 2
    config.reward.neighbors = 3
    with pytest.raises(TrainingError, match="neighbors 3, was 4"):
        train_on()


@pytest.mark.parametrize("dropout", [False, True])
def test_dropout_is_an_option(
    records: Records, dropout: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = self_critical_stage(records, dropout=dropout)
    applied = []
    for name in ("encode", "teacher_forced"):
        original = getattr(type(stage.model), name)

        def noted(
            *arguments: Any, own: Any = original, training: bool = False, **named: Any
        ) -> Any:
            applied.append(training)
            return own(*arguments, training=training, **named)

        monkeypatch.setattr(type(stage.model), name, noted)
    stage.loss(first_batch(stage), training=True)
    # Images are encoded once: captions are drawn with the dropout mask of the gradient.
    assert applied == [dropout, dropout]


def test_an_unknown_stage_is_refused(caption_records: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown stage 'reward' of a captioner; known: cross"):
        run_captioner(small(caption_records), tmp_path, name="reward", init_from=tmp_path)
