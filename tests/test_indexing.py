"""x[key] and x[key] = v mean what they mean to NumPy, whatever the key; so do their derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tapeflow as tf
from tapeflow.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError, TraceError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
quick = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def keys(draw: Any, shape: tuple[int, ...]) -> Any:
    """Any mix of integers, slices, None, `...`, arrays of integers and masks that fits `shape`."""
    common = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=1, max_side=3))
    items: list[Any] = []
    rest = list(shape)
    count = draw(st.sampled_from([None, *range(1, 4)]))  # of the true elements of all masks
    while rest and draw(st.integers(0, 5)):
        ndim = draw(st.integers(1, len(rest)))
        can_mask = count is not None and math.prod(rest[:ndim]) >= count
        kinds = ["slice", *["int", "array"] * (rest[0] > 0), *["mask"] * can_mask]
        kind = draw(st.sampled_from(kinds))
        if kind == "mask":
            items.append(draw(_mask(tuple(rest[:ndim]), count)))
        else:
            ndim = 1
            common = common if count is None else draw(st.sampled_from([(count,), (1,), ()]))
            items.append(draw(_item(kind, rest[0], common)))
        del rest[:ndim]
    if rest and draw(st.booleans()):
        items.append(...)
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items) if len(items) != 1 or draw(st.booleans()) else items[0]


def _mask(shape: tuple[int, ...], count: int) -> Any:
    """A mask with `count` true elements."""
    size = math.prod(shape)
    return st.permutations([i < count for i in range(size)]).map(
        lambda flat: np.array(flat).reshape(shape)
    )


def _item(kind: str, n: int, common: tuple[int, ...]) -> Any:
    if kind == "slice":
        bound = st.none() | st.integers(-n - 1, n + 1)
        return st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -2]))
    if kind == "int":
        return st.integers(-n, n - 1)
    shape = st.sampled_from([common, common[1:], tuple(1 for _ in common)])
    return hnp.arrays(np.int64, shape, elements=st.integers(-n, n - 1))


@st.composite
def reads(draw: Any) -> tuple[np.ndarray, Any]:
    shape = draw(SHAPES)
    return np.arange(1.0, math.prod(shape) + 1).reshape(shape), draw(keys(shape))


def as_tensors(key: Any) -> Any:
    """The key with tensors for its arrays of integers: masks of a trace must be known."""
    if isinstance(key, tuple):
        return tuple(map(as_tensors, key))
    return tf.asarray(key) if isinstance(key, np.ndarray) and key.dtype == np.int64 else key


@quick
@given(reads())
def test_any_key_takes_what_numpy_takes(given: tuple[np.ndarray, Any]) -> None:
    a, key = given
    found = tf.asarray(a)[as_tensors(key)]
    np.testing.assert_array_equal(found.numpy(), a[key], strict=True)


@quick
@given(reads())
def test_any_key_takes_the_same_recorded_with_its_gradient(given: tuple[np.ndarray, Any]) -> None:
    a, key = given
    y, pull = tf.vjp(lambda x: x[as_tensors(key)], a)
    np.testing.assert_array_equal(y.numpy(), a[key], strict=True)
    g = np.arange(2.0, y.size + 2).reshape(y.shape)
    expected = np.zeros_like(a)
    np.add.at(expected, key, g)
    np.testing.assert_array_equal(pull(g)[0].numpy(), expected)


def value_for(draw: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that broadcast to `shape`."""
    dropped = draw(st.integers(0, len(shape)))
    kept = tuple(draw(st.sampled_from([n, 1])) for n in shape[dropped:])
    return np.arange(-9.0, math.prod(kept) - 9).reshape(kept)


@st.composite
def writes(draw: Any) -> tuple[np.ndarray, Any, np.ndarray]:
    a, key = draw(reads())
    return a, key, value_for(draw, a[key].shape)


@quick
@given(writes())
def test_any_key_is_assigned_to_as_numpy_does(given: tuple[np.ndarray, Any, np.ndarray]) -> None:
    a, key, value = given
    x = tf.asarray(a)
    x[as_tensors(key)] = value
    a[key] = value
    np.testing.assert_array_equal(x.numpy(), a)


@quick
@given(writes())
def test_any_assignment_is_the_same_recorded_and_has_its_gradients(
    given: tuple[np.ndarray, Any, np.ndarray],
) -> None:
    a, key, value = given

    def assigned(x: Any, v: Any) -> Any:
        y = x * 1.0
        y[as_tensors(key)] = v
        return y

    y, pull = tf.vjp(assigned, a, value)
    numbers = np.full(a.shape, -1)  # where it is not -1: which element of the value is there
    tags = np.arange(value.size).reshape(value.shape)
    expected = a.copy()
    expected[key], numbers[key] = value, tags
    np.testing.assert_array_equal(y.numpy(), expected)
    g = np.arange(2.0, a.size + 2).reshape(a.shape)
    to_x, to_v = pull(g)
    np.testing.assert_array_equal(to_x.numpy(), np.where(numbers < 0, g, 0.0))
    received = np.zeros(value.size)
    np.add.at(received, numbers[numbers >= 0], g[numbers >= 0])
    np.testing.assert_array_equal(to_v.numpy(), received.reshape(value.shape))


