"""Recurrence over packed captions of different lengths, without padded positions.

Captions are sorted by length, and step t processes the captions that have a word at that step.
Layers that run for all steps at once, before and after the loop, also process real positions only.

The gradient is a custom one. The gradient that TensorFlow derives adds a product of the size of the
weights at every step. Here, a step only records the inputs of its `Linear` layers and the gradients
of their outputs, and the gradient of each weight matrix is one product over all steps. The products
of the layers are not recomputed in the backward pass. Weights are transposed once for all steps: a
matmul with `transpose_b` transposes the weights at every call, which takes several times as long as
a product with few rows. They are also padded; see `models.layers.prepared_weights`.

The step is traced once to find its `Linear` layers. A step that uses anything else with a gradient
or a side effect (other variables, a layer twice, dropout, captured tensors) falls back to the
gradient that TensorFlow derives, which is slower.

Letters: B captions, T steps, N real positions of all captions (ordered by step), L rows per image,
n captions that have a word at a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from models.layers import tracing
from models.layers.linear import Linear, intercepted
from models.layers.prepared_weights import pad_columns
from models.layers.step_products import Products, Recorder, ReplayedProducts

# (inputs of one step, state, memory) -> (output float[n, H], state); all tensors have n rows.
Step = Callable[[Any, Any, Any], tuple[tf.Tensor, Any]]


class Packing(NamedTuple):
    """Real positions of captions, ordered by step.

    Attributes:
        order: int32[B], indices of the captions, from the longest to the shortest.
        indices: int64[N, 2], (caption, step) of each position.
        counts: int32[T], number of captions that have a word at each step.
        starts: int32[T], number of positions before those of each step.
        steps: int32[], length of the longest caption, at least 1.
    """

    order: tf.Tensor
    indices: tf.Tensor
    counts: tf.Tensor
    starts: tf.Tensor
    steps: tf.Tensor


def pack(lengths: tf.Tensor, steps: tf.Tensor) -> Packing:
    """Returns the packing of captions of given lengths.

    Args:
        lengths: int32[B], at most T.
        steps: T.
    """
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    real = tf.transpose(tf.sequence_mask(tf.gather(lengths, order), steps))
    counts = tf.reduce_sum(tf.cast(real, tf.int32), axis=1)
    indices = tf.where(real)
    indices = tf.stack([tf.gather(tf.cast(order, tf.int64), indices[:, 1]), indices[:, 0]], axis=1)
    starts = tf.cumsum(counts, exclusive=True)
    # At least one step, even without captions: an empty TensorArray cannot be concatenated.
    longest = tf.maximum(tf.math.count_nonzero(counts, dtype=tf.int32), 1)
    return Packing(order, indices, counts, starts, longest)


def last_positions(packing: Packing, lengths: tf.Tensor) -> tf.Tensor:
    """Returns the position of the last word of each caption, int32[B]; lengths are at least 1."""
    return tf.gather(packing.starts, lengths - 1) + tf.argsort(packing.order)


def reversed_positions(packing: Packing, lengths: tf.Tensor) -> tf.Tensor:
    """Returns the permutation int32[N] of positions that reverses every caption.

    Args:
        packing: packing of the captions.
        lengths: int32[B], the lengths that the packing was built from.
    """
    captions, steps = tf.unstack(tf.cast(packing.indices, tf.int32), axis=1)
    rank = tf.range(tf.size(steps)) - tf.gather(packing.starts, steps)
    return tf.gather(packing.starts, tf.gather(lengths, captions) - 1 - steps) + rank


def run(step: Step, inputs: Any, state: Any, memory: Any, *, packing: Packing) -> tf.Tensor:
    """Runs `step` over the real positions.

    Args:
        step: step function; depends only on its arguments and on variables.
        inputs: nested tensors [N, ...].
        state: nested initial state [B, ...], in the packing's order.
        memory: nested tensors [B, ...], in the packing's order.
        packing: packing of the captions.

    Returns:
        The outputs float[N, H].
    """
    if tf.executing_eagerly():  # Tracing would take longer than the loop.
        return _run_eagerly(step, inputs, state, memory, packing)
    found = _find_products(step, inputs, state, memory)
    if not found.separable:
        return _run_derived(step, inputs, state, memory, found.output, packing)
    groups = _Groups(
        inputs,
        state,
        memory,
        [layer.tensors() for layer in found.narrow],
        [layer.tensors() for layer in found.wide],
    )
    steps = _Steps(step, found, packing)

    @tf.custom_gradient
    def run_separately(*flat: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        given = tf.nest.pack_sequence_as(groups, flat)
        outputs, states, recorded = steps.forward(given)

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            upstream = tf.convert_to_tensor(upstream)  # the gradient of a gather is sparse
            gradients = tf.nest.flatten(steps.backward(given, states, recorded, upstream))
            # Tensors returned by the loop have no static sizes.
            return [tf.ensure_shape(x, of.shape) for x, of in zip(gradients, flat, strict=True)]

        return outputs, gradient

    outputs: tf.Tensor = run_separately(*tf.nest.flatten(groups))
    return outputs


def _run_eagerly(step: Step, inputs: Any, state: Any, memory: Any, packing: Packing) -> tf.Tensor:
    """Runs `step` over the real positions in a Python loop."""
    outputs = []
    for start, count in zip(packing.starts[: packing.steps], packing.counts, strict=False):
        now = _rows(inputs, start, count)
        output, state = step(now, _rows(state, 0, count), _rows(memory, 0, count))
        outputs.append(output)
    return tf.concat(outputs, axis=0)


def _run_derived(
    step: Step, inputs: Any, state: Any, memory: Any, output: tf.TensorSpec, packing: Packing
) -> tf.Tensor:
    """Runs `step` over the real positions, with the gradient that TensorFlow derives."""
    outputs = tf.TensorArray(
        output.dtype,
        packing.steps,
        element_shape=[None, *output.shape[1:]],
        infer_shape=False,
    )

    def body(t: tf.Tensor, state: Any, outputs: tf.TensorArray) -> tuple[Any, ...]:
        count = packing.counts[t]
        now = _rows(inputs, packing.starts[t], count)
        output, state = step(now, _rows(state, 0, count), _rows(memory, 0, count))
        return t + 1, state, outputs.write(t, output)

    start = (tf.constant(0), state, outputs)
    *_, outputs = tf.while_loop(
        lambda t, *_: t < packing.steps, body, start, shape_invariants=tracing.any_batch(start)
    )
    return outputs.concat()


class _Found(NamedTuple):
    """`Linear` layers of a traced step.

    Attributes:
        narrow: layers applied to matrices float[n, I], whose weight gradients are computed for all
            steps at once.
        wide: layers applied to float[n, ..., I]. They have few weights, whose gradients are summed
            over the steps.
        output: specification of the output of the step.
        separable: whether the custom gradient applies: the step uses no weights except those of
            `narrow` and `wide`, uses each layer once and has no side effect.
    """

    narrow: Sequence[Linear]
    wide: Sequence[Linear]
    output: tf.TensorSpec
    separable: bool


def _find_products(step: Step, inputs: Any, state: Any, memory: Any) -> _Found:
    """Traces a step to find its `Linear` layers."""
    recorder = Recorder()

    def recorded(*arguments: Any) -> tuple[tf.Tensor, Any]:
        recorder.graph = tf.compat.v1.get_default_graph()
        with intercepted(recorder):
            return step(*arguments)

    traced = tracing.trace_step(recorded, inputs, state, memory)
    output, _ = traced.structured_outputs
    of_state, others = tf.nest.flatten(state), tf.nest.flatten((inputs, memory))
    separable = (
        recorder.separable
        and not traced.graph.captures
        and not any(operation.op_def.is_stateful for operation in traced.graph.get_operations())
        and all(x.shape.rank == 2 and x.dtype == output.dtype for x in of_state)
        and all(layer.compute_dtype == output.dtype.name for layer in recorder.narrow)
        and all(x.dtype.is_floating for x in others)
    )
    return _Found(recorder.narrow, recorder.wide, output, separable)


class _Groups(NamedTuple):
    """Tensors that the outputs of a run depend on, which all receive gradients."""

    inputs: Any
    state: Any
    memory: Any
    narrow: list[tuple[tf.Tensor, ...]]
    wide: list[tuple[tf.Tensor, ...]]


class _Recorded(NamedTuple):
    """Inputs float[N, I] and outputs float[N, O] of every narrow layer."""

    inputs: list[tf.Tensor]
    outputs: list[tf.Tensor]


class _Steps:
    """Forward and backward pass over all steps."""

    def __init__(self, step: Step, found: _Found, packing: Packing) -> None:
        self._step, self._narrow, self._wide = step, found.narrow, found.wide
        self._output, self._packing = found.output, packing

    def forward(self, given: _Groups) -> tuple[tf.Tensor, Any, _Recorded]:
        """Runs all steps.

        Returns:
            The outputs float[N, H], the states before each step float[N, ...], and the inputs and
            outputs of the narrow layers.
        """
        packing = self._packing
        state = tf.nest.flatten(given.state)
        sizes = [
            self._output.shape[1],
            *(x.shape[1] for x in state),
            *(weights[0].shape[0] for weights in given.narrow),
            *(weights[0].shape[1] for weights in given.narrow),
        ]
        arrays = [
            tf.TensorArray(
                self._output.dtype, packing.steps, element_shape=[None, size], infer_shape=False
            )
            for size in sizes
        ]

        narrow = tf.nest.map_structure(pad_columns, given.narrow)

        def body(t: tf.Tensor, state: Any, arrays: list[tf.TensorArray]) -> tuple[Any, ...]:
            count = packing.counts[t]
            now = _rows(given.inputs, packing.starts[t], count)
            before = _rows(state, 0, count)
            products = Products(self._narrow, narrow, self._wide, given.wide)
            with intercepted(products):
                output, state = self._step(now, before, _rows(given.memory, 0, count))
            written = [output, *tf.nest.flatten(before), *products.inputs(), *products.outputs()]
            return t + 1, state, [a.write(t, x) for a, x in zip(arrays, written, strict=True)]

        start = (tf.constant(0), given.state, arrays)
        *_, arrays = tf.while_loop(
            lambda t, *_: t < packing.steps,
            body,
            start,
            shape_invariants=tracing.any_batch(start),
        )
        outputs, *rest = (array.concat() for array in arrays)
        states = tf.nest.pack_sequence_as(given.state, rest[: len(state)])
        inputs_end = len(state) + len(given.narrow)
        return outputs, states, _Recorded(rest[len(state) : inputs_end], rest[inputs_end:])

    def backward(
        self, given: _Groups, states: Any, recorded: _Recorded, upstream: tf.Tensor
    ) -> _Groups:
        """Returns the gradients of the arguments of `forward`.

        Args:
            given: arguments of `forward`.
            states: from `forward`.
            recorded: from `forward`.
            upstream: float[N, H], gradients of the outputs.
        """
        packing = self._packing
        flat_inputs = tf.nest.flatten(given.inputs)
        of_step = [*flat_inputs, *recorded.outputs]
        arrays = [
            tf.TensorArray(
                x.dtype, packing.steps, element_shape=[None, *x.shape[1:]], infer_shape=False
            )
            for x in of_step
        ]
        transposed = [pad_columns(tf.transpose(weights[0])) for weights in given.narrow]
        # Both start with 0 rows and grow: earlier steps have more captions.
        d_state, d_memory = tf.nest.map_structure(
            lambda x: tf.zeros_like(x[:0]), (given.state, given.memory)
        )
        sums = (d_memory, tf.nest.map_structure(tf.zeros_like, given.wide))

        def body(t: tf.Tensor, d_after: Any, sums: Any, arrays: Any) -> tuple[Any, ...]:
            start, count = packing.starts[t], packing.counts[t]
            now = _rows(given.inputs, start, count)
            before, memory = _rows(states, start, count), _rows(given.memory, 0, count)
            products = ReplayedProducts(
                self._narrow,
                transposed,
                self._wide,
                given.wide,
                _rows(recorded.outputs, start, count),
            )
            sources = (now, before, memory, given.wide)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(tf.nest.flatten(sources))
                with intercepted(products):
                    output, after = self._step(now, before, memory)
            found = tape.gradient(
                [output, *tf.nest.flatten(after)],
                tf.nest.flatten(sources),
                [
                    _rows(upstream, start, count),
                    *(_padded(x, count) for x in tf.nest.flatten(d_after)),
                ],
                unconnected_gradients="zero",
            )
            d_now, d_before, d_memory, d_wide = tf.nest.pack_sequence_as(sources, found)
            d_memory = tf.nest.map_structure(
                lambda total, x: _padded(total, count) + x, sums[0], d_memory
            )
            sums = (d_memory, tf.nest.map_structure(tf.add, sums[1], d_wide))
            written = [*tf.nest.flatten(d_now), *products.gradients]
            arrays = [a.write(t, x) for a, x in zip(arrays, written, strict=True)]
            return t - 1, d_before, sums, arrays

        start = (packing.steps - 1, d_state, sums, arrays)
        _, d_state, sums, arrays = tf.while_loop(
            lambda t, *_: t >= 0, body, start, shape_invariants=tracing.any_batch(start)
        )
        packed = [array.concat() for array in arrays]
        count = len(flat_inputs)
        return _Groups(
            inputs=tf.nest.pack_sequence_as(given.inputs, packed[:count]),
            state=tf.nest.map_structure(_pad_like, d_state, given.state),
            memory=tf.nest.map_structure(_pad_like, sums[0], given.memory),
            narrow=[
                (tf.matmul(x, error, transpose_a=True), tf.reduce_sum(error, 0))[: len(weights)]
                for x, error, weights in zip(
                    recorded.inputs, packed[count:], given.narrow, strict=True
                )
            ],
            wide=sums[1],
        )


def _rows(nested: Any, start: tf.Tensor | int, count: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda x: x[start : start + count], nested)


def _pad_like(x: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Appends rows of zeros to x up to the number of rows of `others`."""
    return _padded(x, tf.shape(others)[0])


def _padded(x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Appends rows of zeros to x float[n, ...], up to `rows` rows."""
    missing = tf.concat([[rows - tf.shape(x)[0]], tf.shape(x)[1:]], axis=0)
    return tf.concat([x, tf.zeros(missing, x.dtype)], axis=0)
