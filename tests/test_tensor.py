"""Tensors: conversion, operators, dtypes and how they promote, indexing, assignment."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.dtypes import SHORT
from tapeflow.errors import (
    ArgumentError,
    DTypeError,
    OutOfRangeError,
    ShapeError,
    TraceError,
)
from tapeflow.jit.trace import trace
from tapeflow.tensor import Spec

DTYPES = [d.name for d in SHORT]
INTEGERS = [d for d in DTYPES if "int" in d]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
COMPLEX = ["complex64", "complex128"]


# ---- conversion


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (1.0, "float32"),
        (1, "int64"),
        (True, "bool"),
        ([1.0, 2.0], "float32"),
        ([1, 2], "int64"),
        ([True], "bool"),
        ([1, 2**63 + 1], "uint64"),
        (np.float64(1.0), "float64"),
        (np.zeros(2), "float64"),
        (np.zeros(2, "i2"), "int16"),
        ([np.float64(1)], "float32"),
    ],
)
def test_the_dtype_of_what_is_given(given: Any, dtype: str) -> None:
    assert tf.asarray(given).dtype.name == dtype


def test_a_numpy_array_is_copied() -> None:
    array = np.zeros(2)
    x = tf.asarray(array)
    array[0] = 1.0
    assert x.tolist() == [0.0, 0.0]


def test_numpy_cannot_write_into_a_tensor() -> None:
    with pytest.raises(ValueError, match="read-only"):
        tf.asarray([1.0]).numpy()[0] = 2.0


def test_numpy_functions_take_tensors() -> None:
    x = tf.asarray([1.0, 2.0])
    assert np.exp(x).shape == (2,) and np.asarray(x, dtype="f8").dtype == np.float64
    assert np.array(x, copy=True).flags.writeable


def test_dlpack_goes_both_ways() -> None:
    x = tf.asarray([1.0, 2.0])
    assert np.from_dlpack(x).tolist() == [1.0, 2.0]
    assert tf.from_dlpack(np.arange(3)).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "given", ["text", object(), [1, "a"], [[1], [1, 2]], None, np.array(["a"])]
)
def test_what_is_not_numeric_is_refused(given: Any) -> None:
    with pytest.raises(DTypeError, match=r"test_tensor\.py"):
        tf.asarray(given)


def test_item_float_int_bool_index_and_len() -> None:
    x = tf.asarray(3)
    assert (x.item(), float(x), int(x), bool(x), [10, 20, 30, 40][x]) == (3, 3.0, 3, True, 40)
    assert len(tf.zeros((4, 2))) == 4 and tf.asarray([[7]]).item() == 7


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: bool(tf.ones(2)), ArgumentError),
        (lambda: float(tf.ones(1)), ArgumentError),
        (lambda: tf.ones(2).item(), ArgumentError),
        (lambda: len(tf.asarray(1.0)), DTypeError),
        (lambda: [1, 2][tf.asarray(1.0)], DTypeError),
        (lambda: list(tf.asarray(1.0)), DTypeError),
        (lambda: tf.ones((2, 2, 2)).T, ShapeError),
        (lambda: tf.ones(3).mT, ShapeError),
        (lambda: hash(tf.ones(2)), TypeError),
    ],
)
def test_what_a_tensor_cannot_become_is_refused(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call()


def test_repr_is_short_and_names_the_type() -> None:
    assert repr(tf.asarray([1, 2])) == "Tensor([1, 2], i64[2])"
    assert len(repr(tf.zeros((1000, 1000)))) < 500
    assert "&lt;" in trace_of(lambda x: x)._repr_html_()


def trace_of(f: Any) -> Any:
    kept = []
    trace(lambda x: kept.append(f(x)) or x, Spec((2,), tf.float32), name="f")
    return kept[0]


@pytest.mark.parametrize(
    "call",
    [
        bool,
        float,
        int,
        operator.index,
        lambda x: x.numpy(),
        lambda x: x.tolist(),
        lambda x: x.item(),
        np.asarray,
        tf.nonzero,
        tf.unique,
        tf.unique_values,
        lambda x: x[x > 0],
    ],
)
def test_a_traced_tensor_has_no_value(call: Any) -> None:
    with pytest.raises(TraceError, match=r"(?s)fix: .*test_tensor\.py"):
        trace_of(call)


@pytest.mark.parametrize(
    "function",
    [
        *(np.mean, np.sum, np.max, np.min, np.any, np.std, np.transpose, np.argmax, np.median),
        lambda x: np.sum(x, axis=1, keepdims=True),
        lambda x: np.concatenate([x, x], axis=-1),
        lambda x: np.where(x > 2.0, x, -x),
    ],
)
@pytest.mark.parametrize("make", [tf.asarray, tf.Variable])
def test_numpys_functions_take_tensors_and_variables_for_arrays(
    function: Callable[..., Any], make: Callable[..., Any]
) -> None:
    array = np.array([[1.0, 2.0], [4.0, 8.0]])
    given = function(make(array))
    assert isinstance(given, np.ndarray | np.generic)
    np.testing.assert_array_equal(given, function(array))


def test_numpys_functions_say_that_a_traced_tensor_has_no_value() -> None:
    with pytest.raises(TraceError, match="numpy: inside a compiled function"):
        trace_of(np.mean)


@pytest.mark.parametrize("dtype", [">f4", ">i8", "<u2", ">f8"])
def test_numpy_arrays_of_any_byte_order_are_taken(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    for taken in (tf.asarray(array), tf.jit(lambda x: x + 0)(array)):
        np.testing.assert_array_equal(taken.numpy(), array)
        assert taken.dtype == array.dtype.newbyteorder("=")


def test_iteration_gives_the_rows() -> None:
    assert [row.tolist() for row in tf.asarray([[1, 2], [3, 4]])] == [[1, 2], [3, 4]]


def test_attributes() -> None:
    x = tf.zeros((2, 3, 4))
    assert (x.shape, x.ndim, x.size, x.dtype, x.device, x.name) == (
        (2, 3, 4),
        3,
        24,
        tf.float32,
        "cpu:0",
        None,
    )
    assert x.mT.shape == (2, 4, 3) and tf.zeros((2, 3)).T.shape == (3, 2)


# ---- operators

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.eq,
    operator.ne,
]
BITWISE = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("op", BINARY, ids=lambda o: o.__name__)
def test_operators_do_as_numpy_with_tensors_arrays_and_numbers(op: Any, kind: str) -> None:
    a, b = np.array([1.5, 2.0, 3.0], kind), np.array([0.5, 2.0, 1.0], kind)
    x, y = tf.asarray(a), tf.asarray(b)
    for got, expected in [
        (op(x, y), op(a, b)),
        (op(x, b), op(a, b)),
        (op(a, y), op(a, b)),
        (op(x, 2.0), op(a, 2.0)),
        (op(2.0, y), op(2.0, b)),
        (op(x, 2), op(a, 2)),
        (op(2, y), op(2, b)),
        (op(x, y[:1]), op(a, b[:1])),
        (op(x[0], y), op(a[0], b)),
    ]:
        assert isinstance(got, tf.Tensor) and got.dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("op", BITWISE, ids=lambda o: o.__name__)
def test_bitwise_operators_do_as_numpy(op: Any) -> None:
    a, b = np.array([5, 6, 7], "i4"), np.array([1, 2, 3], "i4")
    for got, expected in [
        (op(tf.asarray(a), tf.asarray(b)), op(a, b)),
        (op(tf.asarray(a), 2), op(a, 2)),
        (op(2, tf.asarray(b)), op(2, b)),
    ]:
        np.testing.assert_array_equal(got.numpy(), expected)


def test_unary_operators_do_as_numpy() -> None:
    a = np.array([-1.0, 2.0])
    x = tf.asarray(a)
    assert [(-x).tolist(), (+x).tolist(), abs(x).tolist()] == [
        (-a).tolist(),
        a.tolist(),
        abs(a).tolist(),
    ]
    assert (~tf.asarray([1, 2])).tolist() == [-2, -3] and (~tf.asarray([True])).tolist() == [False]


def test_matrix_products_take_arrays_on_either_side() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    for got in (tf.asarray(a) @ a, a @ tf.asarray(a)):
        np.testing.assert_array_equal(got.numpy(), a @ a)


@pytest.mark.parametrize(
    ("call", "error", "op"),
    [
        (lambda: tf.ones(2) + tf.ones(3), ShapeError, "add"),
        (lambda: tf.ones(2) * "a", DTypeError, "multiply"),
        (lambda: tf.asarray([True]) + tf.asarray([True]), DTypeError, "add"),
        (lambda: tf.asarray([1]) / tf.asarray([2]), DTypeError, "divide"),
        (lambda: tf.ones(2) & tf.ones(2), DTypeError, "bitwise_and"),
        (lambda: ~tf.ones(2), DTypeError, "bitwise_invert"),
        (lambda: tf.ones(2) & 1.0, DTypeError, "bitwise_and"),
        (lambda: -tf.asarray([True]), DTypeError, "negative"),
        (lambda: tf.asarray([1]) + 0.5, DTypeError, "add"),
        (lambda: tf.ones(2) @ 3.0, ShapeError, "matmul"),
        (lambda: tf.asarray([1], dtype="uint8") + 300, DTypeError, "add"),
        (lambda: tf.asarray([1], dtype="uint8") - (-1), DTypeError, "subtract"),
        (lambda: tf.ones(2) < None, DTypeError, "less"),
        (lambda: 2 ** tf.asarray([-1]), ArgumentError, "pow"),
    ],
)
def test_operators_refuse_by_name_and_line(call: Any, error: type[Exception], op: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert caught.value.op == op
    assert "test_tensor.py" in caught.value.at


# ---- dtypes


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_kept_by_creation_movement_and_comparison(dtype: str) -> None:
    x = tf.ones((2, 3), dtype=dtype)
    kept = [
        tf.zeros_like(x),
        x[0],
        x.T,
        tf.concat([x, x]),
        tf.where(x == x, x, x),
        tf.flip(x),
        tf.take(x, [0], axis=1),
        tf.stack([x, x]),
        x.reshape((6,)),
        tf.broadcast_to(x, (4, 2, 3)),
        tf.pad(x, 1),
        tf.roll(x, 1),
    ]
    assert {y.dtype.name for y in kept} == {dtype}
    assert (x == x).dtype.name == "bool" and tf.all(x)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_wrap_around_and_keep_their_dtype(dtype: str) -> None:
    limits = tf.iinfo(dtype)
    x = tf.asarray([limits.max], dtype=dtype)
    assert (x + 1).tolist() == [limits.min] and (x * 1).dtype.name == dtype
    assert (x // 2).tolist() == [limits.max // 2] and tf.max(x).dtype.name == dtype


HALF = {"float16": 2e-3, "bfloat16": 2e-2}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    "fn",
    [
        tf.exp,
        tf.tanh,
        tf.sqrt,
        tf.sigmoid,
        tf.relu,
        tf.softmax,
        tf.log_softmax,
        tf.erf,
        tf.gelu,
        tf.silu,
        tf.softplus,
        tf.abs,
        tf.floor,
        tf.round,
        tf.sign,
        tf.square,
        tf.sum,
        tf.mean,
        tf.max,
        tf.std,
        tf.logsumexp,
        tf.sort,
        tf.cumsum,
        lambda x: x @ x.T,
        lambda x: x + 1,
        lambda x: x / 3.0,
        lambda x: 2**x,
        lambda x: tf.clip(x, 0.5, 1.0),
    ],
    ids=lambda f: getattr(f, "__name__", "f"),
)
def test_half_precision_gives_the_rounded_result(fn: Any, dtype: str) -> None:
    x = np.random.default_rng(0).uniform(0.2, 2.0, (2, 3)).astype("f4")
    rounded = tf.cast(x, dtype)
    got, exact = fn(rounded), fn(tf.cast(rounded, "float64"))
    assert got.dtype.name == dtype
    np.testing.assert_allclose(
        got.numpy().astype("f8"), exact.numpy(), rtol=HALF[dtype], atol=HALF[dtype]
    )
    gradient = tf.grad(lambda x: tf.sum(fn(x)))(rounded)
    assert gradient.dtype.name == dtype and gradient.shape == x.shape


@pytest.mark.parametrize("dtype", HALF)
def test_sums_in_half_precision_do_not_stop_growing(dtype: str) -> None:
    assert float(tf.sum(tf.ones(4096, dtype=dtype))) == 4096.0
    assert (tf.ones((1, 4096), dtype=dtype) @ tf.ones((4096, 1), dtype=dtype)).item() == 4096.0


PROMOTED = [
    ("int8", "int16", "int16"),
    ("int8", "uint8", "int16"),
    ("int32", "uint32", "int64"),
    ("uint8", "uint32", "uint32"),
    ("int64", "uint8", "int64"),
    ("float32", "float64", "float64"),
    ("float16", "float32", "float32"),
    ("bfloat16", "float32", "float32"),
    ("bfloat16", "float64", "float64"),
]


@pytest.mark.parametrize(("a", "b", "common"), PROMOTED)
def test_dtypes_promote_by_the_standards_table(a: str, b: str, common: str) -> None:
    assert tf.result_type(a, b).name == tf.result_type(b, a).name == common
    assert (tf.ones(2, dtype=a) * tf.ones(2, dtype=b)).dtype.name == common
    assert tf.can_cast(a, common)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("int64", "uint64"),
        ("int8", "float32"),
        ("bool", "int8"),
        ("bool", "float32"),
        ("float16", "bfloat16"),
    ],
)
def test_what_the_table_leaves_undefined_is_refused(a: str, b: str) -> None:
    for call in (lambda: tf.result_type(a, b), lambda: tf.ones(1, dtype=a) == tf.ones(1, dtype=b)):
        with pytest.raises(DTypeError, match="defines no common dtype"):
            call()
    assert not tf.can_cast(a, b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_python_numbers_are_weak(dtype: str) -> None:
    x = tf.ones(2, dtype=dtype)
    for y in (x * 2.0, 2 - x, x + 1, tf.maximum(x, 0.0), tf.where(x > 0, x, 0.0), x**2, 2.0 / x):
        assert y.dtype.name == dtype
    assert tf.result_type(dtype, 1.5).name == dtype


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        ("bool", ["bool"]),
        ("signed integer", ["int8", "int16", "int32", "int64"]),
        ("integral", INTEGERS),
        ("unsigned integer", ["uint8", "uint16", "uint32", "uint64"]),
        ("real floating", FLOATS),
        ("complex floating", COMPLEX),
        ("numeric", INTEGERS + FLOATS + COMPLEX),
        (("bool", "real floating"), ["bool", *FLOATS]),
        ("float32", ["float32"]),
    ],
)
def test_isdtype_tells_kinds_apart(kind: Any, members: list[str]) -> None:
    assert [d for d in DTYPES if tf.isdtype(d, kind)] == [d for d in DTYPES if d in members]


def test_limits_of_dtypes() -> None:
    assert tf.iinfo("uint8").max == 255 and tf.iinfo(tf.asarray(1)).bits == 64
    assert tf.finfo("float32").eps == 2.0**-23 and tf.finfo("bfloat16").eps == 2.0**-7
    assert tf.finfo("float16").max == 65504.0
    for call in (
        lambda: tf.finfo("int8"),
        lambda: tf.iinfo("float32"),
        lambda: tf.asarray(1, dtype="complex256"),
    ):
        with pytest.raises(DTypeError):
            call()
    for bad in (lambda: tf.isdtype("int8", "whole"), lambda: tf.result_type(1, 2)):
        with pytest.raises(ArgumentError):
            bad()


# ---- creation


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (lambda: tf.arange(5), np.arange(5)),
        (lambda: tf.arange(2, 8, 3), np.arange(2, 8, 3)),
        (lambda: tf.arange(5, 0, -2), np.arange(5, 0, -2)),
        (lambda: tf.arange(0.0, 1.0, 0.25), np.arange(0, 1, 0.25, "f4")),
        (lambda: tf.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype="f4")),
        (
            lambda: tf.linspace(0, 1, 4, endpoint=False),
            np.linspace(0, 1, 4, endpoint=False, dtype="f4"),
        ),
        (lambda: tf.eye(2, 3, k=1), np.eye(2, 3, 1, "f4")),
        (lambda: tf.eye(2, dtype="int8"), np.eye(2, dtype="i1")),
        (lambda: tf.full((2,), 7), np.full(2, 7)),
        (lambda: tf.full(2, True), np.full(2, True)),
        (lambda: tf.zeros(()), np.zeros((), "f4")),
        (lambda: tf.ones((2, 0)), np.ones((2, 0), "f4")),
        (lambda: tf.empty(2), np.zeros(2, "f4")),
        (lambda: tf.empty_like(tf.ones(2)), np.zeros(2, "f4")),
        (lambda: tf.nonzero(tf.asarray([0, 3, 0, 4]))[0], np.array([1, 3])),
        (lambda: tf.unique_values([3, 1, 3]), np.array([1, 3])),
        (lambda: tf.unique_counts([3, 1, 3])[1], np.array([1, 2])),
        (lambda: tf.unique_inverse([[3], [1]])[1], np.array([[1], [0]])),
    ],
)
def test_creation_does_as_numpy(got: Any, expected: np.ndarray) -> None:
    x = got()
    assert (x.shape, x.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda: tf.zeros((2, -1)),
        lambda: tf.arange(0, 1, 0),
        lambda: tf.linspace(0, 1, -1),
        lambda: tf.one_hot([0], -1),
        lambda: tf.meshgrid([1.0], indexing="yx"),
        lambda: tf.concat([]),
        lambda: tf.stack(tf.ones(2)),
        lambda: tf.add_n([]),
        lambda: tf.roll(tf.ones(2), (1, 2), (0,)),
        lambda: tf.permute_dims(tf.ones(2), (0, 0)),
    ],
)
def test_arguments_that_mean_nothing_are_refused(call: Any) -> None:
    with pytest.raises((ArgumentError, OutOfRangeError), match=r"test_tensor\.py"):
        call()


# ---- indexing

MASK = np.array([[True, False, True], [False, False, True]])


def test_a_mask_selects_in_eager_code() -> None:
    a = np.arange(6.0).reshape(2, 3)
    x = tf.asarray(a)
    np.testing.assert_array_equal(x[tf.asarray(MASK)].numpy(), a[MASK])
    np.testing.assert_array_equal(x[MASK[:, 0]].numpy(), a[MASK[:, 0]])
    np.testing.assert_array_equal(
        tf.grad(lambda x: tf.sum(x[MASK] ** 2))(x).numpy(), np.where(MASK, 2 * a, 0)
    )


@pytest.mark.parametrize(
    ("key", "error"),
    [
        (5, OutOfRangeError),
        (-3, OutOfRangeError),
        ((0, 0, 0), OutOfRangeError),
        ((..., ...), OutOfRangeError),
        (1.5, DTypeError),
        ("a", DTypeError),
        (np.array([0.5]), DTypeError),
        (np.array([2]), OutOfRangeError),
        ((np.array([0, 1]), np.array([0, 1, 2])), ShapeError),
        (slice(None, None, 0), ValueError),
    ],
)
def test_keys_that_do_not_fit_are_refused(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        tf.ones((2, 3))[key]


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (0, np.ones(2, "f4"), ShapeError),
        (0, np.ones(3), DTypeError),
        (5, 1.0, OutOfRangeError),
        (np.array([0, 7]), 1.0, OutOfRangeError),
        (0, "a", DTypeError),
        (slice(None), np.ones((2, 2, 3), "f4"), ShapeError),
    ],
)
def test_assignments_that_do_not_fit_are_refused(
    key: Any, value: Any, error: type[Exception]
) -> None:
    x = tf.ones((2, 3))
    with pytest.raises(error, match=r"test_tensor\.py"):
        x[key] = value
    assert x.tolist() == [[1.0] * 3] * 2


def test_assignment_leaves_other_objects_alone() -> None:
    x = tf.asarray([1.0, 2.0])
    same_values = [x[...], x[:], tf.asarray(x, copy=True), x.astype("float32"), +x]
    x[0] = 9.0
    assert x.tolist() == [9.0, 2.0]
    assert [y.tolist() for y in same_values] == [[1.0, 2.0]] * 5


def test_a_mask_can_be_assigned_to() -> None:
    x = tf.asarray([[1.0, 2.0], [3.0, 4.0]])
    x[x > 2] = 0.0
    x[tf.asarray([True, False])] = [7.0, 8.0]
    assert x.tolist() == [[7.0, 8.0], [0.0, 0.0]]
    x[x > 6] = tf.asarray([1.0, 2.0])
    assert x.tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_integers_take_no_fractions() -> None:
    x = tf.asarray([1, 2])
    with pytest.raises(DTypeError, match="setitem"):
        x[0] = 0.5


def test_unique_all_finds_first_places_and_counts() -> None:
    found = tf.unique_all([[3, 1], [3, 3]])
    assert found.values.tolist() == [1, 3] and found.indices.tolist() == [1, 0]
    assert found.inverse_indices.tolist() == [[1, 0], [1, 1]] and found.counts.tolist() == [1, 3]


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("asked", [(), ("index",), ("inverse", "counts"), ("index", "inverse")])
@pytest.mark.parametrize("x", [[[3, 1, 3], [3, 1, 3]], [[np.nan, 2.0], [0.0, np.nan]], [[]]])
def test_unique_does_as_numpy(x: Any, asked: tuple[str, ...], axis: int | None) -> None:
    flags: dict[str, Any] = {f"return_{name}": True for name in asked}
    found, expected = tf.unique(x, axis=axis, **flags), np.unique(x, axis=axis, **flags)
    for y, z in zip(*((found, expected) if asked else ([found], [expected])), strict=True):
        assert y.shape == z.shape
        np.testing.assert_array_equal(y.numpy(), z)


def test_unique_takes_nans_of_bfloat16_for_one_value() -> None:
    values, counts = tf.unique(tf.asarray([np.nan, 1, np.nan], tf.bfloat16), return_counts=True)
    assert values.dtype == tf.bfloat16 and values.shape == (2,) and counts.tolist() == [1, 2]


def test_nan_is_the_largest_to_a_partition_too() -> None:
    for dtype in ("float32", "bfloat16"):
        x = tf.partition(tf.asarray([3, np.nan, 1, 2], dtype), range(4))
        np.testing.assert_array_equal(x.numpy().astype("f4"), [1, 2, 3, np.nan])


def test_unique_refuses_an_axis_that_is_not_there() -> None:
    with pytest.raises(OutOfRangeError, match="unique"):
        tf.unique([3, 1], axis=1)


def test_sets_name_what_they_give() -> None:
    counted, placed = tf.unique_counts([3, 1, 3]), tf.unique_inverse([3, 1, 3])
    assert counted._fields == ("values", "counts") and counted.counts.tolist() == [1, 2]
    assert placed._fields == ("values", "inverse_indices")
    assert placed.inverse_indices.tolist() == [1, 0, 1]


@pytest.mark.parametrize(("descending", "order"), [(False, [0, 2, 1]), (True, [1, 2, 0])])
def test_nan_is_sorted_as_the_largest(descending: bool, order: list[int]) -> None:
    x = tf.asarray([1.0, float("nan"), 2.0])
    assert tf.argsort(x, descending=descending).tolist() == order
    np.testing.assert_array_equal(tf.sort(x, descending=descending), x.numpy()[order])


def test_a_tensor_knows_its_namespace() -> None:
    assert tf.ones(1).__array_namespace__(api_version="2024.12") is tf
    assert tf.Variable(1.0).__array_namespace__() is tf


@pytest.mark.parametrize("name", ["i1", "i2", "i4", "i8", "u1", "u8", "f2", "f4", "f8", "<i4"])
def test_names_of_dtypes_count_bytes_as_numpy_does(name: str) -> None:
    assert tf.zeros(1, name).dtype == np.dtype(name)


def test_short_names_that_numpy_lacks_are_those_of_types() -> None:
    names = {"bf16": "bfloat16", "f16": "float16", "f32": "float32", "i64": "int64"}
    assert {n: tf.zeros(1, n).dtype.name for n in names} == names


def test_constants_are_those_of_the_standard() -> None:
    assert (tf.pi, tf.e, tf.inf) == (np.pi, np.e, np.inf) and np.isnan(tf.nan)
    assert tf.ones(2)[tf.newaxis].shape == (1, 2)


def test_one_element_formats_as_a_number():
    assert f"{tf.asarray(1.5):.3f}" == "1.500"


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
def test_what_is_empty_can_be_sorted(shape):
    assert tf.sort(tf.zeros(shape)).shape == shape


def test_masked_elements_are_refused_and_an_empty_mask_is_not():
    x = np.ma.array([1.0, 2.0], mask=[False, True])
    for use in (tf.asarray, tf.Variable, tf.ones(2).__add__, tf.jit(lambda y: y * 2.0)):
        with pytest.raises(DTypeError, match=r"of which 1 are masked(?s:.)*filled"):
            use(x)
    assert tf.asarray(np.ma.array([1.0, 2.0])).numpy().tolist() == [1.0, 2.0]
    assert tf.asarray(x.filled(0.0)).numpy().tolist() == [1.0, 0.0]
