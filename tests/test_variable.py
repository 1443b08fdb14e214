"""Variables: what they hold, keep and refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import scope
from tapeflow.errors import DTypeError, ShapeError, StateError, TraceError
from tapeflow.jit.trace import trace
from tapeflow.tensor import Spec


def test_a_variable_keeps_name_shape_and_dtype() -> None:
    with scope.fresh(), tf.name_scope("layer"):
        v = tf.Variable([[1.0, 2.0]], name="kernel")
    assert (v.name, v.shape, v.ndim, v.size, v.dtype) == ("layer/kernel", (1, 2), 2, 2, tf.float32)


def test_names_given_twice_are_numbered() -> None:
    with scope.fresh(), tf.name_scope("numbered"):
        names = [tf.Variable(0.0, name="w").name for _ in range(3)]
    assert [n.rsplit("/", 1)[1] for n in names] == ["w", "w_1", "w_2"]


@pytest.mark.parametrize("asked", [["q", "q", "q_1"], ["q", "q_1", "q"], ["q_1", "q", "q", "q_1"]])
def test_a_numbered_name_is_never_one_that_was_asked_for(asked: list[str]) -> None:
    with scope.fresh():
        names = [scope.unique(name) for name in asked]
    assert len(set(names)) == len(asked)


def test_a_scope_that_is_closed_leaves_no_names_behind() -> None:
    with scope.fresh():
        for _ in range(3):
            with tf.name_scope("step"), tf.name_scope("loss"):
                scope.unique("w")
        assert list(scope._names.used) == ["step"]


def test_the_initial_value_may_be_a_function_and_be_cast() -> None:
    v = tf.Variable(lambda: tf.ones(2), dtype="float64")
    assert v.dtype == tf.float64 and v.value.tolist() == [1.0, 1.0]


def test_assign_replaces_and_gives_the_variable() -> None:
    v = tf.Variable([1.0, 2.0])
    assert v.assign([3.0, 4.0]) is v
    assert v.assign_add([1.0, 1.0]).assign_sub(0.5).value.tolist() == [3.5, 4.5]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int32"])
def test_numbers_take_the_dtype_of_the_variable(dtype: str) -> None:
    v = tf.Variable(tf.ones(2, dtype=dtype))
    v.assign_add(1)
    v.assign_add([1, 1])
    assert v.dtype.name == dtype and v.value.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.zeros(3, "f4"), ShapeError),
        (np.zeros(2, "f8"), DTypeError),
        (np.zeros(2, "i4"), DTypeError),
        (np.zeros((2, 1), "f4"), ShapeError),
        ("text", DTypeError),
    ],
)
def test_assign_refuses_what_does_not_fit(value: Any, error: type[Exception]) -> None:
    v = tf.Variable([1.0, 2.0], name="kept")
    with pytest.raises(error) as caught:
        v.assign(value)
    assert "test_variable.py" in str(caught.value)
    assert v.value.tolist() == [1.0, 2.0]


def test_a_variable_needs_a_value() -> None:
    with pytest.raises(StateError, match="always has a value"):
        tf.Variable(None)


def test_a_traced_value_does_not_initialise_a_variable() -> None:
    with pytest.raises(TraceError, match="outlives its trace"):
        trace(lambda x: tf.Variable(x).value, Spec((2,), tf.float32), name="f")


def test_a_variable_is_used_like_its_value() -> None:
    v = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    m = np.array([[1.0, 2.0], [3.0, 4.0]], "f4")
    for got, expected in [
        (v + 1.0, m + 1),
        (2.0 - v, 2 - m),
        (v @ v, m @ m),
        (v[0], m[0]),
        (-v, -m),
        (v**2, m**2),
        (v.T, m.T),
        (v > 2.0, m > 2),
        (abs(v), abs(m)),
        (v.sum(), m.sum()),
        (v.mean(axis=0), m.mean(0)),
        (tf.exp(v), np.exp(m)),
        (tf.concat([v, v]), np.concatenate([m, m])),
        (v.reshape((4,)), m.reshape(4)),
        (np.asarray(v), m),
        (v == 1.0, m == 1),
        (v.astype("int32"), m.astype("i4")),
    ]:
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-6)


def test_variables_are_told_apart_by_identity() -> None:
    a, b = tf.Variable(1.0), tf.Variable(1.0)
    assert len({a: 1, b: 2}) == 2


def test_numbers_of_a_variable() -> None:
    v = tf.Variable(2.0)
    assert (float(v), int(v), bool(v)) == (2.0, 2, True)
    assert len(tf.Variable([1, 2, 3])) == 3


def test_numpy_gives_a_copy() -> None:
    v = tf.Variable([1.0])
    v.numpy()[0] = 5.0
    assert v.value.tolist() == [1.0]


def test_rebinding_its_value_leaves_the_variable_alone() -> None:
    v = tf.Variable([1.0, 2.0])
    x = v.value
    x[0] = 5.0
    assert (x.tolist(), v.value.tolist()) == ([5.0, 2.0], [1.0, 2.0])


def test_v_i_assigned_assigns() -> None:
    v = tf.Variable([1.0, 2.0])
    v[0] = 5.0
    v[1:] += 1.0
    assert v.value.tolist() == [5.0, 3.0]


def test_v_i_assigned_in_a_trace_is_a_write() -> None:
    v = tf.Variable([1.0, 2.0])

    @tf.jit
    def f(x: Any) -> Any:
        v[0] = x
        t = v.value
        t[1] = 7.0
        return v.value + t

    assert f(tf.asarray(4.0)).tolist() == [8.0, 9.0]
    assert v.value.tolist() == [4.0, 2.0]


def test_what_was_assigned_stays_when_the_tensor_given_is_rebound() -> None:
    given = tf.asarray([1.0, 2.0])
    made, assigned = tf.Variable(given), tf.Variable([0.0, 0.0])
    assigned.assign(given)
    given[0] = 9.0
    assert made.numpy().tolist() == assigned.numpy().tolist() == [1.0, 2.0]


def test_what_was_assigned_in_a_trace_stays_when_the_tensor_given_is_rebound() -> None:
    v = tf.Variable([0.0, 0.0])

    @tf.jit
    def step(x: Any) -> Any:
        y = x * 2.0
        v.assign(y)
        y[0] = 9.0
        return y

    assert step(tf.asarray([1.0, 2.0])).tolist() == [9.0, 4.0]
    assert v.numpy().tolist() == [2.0, 4.0]


def test_a_traced_number_is_assigned_like_a_number() -> None:
    v = tf.Variable(0.0, dtype="float64")
    tf.jit(lambda s: v.assign(s).value)(2.5)
    assert v.numpy().item() == 2.5


def test_an_array_on_the_left_leaves_the_operation_to_the_variable() -> None:
    product = np.array([1.0, 2.0], np.float32) * tf.Variable([3.0, 4.0])
    assert isinstance(product, tf.Tensor) and product.tolist() == [3.0, 8.0]