@settings(quick, max_examples=15)
@given(writes())
def test_any_assignment_is_the_same_compiled(given: tuple[np.ndarray, Any, np.ndarray]) -> None:
    a, key, value = given

    @tf.jit
    def assigned(x: Any, v: Any) -> Any:
        x[as_tensors(key)] = v
        return x, x[as_tensors(key)]

    y, taken = assigned(tf.asarray(a), tf.asarray(value))
    a[key] = value
    np.testing.assert_array_equal(y.numpy(), a)
    np.testing.assert_array_equal(taken.numpy(), a[key])


# ---- what the keys above do not show


def test_a_repeated_index_keeps_the_last_value_and_its_gradient() -> None:
    def f(v: Any) -> Any:
        x = tf.zeros(3)
        x[tf.asarray([2, 0, 2])] = v
        return tf.sum(x * tf.asarray([1.0, 2.0, 3.0]))

    value, gradient = tf.value_and_grad(f)(tf.asarray([5.0, 6.0, 7.0]))
    assert (value.item(), gradient.tolist()) == (27.0, [0.0, 1.0, 3.0])


def test_adding_in_place_at_repeated_indices_adds_once_as_in_numpy() -> None:
    x, a = tf.zeros(3), np.zeros(3)
    x[[1, 1, 2]] += 1.0
    a[[1, 1, 2]] += 1.0
    np.testing.assert_array_equal(x.numpy(), a)
    assert tf.scatter_add(tf.zeros(3), [1, 1, 2], tf.ones(3)).tolist() == [0.0, 2.0, 1.0]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    "key", [True, False, np.True_, (0, True), (slice(None), False), (..., True, None)]
)
def test_a_mask_without_axes_selects_from_a_new_one(key: Any, recorded: bool) -> None:
    a = np.arange(6.0).reshape(2, 3)
    found = tf.vjp(lambda x: x[key], a)[0] if recorded else tf.asarray(a)[key]
    np.testing.assert_array_equal(found.numpy(), a[key], strict=True)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("mask", [np.ones(3, bool), np.ones((2, 2), bool), np.ones(1, bool)])
def test_a_mask_of_another_size_is_refused(mask: Any, recorded: bool) -> None:
    def assign(x: Any) -> Any:
        x[mask] = 0.0
        return x

    for use in (lambda x: x[mask], lambda x: x[mask, ...], assign):
        with pytest.raises(OutOfRangeError, match="mask"):
            tf.vjp(use, tf.ones((2, 3))) if recorded else use(tf.ones((2, 3)))


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    ("key", "error"),
    [
        (slice(None, None, 0), ArgumentError),
        (slice(1.5, None), DTypeError),
        ([[0], [1, 2]], DTypeError),
    ],
)
def test_what_is_no_key_is_refused(key: Any, error: type[Exception], recorded: bool) -> None:
    def assign(x: Any) -> Any:
        x[key] = 0.0
        return x

    for op, use in {"getitem": lambda x: x[key], "setitem": assign}.items():
        with pytest.raises(error, match=op):
            tf.vjp(use, tf.ones((2, 3))) if recorded else use(tf.ones((2, 3)))


def test_several_masks_and_arrays_meet() -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    rows, columns = np.array([True, True]), np.array([False, True, False, True])
    x = tf.asarray(a)
    np.testing.assert_array_equal(x[rows, :, columns].numpy(), a[rows, :, columns])
    np.testing.assert_array_equal(x[rows, [0, 2], 1].numpy(), a[rows, [0, 2], 1])
    with pytest.raises(ShapeError, match="getitem"):
        x[rows, [0, 1, 2]]


def test_a_traced_mask_is_refused() -> None:
    with pytest.raises(TraceError, match="boolean mask"):
        tf.jit(lambda x: x[x > 0])(tf.ones(3))


def test_a_traced_mask_can_be_assigned_to() -> None:
    @tf.jit
    def clipped(x: Any) -> Any:
        x[x > 2.0] = 2.0
        return x

    assert clipped(tf.asarray([1.0, 5.0])).tolist() == [1.0, 2.0]


def test_taking_a_slice_shares_memory_that_no_assignment_changes() -> None:
    x = tf.asarray([[1.0, 2.0], [3.0, 4.0]])
    row = x[0, :]
    x[0, 0] = 9.0
    row[1] = 8.0
    assert (x.tolist(), row.tolist()) == ([[9.0, 2.0], [3.0, 4.0]], [1.0, 8.0])


def test_a_tensor_as_bound_of_a_slice_may_be_rebound_before_the_gradient() -> None:
    x, first = tf.asarray([1.0, 2.0, 3.0]), tf.asarray(1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x[first:]
        first[...] = 2
    np.testing.assert_array_equal(tape.gradient(y, x).numpy(), [0, 1, 1])
