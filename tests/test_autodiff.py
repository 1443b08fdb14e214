"""Derivatives: tapes, functional transforms, edges where formulas divide by zero."""

from __future__ import annotations

import math
import weakref
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import ArgumentError, DTypeError, ShapeError, StateError
from tapeflow.jit.trace import interpret, trace
from tapeflow.tensor import Spec
from tapeflow.testing import check_gradients

INF, NAN = math.inf, math.nan


def gradient_at(f: Any, *xs: Any) -> list[Any]:
    grads = tf.grad(lambda *a: tf.sum(f(*a)), tuple(range(len(xs))))(*map(tf.asarray, xs))
    return [g.numpy().tolist() for g in grads]


# ---- values that PyTorch and JAX agree on, where the plain formula would give NaN or is ambiguous

EDGES = [
    ("relu at 0", tf.relu, ([-1.0, 0.0, 2.0],), [[0, 0, 1]]),
    ("relu6 at its bounds", tf.relu6, ([0.0, 3.0, 6.0],), [[0, 1, 0]]),
    ("abs at 0", tf.abs, ([-2.0, 0.0, 3.0],), [[-1, 0, 1]]),
    ("sign", lambda x: tf.sign(x) * x, ([-2.0, 0.0, 3.0],), [[-1, 0, 1]]),
    ("maximum at a tie", tf.maximum, ([1.0, 2.0], [1.0, 0.0]), [[0.5, 1], [0.5, 0]]),
    ("minimum at a tie", tf.minimum, ([1.0, 2.0], [1.0, 0.0]), [[0.5, 0], [0.5, 1]]),
    ("max at a tie", tf.max, ([3.0, 1.0, 3.0],), [[0.5, 0, 0.5]]),
    ("min at a tie", tf.min, ([1.0, 1.0, 3.0],), [[0.5, 0.5, 0]]),
    (
        "clip at its bounds",
        lambda x: tf.clip(x, -1.0, 1.0),
        ([-1.0, 0.0, 1.0, 2.0],),
        [[1, 1, 1, 0]],
    ),
    ("0 to the power 2", lambda x: x**2, ([0.0],), [[0]]),
    ("0 to the power 0", lambda x, y: tf.pow(x, y), ([0.0], [0.0]), [[0], [0]]),
    ("0 to the power 3", lambda x, y: tf.pow(x, y), ([0.0], [3.0]), [[0], [0]]),
    ("0 to the power 1", lambda x, y: tf.pow(x, y), ([0.0], [1.0]), [[1], [0]]),
    ("sqrt at 0", tf.sqrt, ([0.0],), [[INF]]),
    ("hypot at the origin", tf.hypot, ([0.0], [0.0]), [[0], [0]]),
    ("std of equal numbers", tf.std, ([2.0, 2.0],), [[0, 0]]),
    ("global_norm of zeros", lambda x: tf.global_norm([x]), ([0.0, 0.0],), [[0, 0]]),
    ("clip_by_norm of zeros", lambda x: tf.clip_by_norm(x, 1.0), ([0.0, 0.0],), [[1, 1]]),
    ("l2_normalize of zeros", lambda x: tf.l2_normalize(x) * 1e-6, ([0.0],), [[1]]),
    (
        "where hides a NaN",
        lambda x: tf.where(x > 0, tf.sqrt(tf.where(x > 0, x, 1.0)), 0.0),
        ([0.0, 4.0],),
        [[0, 0.25]],
    ),
    ("where picks before inf", lambda x: tf.where(x > 0, 1 / x, 0.0) * 1.0, ([2.0],), [[-0.25]]),
    ("prod with one 0", tf.prod, ([0.0, 2.0, 3.0],), [[6, 0, 0]]),
    ("prod with two 0", tf.prod, ([0.0, 2.0, 0.0],), [[0, 0, 0]]),
    ("softplus far out", tf.softplus, ([-800.0, 0.0, 800.0],), [[0, 0.5, 1]]),
    ("sigmoid far out", tf.sigmoid, ([-800.0, 800.0],), [[0, 0]]),
    ("log_sigmoid far out", tf.log_sigmoid, ([-800.0, 800.0],), [[1, 0]]),
    ("logsumexp with -inf", tf.logsumexp, ([-INF, 0.0],), [[0, 1]]),
    ("logsumexp of huge numbers", tf.logsumexp, ([1000.0, 0.0],), [[1, 0]]),
    ("elu at 0", tf.elu, ([0.0, -800.0],), [[1, 0]]),
    (
        "cross entropy far out",
        lambda x: tf.sparse_softmax_cross_entropy([0], x),
        ([[-1000.0, 1000.0]],),
        [[[-1, 1]]],
    ),
    (
        "sigmoid cross entropy far out",
        lambda x: tf.sigmoid_cross_entropy([1.0, 0.0], x),
        ([-1000.0, 1000.0],),
        [[-1, 1]],
    ),
    ("take of one element twice", lambda x: x[[0, 0, 1]], ([1.0, 2.0, 3.0],), [[2, 1, 0]]),
]


