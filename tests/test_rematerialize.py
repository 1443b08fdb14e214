"""tf.checkpoint: the same numbers as without it, in less memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import ArgumentError
from tapeflow.graph import parse
from tapeflow.jit.passes.barriers import barriers
from tapeflow.primitive import REGISTRY

both = pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
RNG = np.random.default_rng(0)
X = tf.asarray(RNG.standard_normal((3, 4)))
W = tf.asarray(0.3 * RNG.standard_normal((4, 4)))
V = tf.Variable(RNG.standard_normal(4))


def plain(f: Any) -> Any:
    return f


def block(x: Any) -> Any:
    """A function of its argument, a tensor of its closure, and a variable."""
    return tf.tanh(tf.sin(x @ W) * V) * 2.0 + x


def loss_of(wrap: Callable[[Any], Any]) -> Any:
    return lambda x: tf.sum(wrap(block)(wrap(block)(x)) ** 2)


def flat(tree: Any) -> list[Any]:
    return [np.asarray(leaf) for leaf in tf.tree.flatten(tree)[0]]


def check_same(found: Any, expected: Any) -> None:
    for a, b in zip(flat(found), flat(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def of_tape(wrap: Any) -> Callable[[Any], Any]:
    def f(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, W])
            y = loss_of(wrap)(x)
        return [y, *tape.gradient(y, [x, W, V])]

    return f


# ---- the same derivatives

DERIVATIVES: dict[str, Callable[[Any], Callable[[Any], Any]]] = {
    "of arguments, closures, variables": of_tape,
    "forward": lambda w: lambda x: tf.jvp(loss_of(w), (x,), (x * x,))[1],
    "forward over reverse": lambda w: lambda x: tf.jvp(tf.grad(loss_of(w)), (x,), (x,))[1],
    "reverse over reverse": lambda w: (
        lambda x: tf.grad(lambda x: tf.sum(tf.grad(loss_of(w))(x) ** 2))(x)
    ),
    "for each example": lambda w: tf.vmap(tf.grad(lambda r: loss_of(w)(r[None]))),
    "of a map": lambda w: tf.grad(lambda x: tf.sum(tf.vmap(lambda r: loss_of(w)(r[None]))(x))),
    "of a function of a map": lambda w: tf.grad(lambda x: tf.sum(w(tf.vmap(block))(x) ** 2)),
    "jacobian": lambda w: tf.jacobian(lambda x: w(block)(x)[0]),
    "in a loop": lambda w: tf.grad(
        lambda x: tf.sum(tf.scan(lambda c, r: (w(block)(c * r), None), x[0], x)[0])
    ),
    "around a loop": lambda w: tf.grad(
        lambda x: tf.sum(w(lambda x: tf.scan(lambda c, r: (block(c * r), c), x[0], x)[1])(x) ** 2)
    ),
    "in a branch": lambda w: tf.grad(
        lambda x: tf.sum(tf.cond(tf.sum(x) < 9.0, w(block), lambda x: x, x) ** 2)
    ),
    "nested": lambda w: tf.grad(lambda x: tf.sum(w(lambda x: w(block)(w(block)(x)))(x))),
    "around a gradient": lambda w: tf.grad(lambda x: tf.sum(w(tf.grad(loss_of(plain)))(x) ** 2)),
    "around a compiled function": lambda w: tf.grad(lambda x: tf.sum(w(tf.jit(block))(x) ** 2)),
}


@both
@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_are_those_without_it(name: str, run: Any) -> None:
    made = DERIVATIVES[name]
    check_same(run(made(tf.checkpoint))(X), made(plain)(X))


def test_the_gradient_passes_through_a_compiled_function_that_uses_it() -> None:
    check_same(tf.grad(tf.jit(loss_of(tf.checkpoint)))(X), tf.grad(loss_of(plain))(X))


@both
def test_a_custom_gradient_inside_is_used(run: Any) -> None:
    @tf.custom_gradient
    def tenfold(x: Any) -> Any:
        return x * 1.0, lambda g: 10.0 * g

    found = run(tf.grad(lambda x: tf.sum(tf.checkpoint(lambda x: tenfold(x * x))(x))))(X)
    check_same(found, 20.0 * X)


@both
def test_elements_may_be_assigned_inside(run: Any) -> None:
    def f(x: Any) -> Any:
        y = x * 2.0
        y[0] = y[1] * x[0]
        return y

    check_same(
        run(tf.grad(lambda x: tf.sum(tf.checkpoint(f)(x) ** 2)))(X),
        tf.grad(lambda x: tf.sum(f(x) ** 2))(X),
    )


@both
def test_arguments_and_results_are_trees_with_what_is_no_tensor(run: Any) -> None:
    def f(p: Any, power: int, *, name: str) -> Any:
        return {"y": p["a"] ** power, "same": p["a"], "name": name, "none": None}

    def loss(x: Any) -> Any:
        found = tf.checkpoint(f)({"a": x}, 3, name="cube")
        assert (found["name"], found["none"]) == ("cube", None)
        return tf.sum(found["y"] + found["same"])

    check_same(run(tf.grad(loss))(X), 3.0 * X**2 + 1.0)


# ---- state


def noisy(x: Any) -> Any:
    return tf.sum(tf.nn.dropout(tf.sin(x), 0.5) * tf.random.normal(x.shape, dtype="float64"))


@both
def test_random_numbers_are_the_same_in_both_runs_and_drawn_once(run: Any) -> None:
    def made(wrap: Any) -> Any:
        return run(lambda x: tf.value_and_grad(lambda x: wrap(noisy)(x) * wrap(noisy)(x))(x))

    results = []
    for wrap in (plain, tf.checkpoint):
        tf.random.seed(1)
        results.append((made(wrap)(X), tf.random.normal(())))
    check_same(*results)


@both
def test_variables_are_assigned_once_and_each_reading_has_a_gradient(run: Any) -> None:
    def made(wrap: Any) -> Any:
        v, count = tf.Variable([1.0, 2.0]), tf.Variable(0)

        def f(x: Any) -> Any:
            count.assign_add(1)
            first = v * x
            v.assign_add([1.0, 1.0])
            return tf.sum(first * v * tf.sin(x))

        def step(x: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = wrap(f)(x)
            return [y, *tape.gradient(y, [x, v])]

        return *run(step)(tf.asarray([0.3, 0.4])), v.value, count.value

    check_same(made(tf.checkpoint), made(plain))


@both
def test_moving_averages_move_once(run: Any) -> None:
    layer = tf.nn.BatchNorm(momentum=0.5)
    layer(X, training=True)
    before = layer.named_variables()
    start = {name: v.numpy() for name, v in before.items()}

    def moved(wrap: Any) -> list[Any]:
        for name, v in before.items():
            v.assign(start[name])
        grad = run(tf.grad(lambda x: tf.sum(wrap(lambda x: layer(x, training=True))(x) ** 3)))(X)
        return [grad, *(v.numpy() for v in before.values())]

    for a, b in zip(moved(tf.checkpoint), moved(plain), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-6, atol=1e-9)


def test_it_runs_once_where_nobody_asks_and_again_for_a_derivative() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(x)
        return tf.sum(x * x)

    tf.checkpoint(f)(X)
    assert len(calls) == 1
    with tf.GradientTape() as tape:
        tape.watch(X)
        y = tf.checkpoint(f)(X)
    assert len(calls) == 2
    tape.gradient(y, X)
    assert len(calls) == 3


def test_only_functions_are_taken() -> None:
    with pytest.raises(ArgumentError, match="function"):
        tf.checkpoint(3)


# ---- memory


def deep(wrap: Any, x: Any, w: Any) -> Any:
    def layers(x: Any) -> Any:
        for _ in range(6):
            x = tf.sin(x @ w) * 1.5 + x
        return x

    for _ in range(6):
        x = wrap(layers)(x)
    return tf.sum(x)


LARGE = tf.asarray(RNG.standard_normal((256, 64)).astype("f4"))
SQUARE = tf.asarray((0.05 * RNG.standard_normal((64, 64))).astype("f4"))


def test_eager_code_holds_less_at_its_peak() -> None:
    def peak(wrap: Any) -> int:
        gradient = tf.grad(lambda x: deep(wrap, x, SQUARE))
        gradient(LARGE)
        tracemalloc.start()
        gradient(LARGE)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(tf.checkpoint) < 0.4 * peak(plain)


def test_constants_that_are_made_inside_are_not_kept() -> None:
    numbers = np.ones((512, 512))

    def f(x: Any) -> Any:
        return tf.sum(x * tf.asarray(numbers))

    with tf.GradientTape() as tape:
        tape.watch(X)
        tracemalloc.start()
        y = tf.checkpoint(f)(X[0, 0])
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert kept < 0.1 * numbers.nbytes
    assert tape.gradient(y, X)[0, 0].item() == numbers.size


def test_compiled_code_holds_less_at_its_peak() -> None:
    def peak(wrap: Any) -> int:
        gradient = tf.jit(tf.grad(lambda x, w: deep(wrap, x, w), (0, 1)))
        gradient(LARGE, SQUARE)
        return gradient.lower(LARGE, SQUARE).memory.arena

    assert peak(tf.checkpoint) < 0.4 * peak(plain)


def test_a_mask_that_was_drawn_is_drawn_again_and_not_kept() -> None:
    def loss(x: Any) -> Any:
        return tf.sum(tf.checkpoint(lambda x: tf.nn.dropout(x * x, 0.5))(x))

    gradient = tf.jit(tf.value_and_grad(loss))
    gradient(LARGE)
    drawn = [n for n in gradient.lower(LARGE).graph.nodes if n.prim.name == "standard_uniform"]
    assert len(drawn) == 2


def test_a_barrier_goes_once_all_is_in_order() -> None:
    before = (
        "graph f(x: f32[2], y: f32[]) { a: f32[2] = tanh(x)  "
        "b: f32[2], c: f32[] = barrier(x, y, a, count=2)  d: f32[2] = tanh(b)  return d, c, a }"
    )
    after = (
        "graph f(x: f32[2], y: f32[]) { a: f32[2] = tanh(x)  d: f32[2] = tanh(x)  return d, y, a }"
    )
    assert str(barriers(parse(before, REGISTRY))) == str(parse(after, REGISTRY))
