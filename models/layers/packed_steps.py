"""Teacher forcing over captions of different lengths, without a single padded position.

Captions are sorted by length, and step t works on those that still have a word: what is done for
all steps at once, before and after, sees real positions only as well.

The gradient is our own. The one that TensorFlow derives adds up a product as large as the weights
at every step; here a step only notes what its `Linear` layers heard and the errors of what they
said, and the weights' gradients are one product over all steps. Nor are the layers' products
computed again on the way back. Weights are transposed once for all steps: a product with transposed
weights transposes them first, which takes several times as long as a product of few rows does.

Letters: B captions, T steps, N real positions in all (step by step), L rows of an image, n the
captions that still have a word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from models.layers import ops
from models.layers.prepared_weights import LoopWeights, product

# (inputs of one step, state, memory) -> (output float[n, H], state); all of n rows.
Step = Callable[[Any, Any, Any], tuple[tf.Tensor, Any]]


@keras.saving.register_keras_serializable("r2m")
class Linear(keras.layers.Dense):
    """A dense layer that may recur: `run`, or what made its weights ready, does its products."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """float[..., I] -> float[..., O]."""
        products = _products.get()
        if products is not None:
            return products.of(self, inputs)
        if inputs.shape.rank != 2:
            return super().call(inputs, training)
        outputs = product(inputs, self.kernel)
        return outputs if self.bias is None else outputs + tf.cast(self.bias, outputs.dtype)

    @property
    def loop_weights(self) -> LoopWeights:
        """The kernel."""
        return LoopWeights(self.kernel, self.compute_dtype)

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """Kernel float[I, O] and, where there is one, bias float[O], as they compute."""
        variables = [self.kernel] if self.bias is None else [self.kernel, self.bias]
        return tuple(tf.cast(variable, self.compute_dtype) for variable in variables)


class Packing(NamedTuple):
    """Which positions are real, and in which order they are run through.

    Attributes:
        order: int32[B], the captions from the longest to the shortest.
        places: int64[N, 2], (caption, step) of each position.
        counts: int32[T], captions that still have a word.
        starts: int32[T], positions before those of the step.
        steps: int32[], steps that any caption has, at least 1.
    """

    order: tf.Tensor
    places: tf.Tensor
    counts: tf.Tensor
    starts: tf.Tensor
    steps: tf.Tensor


def pack(lengths: tf.Tensor, steps: tf.Tensor) -> Packing:
    """The packing of captions of these lengths.

    Args:
        lengths: int32[B], at most T.
        steps: T.
    """
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    real = tf.transpose(tf.sequence_mask(tf.gather(lengths, order), steps))
    counts = tf.reduce_sum(tf.cast(real, tf.int32), axis=1)
    places = tf.where(real)
    places = tf.stack([tf.gather(tf.cast(order, tf.int64), places[:, 1]), places[:, 0]], axis=1)
    starts = tf.cumsum(counts, exclusive=True)
    # A step at least, if on nothing: what no step was taken of could not be put together.
    taken = tf.maximum(tf.math.count_nonzero(counts, dtype=tf.int32), 1)
    return Packing(order, places, counts, starts, taken)


def run(
    step: Step,
    inputs: Any,
    state: Any,
    memory: Any,
    *,
    layers: Sequence[Linear],
    wide: Sequence[Linear] = (),
    units: int,
    packing: Packing,
) -> tf.Tensor:
    """Runs `step` over the real positions.

    Args:
        step: uses the weights of `layers` and `wide` only, each layer once.
        inputs: nested float[N, ...].
        state: nested start state float[B, ...], in the packing's order.
        memory: nested float[B, ...], likewise.
        layers: those that `step` gives float[n, I].
        wide: those that `step` gives float[n, L, I]; few weights, whose gradient is summed up.
        units: H.
        packing: of the captions.

    Returns:
        The outputs float[N, H].
    """
    groups = Groups(
        inputs, state, memory, [x.tensors() for x in layers], [x.tensors() for x in wide]
    )
    steps = _Steps(step, layers, wide, units, packing)

    @tf.custom_gradient
    def both_ways(*flat: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        given = tf.nest.pack_sequence_as(groups, flat)
        outputs, states, said = steps.forward(given)

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            found = tf.nest.flatten(steps.backward(given, states, said, upstream))
            # What comes out of the loop has forgotten its sizes.
            return [tf.ensure_shape(x, of.shape) for x, of in zip(found, flat, strict=True)]

        return outputs, gradient

    found: tf.Tensor = both_ways(*tf.nest.flatten(groups))
    return found


class Groups(NamedTuple):
    """What a run depends on, and so has gradients for."""

    inputs: Any
    state: Any
    memory: Any
    layers: list[tuple[tf.Tensor, ...]]
    wide: list[tuple[tf.Tensor, ...]]


class _Steps:
    """All steps, forwards and backwards."""

    def __init__(
        self,
        step: Step,
        layers: Sequence[Linear],
        wide: Sequence[Linear],
        units: int,
        packing: Packing,
    ) -> None:
        self._step, self._layers, self._wide = step, layers, wide
        self._units, self._packing = units, packing

    def forward(self, given: Groups) -> tuple[tf.Tensor, Any, list[tf.Tensor]]:
        """Outputs float[N, H]; states before each step and what `layers` said, float[N, ...]."""
        packing = self._packing
        state = tf.nest.flatten(given.state)
        sizes = [self._units, *(x.shape[1] for x in state), *(w[0].shape[1] for w in given.layers)]
        arrays = [
            tf.TensorArray(
                state[0].dtype, packing.steps, element_shape=[None, size], infer_shape=False
            )
            for size in sizes
        ]

        def body(t: tf.Tensor, state: Any, arrays: list[tf.TensorArray]) -> tuple[Any, ...]:
            count = packing.counts[t]
            now = _rows(given.inputs, packing.starts[t], count)
            before = _rows(state, 0, count)
            products = _Products(self._layers, given.layers, self._wide, given.wide)
            with products.in_charge():
                output, state = self._step(now, before, _rows(given.memory, 0, count))
            found = [output, *tf.nest.flatten(before), *products.said()]
            return t + 1, state, [a.write(t, x) for a, x in zip(arrays, found, strict=True)]

        start = (tf.constant(0), given.state, arrays)
        *_, arrays = tf.while_loop(
            lambda t, *_: t < packing.steps, body, start, shape_invariants=ops.any_batch(start)
        )
        outputs, *rest = (array.concat() for array in arrays)
        states = tf.nest.pack_sequence_as(given.state, rest[: len(state)])
        return outputs, states, rest[len(state) :]

    def backward(
        self, given: Groups, states: Any, said: list[tf.Tensor], upstream: tf.Tensor
    ) -> Groups:
        """The gradients of what was given, from that of the outputs."""
        packing = self._packing
        flat_inputs = tf.nest.flatten(given.inputs)
        of_step = [
            *flat_inputs,
            *(tf.zeros([0, w[0].shape[0]], w[0].dtype) for w in given.layers),
            *said,
        ]
        arrays = [
            tf.TensorArray(
                x.dtype, packing.steps, element_shape=[None, *x.shape[1:]], infer_shape=False
            )
            for x in of_step
        ]
        transposed = [tf.transpose(weights[0]) for weights in given.layers]
        # Both grow: the later the step, the fewer captions have a word left.
        errors, of_memory = tf.nest.map_structure(
            lambda x: tf.zeros_like(x[:0]), (given.state, given.memory)
        )
        summed = (of_memory, tf.nest.map_structure(tf.zeros_like, given.wide))

        def body(t: tf.Tensor, errors: Any, summed: Any, arrays: Any) -> tuple[Any, ...]:
            start, count = packing.starts[t], packing.counts[t]
            now = _rows(given.inputs, start, count)
            before, memory = _rows(states, start, count), _rows(given.memory, 0, count)
            products = _Replayed(
                self._layers, transposed, self._wide, given.wide, _rows(said, start, count)
            )
            sources = (now, before, memory, given.wide)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(tf.nest.flatten(sources))
                with products.in_charge():
                    output, after = self._step(now, before, memory)
            found = tape.gradient(
                [output, *tf.nest.flatten(after)],
                tf.nest.flatten(sources),
                [
                    _rows(upstream, start, count),
                    *(_padded(x, count) for x in tf.nest.flatten(errors)),
                ],
                unconnected_gradients="zero",
            )
            d_now, errors, d_memory, d_wide = tf.nest.pack_sequence_as(sources, found)
            memory = tf.nest.map_structure(
                lambda total, x: _padded(total, count) + x, summed[0], d_memory
            )
            summed = (memory, tf.nest.map_structure(tf.add, summed[1], d_wide))
            noted = [*tf.nest.flatten(d_now), *products.heard, *products.errors]
            arrays = [a.write(t, x) for a, x in zip(arrays, noted, strict=True)]
            return t - 1, errors, summed, arrays

        start = (packing.steps - 1, errors, summed, arrays)
        _, errors, summed, arrays = tf.while_loop(
            lambda t, *_: t >= 0, body, start, shape_invariants=ops.any_batch(start)
        )
        packed = [array.concat() for array in arrays]
        count = len(flat_inputs)
        half = count + len(given.layers)
        return Groups(
            inputs=tf.nest.pack_sequence_as(given.inputs, packed[:count]),
            state=tf.nest.map_structure(_as_many, errors, given.state),
            memory=tf.nest.map_structure(_as_many, summed[0], given.memory),
            layers=[
                (tf.matmul(x, error, transpose_a=True), tf.reduce_sum(error, 0))[: len(weights)]
                for x, error, weights in zip(
                    packed[count:half], packed[half:], given.layers, strict=True
                )
            ],
            wide=summed[1],
        )


class _Products:
    """What the layers of a step give while it runs."""

    def __init__(
        self,
        layers: Sequence[Linear],
        weights: Sequence[Sequence[tf.Tensor]],
        wide: Sequence[Linear],
        wide_weights: Sequence[Sequence[tf.Tensor]],
    ) -> None:
        self._layers = layers
        self._places = {id(layer): place for place, layer in enumerate(layers)}
        self._weights = weights
        self._wide = {id(layer): own for layer, own in zip(wide, wide_weights, strict=True)}
        self._said: dict[int, tf.Tensor] = {}

    def of(self, layer: Linear, inputs: tf.Tensor) -> tf.Tensor:
        """What `layer` gives."""
        if id(layer) in self._wide:
            return _affine(self._wide[id(layer)], inputs)
        place = self._places[id(layer)]
        if place in self._said:
            raise ValueError(f"{layer.path} is used twice in a step")
        self._said[place] = self._product(place, inputs)
        return self._said[place]

    def said(self) -> list[tf.Tensor]:
        """What each of the layers gave, in their order."""
        return [self._said[place] for place in range(len(self._layers))]

    @contextlib.contextmanager
    def in_charge(self) -> Iterator[None]:
        """Takes over the products of the layers that are called within."""
        token = _products.set(self)
        try:
            yield
        finally:
            _products.reset(token)

    def _product(self, place: int, inputs: tf.Tensor) -> tf.Tensor:
        return _affine(self._weights[place], inputs)


class _Replayed(_Products):
    """Gives what the layers said on the way forward; notes what they heard, and the errors."""

    def __init__(
        self,
        layers: Sequence[Linear],
        transposed: Sequence[tf.Tensor],
        wide: Sequence[Linear],
        wide_weights: Sequence[Sequence[tf.Tensor]],
        said: Sequence[tf.Tensor],
    ) -> None:
        super().__init__(layers, (), wide, wide_weights)
        self._transposed, self._given = transposed, said
        self._heard: dict[int, tf.Tensor] = {}
        self._errors: dict[int, tf.Tensor] = {}

    @property
    def heard(self) -> list[tf.Tensor]:
        """What each of the layers was given, in their order."""
        return [self._heard[place] for place in range(len(self._layers))]

    @property
    def errors(self) -> list[tf.Tensor]:
        """The gradients of what each gave, in their order."""
        return [self._errors[place] for place in range(len(self._layers))]

    def _product(self, place: int, inputs: tf.Tensor) -> tf.Tensor:
        self._heard[place] = inputs

        @tf.custom_gradient
        def replay(inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def gradient(error: tf.Tensor) -> tf.Tensor:
                self._errors[place] = error
                return tf.matmul(error, self._transposed[place])

            del inputs
            return tf.identity(self._given[place]), gradient

        found: tf.Tensor = replay(inputs)
        return found


_products: ContextVar[_Products | None] = ContextVar("products", default=None)


def _affine(weights: Sequence[tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    product = tf.matmul(tf.reshape(inputs, [-1, inputs.shape[-1]]), weights[0])
    if len(weights) > 1:
        product = tf.nn.bias_add(product, weights[1])
    shape = tf.concat([tf.shape(inputs)[:-1], weights[0].shape[1:]], axis=0)
    return tf.ensure_shape(tf.reshape(product, shape), [*inputs.shape[:-1], weights[0].shape[1]])


def _rows(nested: Any, start: tf.Tensor | int, count: tf.Tensor) -> Any:
    return tf.nest.map_structure(lambda x: x[start : start + count], nested)


def _as_many(x: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Zeros below x up to as many rows as `others` has."""
    return _padded(x, tf.shape(others)[0])


def _padded(x: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Zeros below x float[n, ...] up to `rows` rows."""
    missing = tf.concat([[rows - tf.shape(x)[0]], tf.shape(x)[1:]], axis=0)
    return tf.concat([x, tf.zeros(missing, x.dtype)], axis=0)
