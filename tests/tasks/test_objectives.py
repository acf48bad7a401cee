"""Loss terms of the stages: gradients, and the parts of the model that they train."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.decoding.search import DecodingOptions, decode
from models.r2m import R2M
from r2m.tasks.unsupervised_captioning import objectives
from r2m.tasks.unsupervised_captioning.curriculum import STAGES, stage_spec
from tfrecords.core.errors import InputError

V, H, F = 17, 8, 6
OPTIONS = objectives.ObjectiveOptions(reconstruction_weight=0.7, margin=0.2, batch_size=5)
SEARCH = DecodingOptions(beam_size=1, max_length=6)


@pytest.fixture
def model():
    keras.utils.set_random_seed(4)
    model = R2M(vocabulary_size=V, units=H, image_features=F)
    for variable in model.trainable_variables:
        variable.assign(variable + tf.random.normal(variable.shape, stddev=0.3))
    return model


def _images(rows=5):
    random = np.random.RandomState(0)
    return {
        "concepts": tf.constant(random.randint(3, V, (rows, 3)), tf.int32),
        "concept_lengths": tf.constant(random.randint(1, 4, rows), tf.int32),
        "global": tf.constant(random.rand(rows, F), tf.float32),
    }


def _sentences():
    return {
        "concepts": tf.constant([[4, 5], [6, 0]]),
        "concept_lengths": tf.constant([2, 1]),
        "tokens": tf.constant([[1, 7, 8, 9, 2], [1, 5, 2, 0, 0]]),
        "lengths": tf.constant([4, 2]),
    }


def test_sentence_terms_equal_a_step_by_step_computation(model):
    batch = _sentences()
    terms = objectives.sentence_terms(model, batch, False, reconstruct=True, options=OPTIONS)
    total, words, squares = 0.0, 0, 0.0
    for row in range(2):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        memory = model.encode(one)
        state, back = model.initial_state(memory, 9), model.reconstructor.initial_state(1)
        for t in range(int(one["lengths"][0])):
            hidden, state = model.step(one["tokens"][:, t], state, memory)
            log_probs = tf.nn.log_softmax(model.logits(hidden))[0]
            total -= float(log_probs[one["tokens"][0, t + 1]])
            words += 1
            read, back = model.reconstructor.step(model.reconstructor.precompute(hidden), back)
        squares += float(tf.reduce_sum(tf.square(read - memory["vector"])))
    xe, rec = terms["cross_entropy"], terms["sentence_reconstruction"]
    np.testing.assert_allclose([xe.total, xe.normalizer], [total, words], rtol=1e-5)
    np.testing.assert_allclose([rec.total, rec.normalizer], [squares, 2 * H], rtol=1e-4)
    assert (xe.weight, rec.weight) == (1.0, 0.7)


def test_scheduled_sampling_reads_predictions_that_follow_the_sentence(model):
    batch = _sentences()
    memory = model.encode(batch)
    words = batch["tokens"][:, :-1].numpy()
    hidden = model.teacher_forced(memory, tf.constant(words))
    predicted = np.argmax(model.logits(hidden), -1)
    own_words = np.array([[False, True, False, True], [False, False, True, False]])
    previous = words.copy()
    previous[:, 1:][own_words[:, 1:]] = predicted[:, :-1][own_words[:, 1:]]
    assert (previous != words).any()
    sampled, given = (
        objectives.sentence_terms(
            model, {**batch, **changed}, False, reconstruct=True, options=OPTIONS
        )
        for changed in (
            {"own_words": tf.constant(own_words)},
            {"previous": tf.constant(previous)},
        )
    )
    for name, term in given.items():
        np.testing.assert_allclose(sampled[name].total, term.total, rtol=1e-5)


def test_image_terms_read_the_models_own_argmax_words(model):
    batch = _images()
    terms = objectives.image_terms(
        model, batch, False, reconstruct=True, options=OPTIONS, search=SEARCH
    )
    images, sentences, vectors = [], [], []
    for row in range(5):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        memory = model.encode(one)
        state, back = model.initial_state(memory, 9), model.reconstructor.initial_state(1)
        word = tf.constant([1])
        for _ in range(SEARCH.max_length):
            hidden, state = model.step(word, state, memory)
            read, back = model.reconstructor.step(model.reconstructor.precompute(hidden), back)
            # Padding and the start marker are never generated.
            word = 2 + tf.argmax(model.logits(hidden)[:, 2:], -1, output_type=tf.int32)
            if int(word[0]) == 2:
                break
        images.append(model.project_images(one["global"])[0])
        sentences.append(read[0])
        vectors.append(memory["vector"][0])
    scores = np.array(images) @ np.array(sentences).T
    expected = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        expected += max(0, 0.2 - scores[i, i] + scores[i, others].max())
        expected += max(0, 0.2 - scores[i, i] + scores[others, i].max())
    np.testing.assert_allclose(terms["triplet"].total, expected, rtol=1e-4, atol=1e-5)
    assert float(terms["triplet"].normalizer) == 5
    np.testing.assert_allclose(
        terms["image_reconstruction"].total,
        np.square(np.array(sentences) - np.array(vectors)).sum(),
        rtol=1e-4,
    )


def test_gates_are_those_at_the_real_words(model):
    batch = _sentences()
    found = objectives.gate_values(model, batch, SEARCH)
    memory = model.encode(batch)
    words = model.fusion.project(model.embedding(batch["tokens"][:, :-1]))
    fused = model.fusion(words, memory["fusion"])
    for name, gate in zip(found, model.decoder.all_gates(fused), strict=True):
        expected = np.concatenate([gate[0, :4], gate[1, :2]])
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
    # For its own generated words: as many values as words, at least one.
    own = objectives.gate_values(model, _images(), SEARCH)
    lengths = decode(model, model.encode(_images()), SEARCH).lengths[:, 0]
    assert own["forget_gate"].shape == (int(tf.reduce_sum(tf.maximum(lengths, 1))), H)
    lstm = R2M(vocabulary_size=V, units=H, decoder="lstm")
    assert objectives.gate_values(lstm, batch, SEARCH) == {}


@pytest.mark.parametrize("name", list(STAGES))
def test_a_stage_trains_exactly_the_parts_its_loss_reaches(model, name):
    spec = stage_spec(name)
    with tf.GradientTape(persistent=True) as tape:
        terms = {}
        if spec.sentences:
            terms |= objectives.sentence_terms(
                model, _sentences(), True, reconstruct=spec.reconstruct, options=OPTIONS
            )
        if spec.images:
            terms |= objectives.image_terms(
                model, _images(), True,
                reconstruct=spec.reconstruct, options=OPTIONS, search=SEARCH,
            )  # fmt: skip
        loss = tf.add_n([term.total for term in terms.values()])
    reached = {
        part
        for part in ("embedding", "encoder", "fusion", "decoder", "reconstructor", "image_map")
        if any(
            gradient is not None
            for gradient in tape.gradient(loss, getattr(model, part).trainable_variables)
        )
    }
    reached |= {
        part
        for part in ("softmax_weights", "softmax_bias")
        if tape.gradient(loss, getattr(model, part)) is not None
    }
    assert reached == set(spec.parts)


def test_unknown_stage_lists_the_known_ones():
    with pytest.raises(InputError, match=r"'xr'; known: xe, xe_rec, tri, tri_rec, joint"):
        stage_spec("xr")
