"""x[i] = v and derivatives: those of the program that makes a new value for each change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.jit.trace import interpret, trace
from tapeflow.tensor import Spec
from tapeflow.testing import check_gradients

Function = Callable[..., Any]
both = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])


def squared_then_changed(x: Any) -> Any:
    z = x * 2.0
    y = z * z
    z[0] = 1.0
    return tf.sum(y + z)


# ---- one change


@both
def test_what_was_computed_before_a_change_is_differentiated_where_it_was(compiled: bool) -> None:
    gradient = tf.grad(squared_then_changed)
    f = tf.jit(gradient) if compiled else gradient
    assert f(tf.asarray([3.0, 2.0])).tolist() == [24.0, 18.0]


@both
def test_an_output_that_its_own_derivative_needs_may_be_changed(compiled: bool) -> None:
    def f(x: Any) -> Any:
        y = tf.exp(x)  # its derivative is y
        total = tf.sum(y)
        y[0] = 0.0
        return total + tf.sum(y * y)

    x = np.array([0.5, 1.0])
    found = (tf.jit(tf.grad(f)) if compiled else tf.grad(f))(x).numpy()
    np.testing.assert_allclose(found, [np.exp(0.5), np.exp(1.0) + 2 * np.exp(2.0)], rtol=1e-12)


def test_a_change_after_the_tape_has_closed_changes_no_gradient() -> None:
    x = tf.asarray([3.0, 2.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = x * 2.0
        y = z * z * x
    x[1] = 7.0
    for value in (1.0, 5.0):  # the second is one more than the tape keeps
        z[0] = value
        assert tape.gradient(y, x).tolist() == [108.0, 48.0]


def test_a_change_while_the_tape_does_not_look_is_one_all_the_same() -> None:
    x = tf.asarray([3.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = x * 2.0
        y = z * z
        with tf.no_grad():
            z[0] = 1.0
        y = y + z  # no gradient flows to what was computed where nothing is recorded
    assert tape.gradient(y, x).tolist() == [24.0, 16.0]


def test_no_tangent_is_left_to_what_was_changed_unseen() -> None:
    def f(x: Any) -> Any:
        z = x * 2.0
        y = z * z
        with tf.no_grad():
            z[0] = 1.0
        return y + z

    x, t = tf.asarray([3.0, 2.0]), tf.ones(2)
    assert tf.jvp(f, [x], [t])[1].tolist() == [24.0, 16.0]


def test_a_closed_tape_keeps_nothing_of_tensors_that_it_has_not_seen() -> None:
    x = tf.asarray([1.0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
    other = tf.zeros(4)
    for _ in range(5):
        other[0] = 1.0
        x[0] = 2.0
    assert len(tape._changes) == 1
    assert tape.gradient(y, x).tolist() == [2.0]


def test_a_body_reads_what_its_closure_held_when_it_ran() -> None:
    def f(x: Any, pure: bool) -> Any:
        w = x * 2.0
        h, _ = tf.scan(lambda c, row: (c * w * row, c), w, tf.ones((3,), dtype=x.dtype))
        h = h + tf.cond(tf.sum(w) > 0.0, lambda v: v * w * w, lambda v: v, w)
        if pure:
            w = w * tf.asarray([0.0, 1.0], dtype=x.dtype) + tf.asarray([5.0, 0.0], dtype=x.dtype)
        else:
            w[0] = 5.0
        return tf.sum(h * w)

    x = np.array([3.0, 2.0])
    for derived in (tf.grad, tf.hessian):
        changed = tf.jit(derived(lambda x: f(x, pure=False)))(x)
        expected = derived(lambda x: f(x, pure=True))(x)
        np.testing.assert_allclose(changed.numpy(), expected.numpy(), rtol=1e-12)


# ---- sources


def test_a_watched_source_is_what_it_was_when_it_was_watched_last() -> None:
    found = []
    for first, second in itertools.product([False, True], repeat=2):
        x = tf.asarray([3.0, 2.0])
        with tf.GradientTape() as tape:
            if first:
                tape.watch(x)
            before = x * 3.0
            x[0] = 5.0
            if second:
                tape.watch(x)
            y = tf.sum(before) + tf.sum(x * x)
            x[1] = 1.0
        found.append(tape.gradient(y, x))
    assert found[0] is None
    assert [g.tolist() for g in found[1:]] == [[10.0, 4.0], [3.0, 7.0], [10.0, 4.0]]


def test_a_read_of_a_variable_that_is_changed_leads_to_what_it_read() -> None:
    v = tf.Variable([3.0, 2.0])
    with tf.GradientTape() as tape:
        w = v.value
        y = w * w
        w[0] = 1.0
        y = tf.sum(y + w)
    assert tape.gradient(y, v).tolist() == [6.0, 5.0]


# ---- many changes


@both
def test_a_thousand_changes_of_one_tensor_have_the_derivative_of_the_sums(compiled: bool) -> None:
    def f(x: Any) -> Any:
        z = x * 1.0
        total = tf.zeros((), dtype=x.dtype)
        for i in range(1000 if not compiled else 50):
            total = total + z[0] * z[0]
            z[0] = z[0] * 0.5 + x[i % 2]
        return total

    def slope(n: int) -> np.ndarray:
        z, dz, total = 3.0, np.array([1.0, 0.0]), np.zeros(2)
        for i in range(n):
            total += 2 * z * dz
            z, dz = z * 0.5 + (3.0, 2.0)[i % 2], dz * 0.5 + np.eye(2)[i % 2]
        return total

    gradient = tf.jit(tf.grad(f)) if compiled else tf.grad(f)
    found = gradient(np.array([3.0, 2.0])).numpy()
    np.testing.assert_allclose(found, slope(50 if compiled else 1000), rtol=1e-12)


# ---- what a caller changes is its own


def test_a_change_of_what_vjp_gave_leaves_its_pullback_alone() -> None:
    y, pull = tf.vjp(lambda x: x * x, tf.asarray([3.0]))
    y[0] = 0.0
    assert pull(tf.ones(1))[0].tolist() == [6.0]


def test_gradients_do_not_change_together() -> None:
    x, g = tf.asarray([1.0]), tf.asarray([2.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = x * 1.0
        y = z + x * 0.0
    gx, gz = tape.gradient(y, [x, z], output_gradients=g)
    gz[0] = 9.0
    assert (gx.tolist(), g.tolist()) == ([2.0], [2.0])


def test_a_custom_backward_pass_holds_what_it_was_given_and_owns_what_it_gets() -> None:
    @tf.custom_gradient
    def halved(x: Any) -> Any:
        def pull(g: Any) -> Any:
            g[0] = 0.0
            return g * x

        return x * x / 2.0, pull

    x, g = tf.asarray([3.0, 2.0]), tf.ones(2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = halved(x)
        x[1] = 50.0
    assert tape.gradient(y, x, output_gradients=g).tolist() == [0.0, 2.0]
    assert g.tolist() == [1.0, 1.0]


# ---- programs of any kind

KEYS: dict[str, Any] = {
    "first": 0,
    "last": slice(2, 3),
    "tail": slice(1, None),
    "all": ...,
    "some": np.array([2, 0]),
    "mask": np.array([True, False, True]),
}
UNARY: dict[str, Function] = {
    "sin": tf.sin,
    "exp": lambda x: tf.exp(-x * x),
    "half": lambda x: x * 0.5,
    "tanh": tf.tanh,
    "constant": lambda x: tf.zeros_like(x) + 0.7,
}
BINARY: dict[str, Function] = {
    "add": lambda x, y: x + y,
    "multiply": lambda x, y: x * y,
    "ratio": lambda x, y: x / (1.0 + y * y),
}
names = st.integers(0, 2)
steps = st.one_of(
    st.tuples(st.just("assign"), names, st.sampled_from([*KEYS]), names, st.sampled_from([*UNARY])),
    st.tuples(st.just("compute"), names, st.sampled_from([*BINARY]), names, names),
    st.tuples(st.just("rename"), names, names),
)
programs = st.lists(steps, min_size=2, max_size=8)


def changing(steps: list[Any]) -> Function:
    """The program with x[key] = v; a name may stand for the same object as another."""

    def f(x: Any) -> Any:
        held = [x, tf.sin(x), x * x]
        seen = x * 0.0
        for kind, i, *rest in steps:
            if kind == "assign":
                key, j, op = rest
                held[i][KEYS[key]] = UNARY[op](held[j])[KEYS[key]]
            elif kind == "compute":
                op, j, k = rest
                held[i] = BINARY[op](held[j], held[k])
            else:
                held[i] = held[rest[0]]
            seen = seen + tf.tanh(held[i] * held[0])
        return tf.sum(seen * held[1] + held[2])

    return f


def pure(steps: list[Any]) -> Function:
    """The same, where each change makes a new value for all names of the old one."""

    def f(x: Any) -> Any:
        held, boxes = [0, 1, 2], {0: x, 1: tf.sin(x), 2: x * x}
        seen = x * 0.0
        for kind, i, *rest in steps:
            if kind == "assign":
                key, j, op = rest
                mask = np.zeros(3, bool)
                mask[KEYS[key]] = True
                changed = UNARY[op](boxes[held[j]])
                boxes[held[i]] = tf.where(tf.asarray(mask), changed, boxes[held[i]])
            elif kind == "compute":
                op, j, k = rest
                held[i], value = len(boxes), BINARY[op](boxes[held[j]], boxes[held[k]])
                boxes[held[i]] = value
            else:
                held[i] = held[rest[0]]
            seen = seen + tf.tanh(boxes[held[i]] * boxes[held[0]])
        return tf.sum(seen * boxes[held[1]] + boxes[held[2]])

    return f


def slopes(f: Function) -> list[Function]:
    """Its value and derivatives: reverse, forward, reverse over reverse, forward over reverse."""
    along = np.array([0.3, -1.0, 0.6])

    def forward(x: Any) -> Any:
        return tf.jvp(f, [x], [along])[1]

    def mixed(x: Any) -> Any:
        return tf.jvp(tf.grad(f), [x], [along])[1]

    return [f, tf.grad(f), forward, tf.hessian(f), mixed]


X = np.array([0.4, -0.8, 1.1])


@settings(deadline=None, max_examples=40)
@given(steps=programs)
def test_any_program_has_the_derivatives_of_its_pure_form(steps: list[Any]) -> None:
    # a program may change its argument, so each gets one of its own
    for found, expected in zip(slopes(changing(steps)), slopes(pure(steps)), strict=True):
        np.testing.assert_allclose(
            found(tf.asarray(X)).numpy(), expected(tf.asarray(X)).numpy(), rtol=1e-9, atol=1e-9
        )
    check_gradients(lambda x: changing(steps)(x * 1.0), [X], order=2)


@settings(deadline=None, max_examples=25)
@given(steps=programs)
def test_any_traced_program_has_the_derivatives_of_its_pure_form(steps: list[Any]) -> None:
    for found, expected in zip(slopes(changing(steps)), slopes(pure(steps)), strict=True):
        graph = trace(found, Spec((3,), X.dtype), name="f")
        np.testing.assert_allclose(
            interpret(graph, X)[0], expected(tf.asarray(X)).numpy(), rtol=1e-9, atol=1e-9
        )


@settings(deadline=None, max_examples=3)
@given(steps=programs)
def test_any_compiled_program_has_the_derivatives_of_its_pure_form(steps: list[Any]) -> None:
    compiled = tf.jit(lambda x: [f(x * 1.0) for f in slopes(changing(steps))[1::2]])
    for found, f in zip(compiled(X), slopes(pure(steps))[1::2], strict=True):
        np.testing.assert_allclose(found.numpy(), f(tf.asarray(X)).numpy(), rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(steps=programs)
def test_a_persistent_tape_gives_any_program_the_jacobian_of_its_pure_form(
    steps: list[Any],
) -> None:
    x = tf.asarray(X)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = changing(steps)(x)
    expected = tf.grad(pure(steps))(tf.asarray(X)).numpy()
    x[...] = 0.0
    for found in (tape.gradient(y, x), tape.jacobian(y, x), tape.gradient(y, x)):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)