@pytest.mark.parametrize(("f", "xs", "expected"), [e[1:] for e in EDGES], ids=[e[0] for e in EDGES])
def test_the_gradient_at_the_edge(f: Any, xs: Any, expected: Any) -> None:
    np.testing.assert_allclose(gradient_at(f, *xs)[0], expected[0], rtol=1e-6)
    for got, wanted in zip(gradient_at(f, *xs), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


STABLE = [
    (tf.softmax, [1000.0, 1000.0], [0.5, 0.5]),
    (tf.softmax, [-INF, 0.0], [0.0, 1.0]),
    (tf.log_softmax, [1000.0, 0.0], [0.0, -1000.0]),
    (tf.logsumexp, [1000.0, 1000.0], 1000.0 + math.log(2)),
    (tf.logsumexp, [-INF, -INF], -INF),
    (tf.logsumexp, [INF, 0.0], INF),
    (tf.softplus, [-1000.0, 1000.0], [0.0, 1000.0]),
    (tf.log_sigmoid, [-1000.0, 1000.0], [-1000.0, 0.0]),
    (tf.sigmoid, [-1000.0, 1000.0], [0.0, 1.0]),
    (tf.silu, [-1000.0, 1000.0], [0.0, 1000.0]),
    (lambda x: tf.sparse_softmax_cross_entropy([0, 1], [x, x]), [1000.0, -1000.0], [0.0, 2000.0]),
    (lambda x: tf.sigmoid_cross_entropy([0.0, 0.0], x), [-1000.0, 1000.0], [0.0, 1000.0]),
    (tf.max, [1.0, NAN], NAN),
    (lambda x: tf.maximum(x, 0.0), [NAN, -1.0], [NAN, 0.0]),
    (tf.relu, [NAN, -1.0], [NAN, 0.0]),
]


@pytest.mark.parametrize(("f", "x", "expected"), STABLE)
def test_extreme_inputs_give_the_limit(f: Any, x: Any, expected: Any) -> None:
    np.testing.assert_allclose(f(tf.asarray(x)).numpy(), expected, rtol=1e-6, atol=1e-30)


# ---- tapes


def test_a_tape_gives_the_gradient_of_what_was_watched() -> None:
    x = tf.asarray([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.sum(x * x * x)
    assert tape.gradient(y, x).tolist() == [3.0, 12.0]


def test_an_unwatched_tensor_has_no_gradient() -> None:
    x = tf.asarray(2.0)
    with tf.GradientTape(persistent=True) as tape:
        y = x * x
    assert tape.gradient(y, x) is None
    assert float(tape.gradient(y, x, unconnected_gradients="zero")) == 0.0


def test_variables_are_watched_when_read_and_trainable() -> None:
    v, fixed = tf.Variable(3.0), tf.Variable(2.0, trainable=False)
    with tf.GradientTape() as tape:
        y = v * v * fixed
    assert [None if g is None else float(g) for g in tape.gradient(y, [v, fixed])] == [12.0, None]


def test_every_read_of_a_variable_counts() -> None:
    v = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = v.value * v.value + v
    assert float(tape.gradient(y, v)) == 7.0


def test_watching_a_variable_by_hand_counts_it_once() -> None:
    v = tf.Variable(3.0, trainable=False)
    with tf.GradientTape() as tape:
        tape.watch(v)
        tape.watch(v)
        y = 2.0 * v
    assert float(tape.gradient(y, v)) == 2.0
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        y = v * v
    assert tape.gradient(y, v) is None


def test_a_tape_that_is_not_persistent_is_used_once() -> None:
    x = tf.asarray(1.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * 2.0
    tape.gradient(y, x)
    with pytest.raises(StateError, match="persistent"):
        tape.gradient(y, x)


def test_a_persistent_tape_is_used_again() -> None:
    x = tf.asarray(3.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        z = y * y
    assert [float(tape.gradient(t, x)) for t in (y, z)] == [6.0, 108.0]


def test_an_intermediate_tensor_can_be_a_source_beside_the_input() -> None:
    x = tf.asarray(3.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * x
        z = y * y
    assert [float(g) for g in tape.gradient(z, [x, y])] == [108.0, 18.0]


def test_nested_tapes_give_any_order() -> None:
    x = tf.asarray(2.0, dtype="float64")
    with tf.GradientTape() as third:
        third.watch(x)
        with tf.GradientTape() as second:
            second.watch(x)
            with tf.GradientTape() as first:
                first.watch(x)
                y = x**5.0
            d = first.gradient(y, x)
        dd = second.gradient(d, x)
    assert float(third.gradient(dd, x)) == pytest.approx(60 * 4.0)


def test_targets_and_output_gradients_are_trees() -> None:
    x = tf.asarray([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        targets = {"a": x * 2.0, "b": [x * 3.0]}
    weights = {"a": [1.0, 0.0], "b": [tf.asarray([0.0, 1.0])]}
    weights["a"] = tf.asarray(weights["a"])
    assert tape.gradient(targets, x, output_gradients=weights).tolist() == [2.0, 3.0]


def test_a_jacobian_has_the_axes_of_target_and_source() -> None:
    x = tf.asarray([1.0, 2.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.stack([x[0] * x[1], x[2] * x[2]])
    np.testing.assert_allclose(tape.jacobian(y, x).numpy(), [[2, 1, 0], [0, 0, 6]])


@pytest.mark.parametrize(
    "call",
    [
        lambda i: tf.GradientTape().watch(i),
        lambda i: tf.grad(lambda x: tf.sum(x))(i),
        lambda i: tf.GradientTape().gradient(i, tf.asarray(1.0)),
        lambda i: tf.GradientTape().gradient(tf.asarray(1.0), i),
    ],
    ids=["watch", "grad", "target", "source"],
)
def test_the_gradient_of_an_integer_is_refused(call: Any) -> None:
    with pytest.raises(DTypeError, match="only floating tensors have gradients") as caught:
        call(tf.asarray([1, 2]))
    assert "test_autodiff.py" in caught.value.at


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: tf.grad(lambda x: x)(tf.ones(2)), ShapeError),
        (lambda: tf.grad(lambda x: x, argnums=1)(1.0), ArgumentError),
        (lambda: tf.GradientTape().watch([1.0, "x"]), DTypeError),
        (lambda: tf.GradientTape().gradient(tf.asarray(1.0), [1.0]), DTypeError),
        (
            lambda: tf.GradientTape().gradient(
                tf.asarray(1.0), tf.asarray(1.0), unconnected_gradients="no"
            ),
            ArgumentError,
        ),
        (
            lambda: tf.GradientTape().gradient(tf.ones(2), tf.ones(2), output_gradients=tf.ones(3)),
            ShapeError,
        ),
        (lambda: tf.jvp(tf.exp, [tf.ones(2)], [tf.ones(3)]), ShapeError),
    ],
    ids=["vector", "argnums", "watch", "source", "unconnected", "output_gradients", "tangent"],
)
def test_what_has_no_derivative_is_refused(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"test_autodiff\.py"):
        call()


# ---- functional


def test_vjp_gives_outputs_and_a_pullback() -> None:
    (y, z), pull = tf.vjp(lambda a, b: (a * b, a + b), 2.0, 3.0)
    assert [float(y), float(z)] == [6.0, 5.0]
    assert [float(g) for g in pull((tf.asarray(1.0), tf.asarray(10.0)))] == [13.0, 12.0]


def test_jvp_pushes_tangents_through() -> None:
    y, t = tf.jvp(lambda x: x * x, [3.0], [2.0])
    assert [float(y), float(t)] == [9.0, 12.0]


def test_grad_of_trees_gives_trees() -> None:
    gradient = tf.grad(lambda p: p["w"] * p["w"] + 3.0 * p["b"][0])({"w": 2.0, "b": [1.0]})
    assert float(gradient["w"]) == 4.0 and float(gradient["b"][0]) == 3.0


def test_one_tensor_given_twice_counts_for_each_argument() -> None:
    x = tf.asarray(3.0)
    assert [float(g) for g in tf.grad(lambda a, b: a * a * b, (0, 1))(x, x)] == [18.0, 9.0]


def test_a_hessian_is_symmetric_and_right() -> None:
    x = tf.asarray([1.0, 2.0], dtype="float64")
    h = tf.hessian(lambda x: x[0] ** 3 * x[1] ** 2)(x).numpy()
    np.testing.assert_allclose(h, [[24.0, 12.0], [12.0, 2.0]])


def test_aux_is_passed_through() -> None:
    (value, aux), g = tf.value_and_grad(lambda x: (x * x, "note"), has_aux=True)(3.0)
    assert (float(value), aux, float(g)) == (9.0, "note", 6.0)


def test_stop_gradient_is_a_constant() -> None:
    assert float(tf.grad(lambda x: x * tf.stop_gradient(x))(3.0)) == 3.0


def test_no_grad_records_nothing() -> None:
    def f(x: Any) -> Any:
        with tf.no_grad():
            y = x * x
        return y * x

    assert float(tf.grad(f)(2.0)) == 4.0


def test_a_custom_gradient_takes_the_place_of_the_chain_rule() -> None:
    @tf.custom_gradient
    def clipped(x: Any) -> Any:
        return x * 1.0, lambda g: tf.clip(g, -1.0, 1.0)

    assert float(tf.grad(lambda x: 5.0 * clipped(x))(2.0)) == 1.0


def test_a_custom_gradient_has_the_dtype_of_its_input() -> None:
    @tf.custom_gradient
    def wide(x: Any) -> Any:
        return x * 1.0, lambda g: g * np.ones(3)

    x = tf.ones(3)
    assert tf.grad(lambda x: tf.sum(wide(x)))(x).dtype == tf.float32
    assert tf.jvp(wide, (x,), (x,))[1].dtype == tf.float32


@pytest.mark.parametrize("returned", [1.0, (1.0, 2.0), (1.0, abs, abs)])
def test_a_custom_gradient_without_a_pull_is_refused(returned: Any) -> None:
    with pytest.raises(tf.errors.ArgumentError, match=r"custom_gradient: .*(a pair|a function)"):
        tf.custom_gradient(lambda x: returned)(1.0)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (lambda size, batched, x: x, "a rule gives a pair"),
        (lambda size, batched, x: (x[:1], True), "there are 2 examples"),
        (lambda size, batched, x: (tf.sum(x), True), "there are 2 examples"),
    ],
)
def test_a_rule_that_does_not_fit_the_examples_is_refused(rule: Any, why: str) -> None:
    f = tf.custom_gradient(lambda x: (x * 1.0, lambda g: g))
    f.defbatch(rule)
    with pytest.raises(ValueError, match=f"defbatch: {why}"):
        tf.vmap(f)(tf.ones((2, 3)))


def test_a_function_without_aux_is_refused_where_it_is_asked_for() -> None:
    with pytest.raises(tf.errors.ArgumentError, match="with has_aux a function gives a pair"):
        tf.grad(tf.sum, has_aux=True)(tf.ones(2))


def test_forward_over_reverse_and_reverse_over_forward_agree() -> None:
    def f(x: Any) -> Any:
        return tf.sum(tf.sin(x) * tf.exp(x))

    x, t = np.array([0.3, -0.7]), np.array([1.0, 2.0])
    forward = tf.jvp(tf.grad(f), [x], [t])[1]
    reverse = tf.grad(lambda x: tf.jvp(f, [x], [t])[1])(x)
    np.testing.assert_allclose(forward.numpy(), reverse.numpy(), rtol=1e-12)


def test_a_traced_gradient_is_the_eager_one() -> None:
    gradient = tf.grad(lambda x: tf.sum(tf.softmax(x) * tf.log_softmax(x)))
    x = np.random.default_rng(0).normal(size=(2, 3))
    graph = trace(gradient, Spec((2, 3), x.dtype), name="gradient")
    np.testing.assert_allclose(interpret(graph, x)[0], gradient(x).numpy(), rtol=1e-12)


# ---- x[i] = v


def updated(x: Any) -> Any:
    y = x * 2.0
    y[0] = y[1] * y[2]
    y[1:] = y[:2] + 1.0
    return tf.sum(y * y)


def test_x_i_assigned_is_differentiable() -> None:
    check_gradients(updated, [[1.0, 2.0, 3.0]])


def test_an_assigned_input_has_the_gradient_of_what_it_was() -> None:
    def f(x: Any) -> Any:
        before = x * 3.0
        x[0] = 5.0
        return tf.sum(before) + tf.sum(x * x)

    assert tf.grad(f)(tf.asarray([1.0, 2.0])).tolist() == [3.0, 7.0]


def test_an_assigned_intermediate_is_a_source_as_it_is_now() -> None:
    x = tf.asarray([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x * 3.0
        y[0] = y[1] * 2.0
        z = tf.sum(y)
    gx, gy = tape.gradient(z, [x, y])
    assert gx.tolist() == [0.0, 9.0] and gy.tolist() == [1.0, 1.0]


def test_x_i_assigned_from_x_itself_is_differentiable() -> None:
    def f(x: Any) -> Any:
        y = x * 1.0
        y[:] = y
        y[0] = y[1]
        return tf.sum(y * y)

    assert tf.grad(f)(tf.asarray([1.0, 2.0])).tolist() == [0.0, 8.0]


def test_x_i_assigned_in_nested_tapes_has_second_derivatives() -> None:
    x = tf.asarray([1.0, 2.0, 3.0], dtype="float64")
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = updated(x)
        g = inner.gradient(y, x)
    second = outer.gradient(g, x, output_gradients=tf.asarray([1.0, 0.0, 0.0])).numpy()
    np.testing.assert_allclose(second, tf.hessian(updated)(x).numpy()[0])
    step = 1e-6
    ahead, behind = (tf.grad(updated)(np.array([1.0 + s * step, 2.0, 3.0])) for s in (1, -1))
    np.testing.assert_allclose(second, (ahead - behind).numpy() / (2 * step), rtol=1e-5)


def test_x_i_assigned_is_traced() -> None:
    x = np.array([1.0, 2.0, 3.0])
    for f in (updated, tf.grad(updated)):
        graph = trace(f, Spec((3,), x.dtype), name="updated")
        np.testing.assert_allclose(interpret(graph, x)[0], f(tf.asarray(x)).numpy())


def test_a_masked_assignment_is_differentiable_and_traced() -> None:
    def f(x: Any) -> Any:
        y = x * 1.0
        y[y < 0] = 0.0
        return tf.sum(y * y)

    x = np.array([-1.0, 2.0])
    assert tf.grad(f)(x).tolist() == [0.0, 4.0]
    assert interpret(trace(tf.grad(f), Spec((2,), x.dtype), name="f"), x)[0].tolist() == [0.0, 4.0]


# ---- check_gradients


def test_check_gradients_accepts_what_is_right() -> None:
    check_gradients(
        lambda x, n, y: tf.tanh(x) @ y * tf.cast(n, x.dtype),
        [np.ones((2, 3)) / 3, 2, np.eye(3)[:, :2]],
        3,
    )


@pytest.mark.parametrize("order", [1, 2])
def test_check_gradients_says_which_derivative_is_wrong(order: int) -> None:
    @tf.custom_gradient
    def wrong(x: Any) -> Any:  # the gradient is right, that of the gradient is not, for order 2
        factor = 2.0 * tf.stop_gradient(x) if order == 2 else 3.0 * x
        return x * x, lambda g: g * factor

    if order == 2:
        check_gradients(wrong, [[1.0, 2.0]], order=1, forward=False)
    with pytest.raises(AssertionError, match=r"(?s)reverse derivative.*by input 0.*expected.*got"):
        check_gradients(wrong, [[1.0, 2.0]], order=order, forward=False)


def test_check_gradients_needs_something_floating() -> None:
    with pytest.raises(ArgumentError, match="none is floating"):
        check_gradients(lambda n: n, [3])


def _overwritten(key: Any) -> Any:
    def f(x: Any) -> Any:
        y = x * 1.0
        y[key] = 3.0
        return tf.sum(y * y)

    return f


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("key", [slice(None), ...], ids=["slice", "dots"])
def test_no_gradient_flows_through_what_was_wholly_overwritten(key: Any, compiled: bool) -> None:
    gradient = tf.grad(_overwritten(key))
    found = (tf.jit(gradient) if compiled else gradient)(tf.asarray([1.0, 2.0]))
    assert found.tolist() == [0.0, 0.0]


def test_no_tangent_flows_through_what_was_wholly_overwritten() -> None:
    x = tf.asarray([1.0, 2.0])
    value, tangent = tf.jvp(_overwritten(slice(None)), (x,), (tf.ones_like(x),))
    assert (value.item(), tangent.item()) == (18.0, 0.0)


def test_a_tape_that_was_used_up_keeps_nothing_alive() -> None:
    x = tf.asarray([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        between = x.value * 2.0
        y = tf.sum(x * tf.Tensor(between))
    kept = weakref.ref(between)
    del between
    tape.gradient(y, x)
    del y
    assert kept() is None


def test_output_gradients_of_another_number_than_targets_are_refused() -> None:
    x = tf.asarray(1.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        targets = [x * 2.0, x * 3.0]
    with pytest.raises(ArgumentError, match="1 output gradients for 2 targets"):
        tape.gradient(targets, x, output_gradients=[1.0])


@pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
def test_what_is_target_and_source_has_the_derivative_1(run: Any) -> None:
    v, x = tf.Variable(3.0), tf.asarray([2.0, 5.0])

    def slopes(x: tf.Tensor) -> Any:
        with tf.GradientTape(persistent=True) as tape:
            y = v * 2.0
        return tape.gradient(v, v), tape.gradient([v, y], v), tape.gradient(x, x)

    one, summed, ones = run(slopes)(x)
    assert one.item() == 1 and summed.item() == 3 and ones.tolist() == [1, 1]


def test_the_jacobian_of_a_variable_by_itself_is_the_identity() -> None:
    v = tf.Variable([3.0, 4.0])
    assert tf.GradientTape().jacobian(v, v).tolist() == [[1, 0], [0, 1]]


def test_a_variable_as_target_does_not_depend_on_what_it_was_assigned_from() -> None:
    v, w = tf.Variable(3.0), tf.Variable(2.0)
    with tf.GradientTape() as tape:
        v.assign(w * w)
    assert tape.gradient(v, [v, w]) == [1, None]
