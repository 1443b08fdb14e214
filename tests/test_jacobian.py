"""Jacobians and Hessians, and what else users of TensorFlow expect of a tape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import ArgumentError, DTypeError, ShapeError, StateError

both = pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 3))
LAYERS = {"w": RNG.standard_normal((3, 5)), "v": RNG.standard_normal((5, 2))}


def network(weights: Any, x: Any) -> Any:
    return tf.tanh(x @ weights["w"]) @ weights["v"]


def slopes(f: Any, x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """d f / d x by central differences, of shape f.shape + x.shape."""
    columns = []
    for at in np.ndindex(x.shape):
        unit = np.zeros_like(x)
        unit[at] = step
        columns.append((np.asarray(f(x + unit)) - np.asarray(f(x - unit))) / (2 * step))
    stacked = np.stack(columns, -1)
    return stacked.reshape(*stacked.shape[:-1], *x.shape)


# ---- functions


@both
def test_a_jacobian_is_that_of_differences(run: Any) -> None:
    found = run(tf.jacobian(network, argnums=(0, 1)))(LAYERS, X)
    of_v = slopes(lambda v: network({"w": LAYERS["w"], "v": v}, X), LAYERS["v"])
    np.testing.assert_allclose(found[0]["v"].numpy(), of_v, rtol=1e-6, atol=1e-8)
    of_x = slopes(lambda x: network(LAYERS, x), X)
    np.testing.assert_allclose(found[1].numpy(), of_x, rtol=1e-6, atol=1e-8)


@both
def test_a_jacobian_of_a_tree_is_a_tree(run: Any) -> None:
    found = run(tf.jacobian(lambda x: {"sum": tf.sum(x), "twice": [2.0 * x]}))(tf.asarray([1.0, 2]))
    assert found["sum"].tolist() == [1.0, 1.0]
    assert found["twice"][0].tolist() == [[2.0, 0.0], [0.0, 2.0]]


def test_a_jacobian_is_zero_where_nothing_depends_and_empty_where_nothing_is() -> None:
    x = tf.asarray([1.0, 2.0])
    assert tf.jacobian(lambda x: tf.asarray([1.0]))(x).tolist() == [[0.0, 0.0]]
    assert tf.jacobian(lambda x: x[:0])(x).shape == (0, 2)


@both
def test_a_hessian_is_that_of_differences_of_the_gradient(run: Any) -> None:
    def loss(x: Any) -> Any:
        return tf.sum(network(LAYERS, x) ** 2)

    expected = slopes(lambda x: tf.grad(loss)(x), X)
    np.testing.assert_allclose(run(tf.hessian(loss))(X).numpy(), expected, rtol=1e-6, atol=1e-6)


@both
def test_a_hessian_of_a_tree_is_a_tree_of_trees(run: Any) -> None:
    found = run(tf.hessian(lambda p: p["a"] * tf.sum(p["b"] ** 2)))(
        {"a": 3.0, "b": np.array([1.0, 2.0])}
    )
    assert found["a"]["a"].item() == 0.0
    assert found["a"]["b"].tolist() == [2.0, 4.0]
    assert found["b"]["a"].tolist() == [2.0, 4.0]
    assert found["b"]["b"].tolist() == [[6.0, 0.0], [0.0, 6.0]]


@both
def test_hessians_of_examples_and_of_compiled_functions(run: Any) -> None:
    def loss(x: Any) -> Any:
        return tf.sum(tf.sin(x) * x[0])

    expected = np.stack([tf.hessian(loss)(x).numpy() for x in X])
    np.testing.assert_allclose(run(tf.vmap(tf.hessian(loss)))(X).numpy(), expected, rtol=1e-12)
    of_compiled = run(tf.vmap(tf.jacobian(tf.grad(tf.jit(loss)))))(X)
    np.testing.assert_allclose(of_compiled.numpy(), expected, rtol=1e-12)


@both
def test_a_hessian_by_several_arguments_has_all_blocks(run: Any) -> None:
    blocks = run(tf.hessian(lambda x, a, y: a * tf.sum(x * y**2), argnums=(0, 2)))
    (xx, xy), (yx, yy) = blocks(tf.asarray([1.0, 2.0]), 3.0, tf.asarray([5.0, 7.0]))
    assert xx.tolist() == [[0, 0], [0, 0]]
    assert xy.tolist() == yx.tolist() == [[30, 0], [0, 42]]
    assert yy.tolist() == [[6, 0], [0, 12]]


def test_a_hessian_passes_a_custom_gradient() -> None:
    @tf.custom_gradient
    def cube(x: Any) -> Any:
        return x**3, lambda g: 3.0 * g * x * x

    assert tf.hessian(lambda x: tf.sum(cube(x)))(tf.asarray([1.0, 2.0])).tolist() == [
        [6, 0],
        [0, 12],
    ]


@pytest.mark.parametrize("transform", [tf.grad, tf.jacobian, tf.hessian], ids=lambda f: f.__name__)
def test_integers_have_no_derivative_and_the_error_says_whose(transform: Any) -> None:
    with pytest.raises(DTypeError, match="only floating") as caught:
        transform(lambda x: x * 2)(3)
    assert caught.value.op == transform.__name__


def test_vjp_and_jvp_take_and_give_trees() -> None:
    def f(p: Any, x: Any) -> Any:
        return {"y": p["w"] * x, "z": (x * x,)}

    p, x = {"w": tf.asarray([1.0, 2.0])}, tf.asarray([3.0, 4.0])
    outputs, pull = tf.vjp(f, p, x)
    one = tf.ones_like(x)
    of_p, of_x = pull({"y": one, "z": (one,)})
    assert outputs["y"].tolist() == [3.0, 8.0]
    assert (of_p["w"].tolist(), of_x.tolist()) == ([3.0, 4.0], [7.0, 10.0])
    _, moved = tf.jvp(f, (p, x), ({"w": one}, one))
    assert (moved["y"].tolist(), moved["z"][0].tolist()) == ([4.0, 6.0], [6.0, 8.0])


# ---- tapes


@both
def test_a_tape_gives_jacobians_by_several_sources(run: Any) -> None:
    v = tf.Variable([1.0, 2.0])
    unused = tf.Variable(1.0)

    def f(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x * v * v
        return tape.jacobian(y, {"x": x, "v": v, "no": unused}, unconnected_gradients="zero")

    found = run(f)(tf.asarray([3.0, 4.0]))
    assert found["x"].tolist() == [[1.0, 0.0], [0.0, 4.0]]
    assert found["v"].tolist() == [[6.0, 0.0], [0.0, 16.0]]
    assert found["no"].tolist() == [0.0, 0.0]


def test_a_jacobian_by_what_is_unconnected_is_none_unless_zeros_are_asked_for() -> None:
    x, other = tf.asarray([1.0, 2.0]), tf.asarray(1.0)
    with tf.GradientTape() as tape:
        tape.watch([x, other])
        y = x * x
    found = tape.jacobian(y, [x, other])
    assert found[1] is None
    assert found[0].tolist() == [[2.0, 0.0], [0.0, 4.0]]


@both
def test_a_batch_jacobian_is_that_of_each_row(run: Any) -> None:
    def f(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = network(LAYERS, x)
        return tape.batch_jacobian(y, x)

    one = tf.jacobian(lambda x: network(LAYERS, x))
    expected = np.stack([one(x).numpy() for x in X])
    np.testing.assert_allclose(run(f)(tf.asarray(X)).numpy(), expected, rtol=1e-12)


def test_a_batch_jacobian_needs_as_many_rows() -> None:
    x = tf.asarray(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x[:2] * 2.0
    with pytest.raises(ShapeError, match="row"):
        tape.batch_jacobian(y, x)


def test_a_tape_that_stopped_does_not_see_what_happens_meanwhile() -> None:
    x = tf.asarray(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * x
        with tape.stop_recording():
            factor = y * x
        z = y * factor
    assert tape.gradient(z, x).item() == 6.0 * 27.0
    with pytest.raises(StateError, match="does not record"), tape.stop_recording():
        pass


def test_a_tape_around_a_map_cannot_be_stopped_inside_it() -> None:
    def f(x: Any) -> Any:
        with tape.stop_recording():
            return x * x

    with tf.GradientTape() as tape, pytest.raises(StateError, match="vmap"):
        tf.vmap(f)(X)


def test_a_tape_that_was_reset_knows_what_comes_after() -> None:
    x, v = tf.asarray(3.0), tf.Variable(2.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * v
        assert tape.watched_variables() == (v,)
        tape.reset()
        assert tape.watched_variables() == ()
        tape.watch(x)
        z = y + x * x
    assert tape.gradient(z, x).item() == 6.0


def test_a_used_up_tape_may_be_reset_and_used_again() -> None:
    x, tape = tf.asarray(3.0), tf.GradientTape()
    for _ in range(2):
        with tape:
            tape.watch(x)
            y = x * x
        assert tape.gradient(y, x).item() == 6.0
        tape.reset()


def test_an_open_tape_is_not_entered_again() -> None:
    with tf.GradientTape() as tape, pytest.raises(StateError, match="open already"), tape:
        pass


def test_an_output_gradient_that_is_none_is_one() -> None:
    x = tf.asarray(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        ys = [x * 2.0, x * 3.0]
    assert tape.gradient(ys, x, output_gradients=[None, tf.asarray(10.0)]).item() == 32.0


def test_a_choice_for_what_is_unconnected_that_is_none_is_refused() -> None:
    x = tf.asarray([3.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * 2.0
    for method in (tape.gradient, tape.jacobian, tape.batch_jacobian):
        with pytest.raises(ArgumentError, match="no such choice"):
            method(y, x, unconnected_gradients="nothing")
