"""The short way of a call: it tells arguments apart as the long one does, and passes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.jit.arguments import Parameters, collect

leaves = st.sampled_from(
    [
        *(tf.ones(3), tf.zeros(3), tf.ones((3, 1)), tf.ones(3, dtype="float64"), tf.ones(())),
        *(1, 2, 1.0, 2.5, True, False, None, "a", "b"),
        *(np.ones(3, np.float32), np.ones((), np.float64), np.arange(3)),
    ]
)
trees = st.recursive(
    leaves,
    lambda part: st.one_of(
        st.lists(part, max_size=3),
        st.lists(part, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from("xyz"), part, max_size=3),
    ),
    max_leaves=6,
)
calls = st.lists(trees, max_size=3)


def f(a: Any = 0, b: Any = 0, c: Any = 0) -> Any:
    return a


def collected(given_: list[Any]) -> tuple[tuple[Any, ...], list[Any]]:
    key: list[Any] = []
    arrays: list[Any] = []
    assert collect(given_, key, arrays, "f")
    return tuple(key), arrays


@given(calls, calls)
def test_calls_have_one_short_key_if_and_only_if_they_have_one_program(
    first: list[Any], second: list[Any]
) -> None:
    long = [Parameters(f, ()).classify(args, {}).key for args in (first, second)]
    short = [collected(args)[0] for args in (first, second)]
    assert (short[0] == short[1]) == (long[0] == long[1])


@given(calls)
def test_the_short_way_passes_the_arrays_of_the_long_one(args: list[Any]) -> None:
    passed = Parameters(f, ()).classify(args, {}).passed
    arrays = collected(args)[1]
    assert [(a.dtype, a.tolist()) for a in arrays] == [(x.dtype, x.tolist()) for x in passed]


@pytest.mark.parametrize(
    "args,kwargs,by_position",
    [
        ((1,), {"c": 3, "b": 2}, (1, 2, 3)),
        ((), {"a": 1}, (1,)),
        ((1,), {"c": 3}, None),  # b keeps its default
        ((1,), {"a": 2}, None),  # an error to be raised by the long way
        ((1,), {"other": 2}, None),
    ],
)
def test_names_become_positions_where_nothing_is_left_out(
    args: tuple[Any, ...], kwargs: dict[str, Any], by_position: tuple[Any, ...] | None
) -> None:
    assert Parameters(f, ()).positional(args, kwargs) == by_position


@pytest.mark.parametrize("again", range(3))
def test_calls_mean_the_same_the_second_time(again: int) -> None:
    """Whichever way a call takes: numbers, arrays, trees and names, in changing order."""
    g = tf.jit(lambda x, y, z=1.0, *, w=2.0: x["a"] * y + z * w if y is not None else x["b"][0])
    x = {"b": [tf.ones(2)], "a": tf.asarray([1.0, 2.0])}
    for i in range(2 + again):
        assert g(x, float(i)).numpy().tolist() == [i + 2.0, 2.0 * i + 2.0]
        assert g(y=float(i), x=x).numpy().tolist() == [i + 2.0, 2.0 * i + 2.0]
        assert g(x, np.float32(i), z=3.0).numpy().tolist() == [i + 6.0, 2.0 * i + 6.0]
        assert g(x, i, 1.0, w=0.0).numpy().tolist() == [i, 2.0 * i]
        assert g(x, None).numpy().tolist() == [1.0, 1.0]
        assert g({**x, "a": np.array([0.0, 1.0], np.float32)}, 1.0).numpy().tolist() == [2.0, 3.0]


def test_a_traced_value_that_outlived_its_trace_is_an_error_in_a_call_too() -> None:
    kept: list[tf.Tensor] = []

    @tf.jit
    def g(x: tf.Tensor, scale: float) -> tf.Tensor:
        kept.append(x)
        return x * scale

    g(tf.ones(3), 1.0)
    h = tf.jit(lambda x: x + 1.0)
    h(tf.ones(3))
    with pytest.raises(tf.errors.TraceError, match="trace that has ended"):
        h(kept[0])
    with pytest.raises(tf.errors.TraceError, match="trace that has ended"):
        g(kept[0], 1.0)


def test_a_number_that_does_not_fit_is_an_error_the_second_time_too() -> None:
    g = tf.jit(lambda x, n: x + n)
    g(tf.ones(2), 3)
    with pytest.raises(tf.errors.DTypeError, match="does not fit"):
        g(tf.ones(2), 2**70)
