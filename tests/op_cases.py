"""One row an operation: its NumPy meaning, inputs that fit, and inputs that do not.

A family with many rows has a module of its own, NAME_cases.py, whose rows CASES takes in below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special as sp

import tapeflow as tf
import windows
from beyond_cases import BEYOND
from complex_cases import COMPLEX
from fft_cases import FFT
from linalg_cases import LINALG
from linalg_complex_cases import COMPLEX_LINALG
from op_case import BOOLS, FLOATS, I2, INTS, Bad, Case, binary, integers, unary
from special_cases import SPECIAL
from tapeflow.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from tapeflow.ops.conv import conv_filter
from tapeflow.ops.pool import avg_pool_input, max_pool_at, max_pool_input
from tapeflow.ops.sorting import inverse_order

ELEMENTWISE = [
    *binary(tf.add, np.add, bad=[BOOLS]),
    *binary(tf.subtract, np.subtract, bad=[BOOLS]),
    *binary(tf.multiply, np.multiply, bad=[BOOLS]),
    *binary(tf.divide, np.divide, ("f", "f+"), bad=[BOOLS, INTS]),
    *binary(tf.maximum, np.maximum),
    *binary(tf.minimum, np.minimum),
    *binary(tf.pow, np.power, ("f+", "f")),
    *binary(tf.hypot, np.hypot, bad=[INTS]),
    *binary(tf.atan2, np.arctan2, bad=[INTS]),
    *binary(tf.logaddexp, np.logaddexp, bad=[INTS]),
    *binary(tf.copysign, np.copysign, bad=[INTS]),
    *binary(tf.remainder, np.remainder, ("f", "f+")),
    *binary(tf.floor_divide, np.floor_divide, ("f", "f+"), smooth=False),
    *binary(tf.nextafter, np.nextafter, bad=[INTS], smooth=False),
    integers(tf.add, np.add, "i8[3]", "i8[3]"),
    integers(tf.multiply, np.multiply, "u16[2,1]", "u16[3]"),
    integers(tf.floor_divide, np.floor_divide, "i32[5]", np.array([2, -3, 1, -2, 5], np.int32)),
    integers(tf.remainder, np.remainder, "i64[5]", np.array([2, -3, 1, -2, 5])),
    integers(
        tf.pow,
        np.power,
        "i32[4]",
        np.array([0, 1, 2, 3], np.int32),
        bad=[Bad(ArgumentError, ["i32[2]", np.array([-1, 2], np.int32)])],
    ),
    Case(lambda x: tf.pow(x, 2), np.square, ["f[3]"]),
    Case(lambda x: x**3, lambda x: x**3, ["f[3]"]),
    Case(lambda x: x**4.0, lambda x: x**4, ["f[3]"]),
    Case(lambda x: 2.0**x, lambda x: 2**x, ["f[3]"]),
    Case(lambda x: x**-1, lambda x: 1 / x, ["f+[3]"]),
    *unary(tf.negative, np.negative, bad=I2[1:]),
    *unary(tf.positive, np.positive, bad=I2[1:]),
    *unary(tf.abs, np.abs, bad=I2[1:]),
    *unary(tf.square, np.square, bad=I2[1:]),
    *unary(tf.sign, np.sign, bad=I2[1:], smooth=False),
    *unary(tf.floor, np.floor, bad=I2[1:], smooth=False),
    *unary(tf.ceil, np.ceil, bad=I2[1:], smooth=False),
    *unary(tf.trunc, np.trunc, bad=I2[1:], smooth=False),
    *unary(tf.round, np.round, bad=I2[1:], smooth=False),
    integers(tf.floor, lambda x: x, "i32[3]"),
    integers(tf.abs, np.abs, "i16[3]"),
    *unary(tf.sqrt, np.sqrt, "f+"),
    *unary(tf.rsqrt, lambda x: 1 / np.sqrt(x), "f+"),
    *unary(tf.reciprocal, lambda x: 1 / x, "f+"),
    *unary(tf.exp, np.exp),
    *unary(tf.expm1, np.expm1),
    *unary(tf.log, np.log, "f+"),
    *unary(tf.log1p, np.log1p, "f+"),
    *unary(tf.log2, np.log2, "f+"),
    *unary(tf.log10, np.log10, "f+"),
    *unary(tf.sin, np.sin),
    *unary(tf.cos, np.cos),
    *unary(tf.tan, np.tan, "f01"),
    *unary(tf.asin, np.arcsin, "f01"),
    *unary(tf.acos, np.arccos, "f01"),
    *unary(tf.atan, np.arctan),
    *unary(tf.sinh, np.sinh),
    *unary(tf.cosh, np.cosh),
    *unary(tf.tanh, np.tanh),
    *unary(tf.asinh, np.arcsinh),
    *unary(lambda x: tf.acosh(x + 1.5), lambda x: np.arccosh(x + 1.5), "f+", bad=()),
    *unary(tf.atanh, np.arctanh, "f01"),
    *unary(tf.sigmoid, sp.expit),
    *unary(tf.erf, sp.erf),
    *unary(tf.relu, lambda x: np.maximum(x, 0), bad=I2[1:]),
    *unary(tf.relu6, lambda x: np.clip(x, 0, 6), bad=I2[1:]),
    *unary(tf.softplus, lambda x: np.logaddexp(x, 0)),
    *unary(tf.silu, lambda x: x * sp.expit(x)),
    *unary(tf.gelu, lambda x: 0.5 * x * (1 + sp.erf(x / math.sqrt(2)))),
    Case(
        tf.gelu,
        lambda x, approximate: (
            0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        ),
        ["f[4]"],
        {"approximate": True},
    ),
    *unary(tf.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
    *unary(
        tf.selu, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))
    ),
    *unary(tf.leaky_relu, lambda x: np.where(x > 0, x, 0.2 * x)),
    *unary(tf.log_sigmoid, lambda x: -np.logaddexp(-x, 0)),
    *unary(tf.stop_gradient, lambda x: x, bad=(), smooth=False),
    Case(tf.clip, np.clip, ["f[2,3]"], {"min": -1.0, "max": 0.5}),
    Case(tf.clip, np.clip, ["f[2,3]"], {"min": None, "max": 0.5}),
    Case(tf.clip, np.clip, ["f[2,3]"], {"min": -0.5}),
    Case(tf.clip_by_value, np.clip, ["f[4]", np.full(4, -0.5), np.full(4, 0.7)]),
    Case(
        tf.where,
        np.where,
        ["bool[2,3]", "f[2,3]", "f[2,3]"],
        bad=[
            Bad(DTypeError, ["f[2]", "f[2]", "f[2]"]),
            Bad(ShapeError, ["bool[2]", "f[3]", "f[2]"]),
            Bad(DTypeError, ["bool[2]", "f[2]", "i32[2]"]),
        ],
    ),
    Case(tf.where, np.where, ["bool[3]", "f[2,1]", "f[]"]),
    Case(
        lambda c, x: tf.where(c, x, 0.0),
        lambda c, x: np.where(c, x, np.zeros_like(x)),
        ["bool[3]", "f[3]"],
    ),
    Case(tf.cast, lambda x, dtype: x.astype(dtype), ["f[3]"], {"dtype": "int32"}, smooth=False),
    Case(
        tf.cast, lambda x, dtype: x.astype(dtype), ["bool[3]"], {"dtype": "float32"}, smooth=False
    ),
    Case(lambda x: tf.cast(x, tf.float64), lambda x: x.astype("f8"), ["f[3]"]),
    Case(lambda x: x.astype("int8"), lambda x: x.astype("i1"), ["i64[3]"], smooth=False),
]

LOGIC = (
    [
        case
        for fn, ref in [
            (tf.equal, np.equal),
            (tf.not_equal, np.not_equal),
            (tf.less, np.less),
            (tf.less_equal, np.less_equal),
            (tf.greater, np.greater),
            (tf.greater_equal, np.greater_equal),
        ]
        for case in (*binary(fn, ref, smooth=False), integers(fn, ref, "i8[3]", "i8[3]"))
    ]
    + [
        case
        for fn, ref in [
            (tf.logical_and, np.logical_and),
            (tf.logical_or, np.logical_or),
            (tf.logical_xor, np.logical_xor),
        ]
        for case in binary(fn, ref, ("bool", "bool"), bad=[FLOATS, INTS], smooth=False)
    ]
    + [
        case
        for fn, ref in [
            (tf.bitwise_and, np.bitwise_and),
            (tf.bitwise_or, np.bitwise_or),
            (tf.bitwise_xor, np.bitwise_xor),
        ]
        for case in (
            *binary(fn, ref, ("i32", "i32"), bad=[FLOATS], smooth=False),
            integers(fn, ref, "bool[3]", "bool[3]"),
        )
    ]
    + [
        *binary(
            tf.bitwise_left_shift, np.left_shift, ("u8", "u8"), bad=[FLOATS, BOOLS], smooth=False
        ),
        *binary(
            tf.bitwise_right_shift, np.right_shift, ("u8", "u8"), bad=[FLOATS, BOOLS], smooth=False
        ),
        *unary(
            tf.logical_not, np.logical_not, "bool", bad=[Bad(DTypeError, ["f[2]"])], smooth=False
        ),
        *unary(tf.bitwise_invert, np.invert, "i32", bad=[Bad(DTypeError, ["f[2]"])], smooth=False),
        integers(tf.bitwise_invert, np.invert, "bool[2]"),
        *unary(tf.isnan, np.isnan, bad=I2[1:], smooth=False),
        *unary(tf.isinf, np.isinf, bad=I2[1:], smooth=False),
        *unary(tf.isfinite, np.isfinite, bad=I2[1:], smooth=False),
        *unary(tf.signbit, np.signbit, bad=I2, smooth=False),
        integers(tf.isfinite, np.isfinite, np.array([1.0, np.inf, np.nan])),
        integers(tf.isinf, np.isinf, np.array([1.0, -np.inf, np.nan])),
        integers(tf.isnan, np.isnan, np.array([1.0, -np.inf, np.nan])),
        integers(tf.isnan, np.isnan, "i32[3]"),
    ]
)


def reductions(
    fn: Any,
    ref: Any,
    kind: str = "f",
    bad: Sequence[Bad] = (),
    empty: bool = True,
    smooth: bool = True,
) -> list[Case]:
    """Over one axis, several, all, keeping them, of a number, of nothing."""
    rows: list[tuple[str, dict[str, Any]]] = [
        ("2,3,2", {"axis": 1}),
        ("2,3,2", {"axis": (0, -1)}),
        ("2,3", {}),
        ("2,3", {"axis": 0, "keepdims": True}),
        ("3,2", {"keepdims": True}),
        ("", {}),
    ]
    if empty:
        rows += [("0,3", {"axis": 0}), ("0,3", {"axis": 1}), ("0", {})]
    away = [
        Bad(OutOfRangeError, [f"{kind}[2,3]"], {"axis": 2}),
        Bad(ArgumentError, [f"{kind}[2,3]"], {"axis": (0, -2)}),
    ]
    return [
        Case(
            fn,
            lambda x, axis=None, keepdims=False: ref(x, axis=axis, keepdims=keepdims),
            [f"{kind}[{shape}]"],
            kwargs,
            bad=[*bad, *away] if not i else (),
            smooth=smooth,
        )
        for i, (shape, kwargs) in enumerate(rows)
    ]


NOTHING = [Bad(ShapeError, ["f[0,3]"], {"axis": 0}), Bad(DTypeError, ["bool[2]"], {})]

REDUCTIONS = [
    *reductions(tf.sum, np.sum),
    *reductions(tf.prod, np.prod),
    *reductions(tf.max, np.max, bad=NOTHING, empty=False),
    *reductions(tf.min, np.min, bad=NOTHING, empty=False),
    *reductions(tf.mean, np.mean, bad=I2, empty=False),
    *reductions(tf.var, np.var, bad=I2, empty=False),
    *reductions(tf.std, np.std, bad=I2, empty=False)[:5],
    *reductions(tf.logsumexp, sp.logsumexp, bad=[*I2, NOTHING[0]], empty=False),
    *reductions(tf.all, np.all, "bool", smooth=False),
    *reductions(tf.any, np.any, "bool", smooth=False),
    *reductions(tf.count_nonzero, np.count_nonzero, "i32", smooth=False),
    integers(tf.sum, lambda x: np.sum(x), "i8[5]"),
    integers(tf.sum, lambda x: np.sum(x), "u8[5]"),
    integers(tf.sum, lambda x: np.sum(x), "bool[5]"),
    integers(tf.any, np.any, "f[3]"),
    integers(tf.max, np.max, "u8[5]"),
    integers(tf.prod, lambda x: np.prod(x), "i16[3]"),
    Case(tf.prod, np.prod, [np.array([0.0, 2.0, 3.0])]),
    Case(tf.prod, np.prod, [np.array([0.0, 2.0, 0.0])]),
    Case(tf.var, lambda x, correction: np.var(x, ddof=1), ["f[5]"], {"correction": 1}),
    Case(
        tf.cumsum,
        lambda x, axis: np.cumsum(x, axis),
        ["f[2,3]"],
        {"axis": 1},
        bad=[Bad(OutOfRangeError, ["f[2]"], {"axis": 1})],
    ),
    integers(tf.cumsum, np.cumsum, "i8[5]"),
    integers(tf.cumsum, np.cumsum, "u8[2,3]", kwargs={"axis": 1}),
    integers(tf.cumsum, np.cumsum, "bool[4]"),
    integers(tf.cumsum, np.cumsum, "i8[5]", kwargs={"dtype": np.int16}),
    Case(tf.cumsum, lambda x, reverse: np.cumsum(x[::-1])[::-1], ["f[4]"], {"reverse": True}),
    Case(tf.cumsum, lambda x, exclusive: np.cumsum(x) - x, ["f[4]"], {"exclusive": True}),
    Case(
        tf.cumulative_sum,
        np.cumulative_sum,
        ["f[2,3]"],
        {"axis": 0, "include_initial": True},
        bad=[Bad(ArgumentError, ["f[2,3]"], {})],
    ),
    Case(tf.cumulative_prod, np.cumulative_prod, ["f[2,5]"], {"axis": 1}),
    Case(tf.cumulative_prod, np.cumulative_prod, ["f[3]"], {"include_initial": True}),
    Case(tf.cumulative_prod, np.cumulative_prod, ["f[0]"], {"include_initial": True}),
    Case(tf.diff, np.diff, ["f[2,5]"], {"n": 2}, bad=[Bad(ArgumentError, ["f[3]"], {"n": -1})]),
    Case(tf.diff, np.diff, ["f[2,5]"], {"axis": 0}),
    Case(
        tf.diff,
        lambda x, **ends: np.diff(x, **ends).astype(x.dtype),
        ["f[2,5]"],
        {"axis": 0, "prepend": 0.0, "append": 1.5},
    ),
    Case(tf.diff, np.diff, ["i32[5]"], {"prepend": 3}, smooth=False),
    Case(
        lambda x, before, after: tf.diff(x, prepend=before, append=after),
        lambda x, before, after: np.diff(x, prepend=before, append=after),
        ["f[2,5]", "f[]", "f[2,2]"],
        bad=[Bad(ShapeError, ["f[2,5]", "f[]", shape]) for shape in ("f[3,2]", "f[2]")],
    ),
    Case(
        tf.global_norm,
        lambda xs: np.sqrt(sum((x * x).sum() for x in xs)),
        [[np.array([3.0]), np.array([4.0])]],
        smooth=False,
        traceable=False,
    ),
]

SHAPES = [
    Case(
        tf.reshape,
        np.reshape,
        ["f[2,6]"],
        {"shape": (3, -1)},
        bad=[
            Bad(ShapeError, ["f[2,6]"], {"shape": (5,)}),
            Bad(ShapeError, ["f[6]"], {"shape": (4, -1)}),
            Bad(ShapeError, ["f[6]"], {"shape": (-1, -1)}),
        ],
    ),
    Case(tf.reshape, np.reshape, ["f[]"], {"shape": (1,)}),
    Case(tf.reshape, np.reshape, ["f[0,3]"], {"shape": (3, 0)}),
    Case(tf.transpose, np.transpose, ["f[2,3,4]"]),
    Case(tf.transpose, np.transpose, ["f[2,3]"], {"axes": (1, 0)}),
    Case(
        tf.permute_dims,
        np.transpose,
        ["f[2,3,4]"],
        {"axes": (2, 0, 1)},
        bad=[
            Bad(ArgumentError, ["f[2,3]"], {"axes": (0, 0)}),
            Bad(OutOfRangeError, ["f[2,3]"], {"axes": (0, 2)}),
            Bad(ArgumentError, ["f[2,3]"], {"axes": (0,)}),
        ],
    ),
    Case(tf.matrix_transpose, np.matrix_transpose, ["f[2,3,4]"], bad=[Bad(ShapeError, ["f[3]"])]),
    Case(
        tf.expand_dims,
        np.expand_dims,
        ["f[2,3]"],
        {"axis": 1},
        bad=[Bad(OutOfRangeError, ["f[2]"], {"axis": 3})],
    ),
    Case(tf.expand_dims, np.expand_dims, ["f[]"], {"axis": (0, 1)}),
    Case(tf.squeeze, np.squeeze, ["f[1,3,1]"], bad=[Bad(ShapeError, ["f[2,3]"], {"axis": 0})]),
    Case(tf.squeeze, np.squeeze, ["f[1,3,1]"], {"axis": -1}),
    Case(
        tf.broadcast_to,
        np.broadcast_to,
        ["f[3,1]"],
        {"shape": (2, 3, 4)},
        bad=[Bad(ShapeError, ["f[3]"], {"shape": (2,)}), Bad(ShapeError, ["f[3]"], {"shape": ()})],
    ),
    Case(tf.broadcast_to, np.broadcast_to, ["f[]"], {"shape": (2,)}),
    Case(
        lambda x, y: tf.broadcast_arrays(x, y)[0],
        lambda x, y: np.broadcast_arrays(x, y)[0],
        ["f[3]", "f[2,1]"],
    ),
    Case(
        lambda x, y: tf.concat([x, y], axis=1),
        lambda x, y: np.concatenate([x, y], 1),
        ["f[2,3]", "f[2,1]"],
        bad=[
            Bad(ShapeError, ["f[2,3]", "f[3,3]"]),
            Bad(ShapeError, ["f[2,3]", "f[2]"]),
            Bad(DTypeError, ["f[2,3]", "i32[2,3]"]),
        ],
        name="concat",
    ),
    Case(
        lambda x: tf.concat([x, 2 * x, x], axis=None),
        lambda x: np.concatenate([x, 2 * x, x], None),
        ["f[2,0]"],
    ),
    Case(
        lambda x, y: tf.stack([x, y], axis=-1),
        lambda x, y: np.stack([x, y], -1),
        ["f[2,3]", "f[2,3]"],
        bad=[Bad(ShapeError, ["f[2]", "f[3]"])],
        name="stack",
    ),
    *[
        Case(
            lambda x, y, axis: tf.stack([x, y, x], axis=axis),
            lambda x, y, axis: np.stack([x, y, x], axis),
            ["f[2,3]", "f[2,3]"],
            {"axis": axis},
        )
        for axis in (0, 1)
    ],
    Case(
        lambda x, y: tf.add_n([x, y, x]),
        lambda x, y: 2 * x + y,
        ["f[2]", "f[2]"],
        bad=[Bad(ShapeError, ["f[2]", "f[3]"])],
        name="add_n",
    ),
    Case(lambda x: tf.split(x, 3, axis=1)[1], lambda x: np.split(x, 3, 1)[1], ["f[2,6]"]),
    Case(
        lambda x, parts=(1, 3): tf.split(x, parts)[1],
        lambda x: x[1:],
        ["f[4]"],
        bad=[Bad(ShapeError, ["f[5]"]), Bad(ShapeError, ["f[4]"], {"parts": 3})],
        name="split",
    ),
    Case(lambda x: tf.unstack(x, axis=1)[2], lambda x: x[:, 2], ["f[2,3]"]),
    Case(tf.flip, np.flip, ["f[2,3]"], bad=[Bad(OutOfRangeError, ["f[2]"], {"axis": 1})]),
    Case(tf.flip, np.flip, ["f[2,3]"], {"axis": 1}),
    Case(tf.flip, np.flip, ["f[0,3]"], {"axis": 0}),
    Case(tf.roll, np.roll, ["f[2,3]"], {"shift": 1}),
    Case(tf.roll, np.roll, ["f[2,5]"], {"shift": -7, "axis": 1}),
    Case(
        tf.roll,
        np.roll,
        ["f[2,3]"],
        {"shift": (1, 2), "axis": (0, 1)},
        bad=[Bad(ArgumentError, ["f[2,3]"], {"shift": (1, 2), "axis": (0,)})],
    ),
    Case(
        lambda x, paddings=((1, 0), (0, 2)): tf.pad(x, paddings),
        lambda x: np.pad(x, ((1, 0), (0, 2))),
        ["f[2,3]"],
        bad=[
            Bad(ShapeError, ["f[2]"]),
            Bad(ArgumentError, ["f[2,3]"], {"paddings": ((0, 0), (-1, 0))}),
        ],
        name="pad",
    ),
    Case(
        lambda x: tf.pad(x, 1, constant_value=np.inf),
        lambda x: np.pad(x, 1, constant_values=np.inf),
        ["f[2]"],
    ),
    Case(lambda x: tf.tile(x, (2, 1, 2)), lambda x: np.tile(x, (2, 1, 2)), ["f[2,3]"]),
    Case(lambda x: tf.repeat(x, 2, axis=1), lambda x: np.repeat(x, 2, 1), ["f[2,3]"]),
    Case(
        lambda x, repeats=(1, 0, 2): tf.repeat(x, repeats),
        lambda x: np.repeat(x, [1, 0, 2]),
        ["f[3]"],
        bad=[Bad(ArgumentError, ["f[4]"]), Bad(ArgumentError, ["f[3]"], {"repeats": -1})],
        name="repeat",
    ),
    Case(
        tf.moveaxis,
        np.moveaxis,
        ["f[2,3,4]"],
        {"source": 0, "destination": -1},
        bad=[Bad(ArgumentError, ["f[2,3]"], {"source": 0, "destination": (0, 1)})],
    ),
    Case(tf.tril, np.tril, ["f[2,3,3]"], bad=[Bad(ShapeError, ["f[3]"])]),
    Case(tf.triu, np.triu, ["f[3,4]"], {"k": 1}, bad=[Bad(ShapeError, ["f[3]"])]),
    Case(
        lambda x, y: tf.meshgrid(x, y)[0],
        lambda x, y: np.meshgrid(x, y)[0],
        ["f[3]", "f[2]"],
        bad=[Bad(ShapeError, ["f[2,2]", "f[2]"])],
        name="meshgrid",
    ),
    Case(
        lambda x, y: tf.meshgrid(x, y, indexing="ij")[1],
        lambda x, y: np.meshgrid(x, y, indexing="ij")[1],
        ["f[3]", "f[2]"],
    ),
    Case(tf.zeros_like, np.zeros_like, ["f[2,3]"], smooth=False),
    Case(tf.ones_like, np.ones_like, ["i32[]"], smooth=False),
    Case(lambda x: tf.full_like(x, 3), lambda x: np.full_like(x, 3), ["f[2]"], smooth=False),
    Case(lambda x: tf.full((2, 3), x), lambda x: np.full((2, 3), x), ["f[]"]),
]


def indexed(key: Any, *inputs: str) -> Case:
    return Case(
        lambda x: x[key], lambda x: x[key], inputs or ["f[4,5,3]"], name=f"getitem[{key!r}]"
    )


def updated(key: Any, value: str, shape: str = "f[4,5,3]") -> Case:
    def fn(x: Any, v: Any) -> Any:
        y = x * 1.0
        y[key] = v
        return y

    def ref(x: Any, v: Any) -> Any:
        y = x.copy()
        y[key] = v
        return y

    return Case(fn, ref, [shape, value], name=f"setitem[{key!r}]")


ROWS, COLUMNS = np.array([0, -1, 2]), np.array([1, 1, -2])

INDEXING = [
    indexed(1),
    indexed(-1),
    indexed(slice(1, 3)),
    indexed(slice(None, None, -2)),
    indexed((slice(3, 0, -1), 2)),
    indexed((..., 1)),
    indexed((None, slice(0, 2), ..., None)),
    indexed((slice(2, 2),)),
    indexed((1, 2, 0)),
    indexed(ROWS),
    indexed((slice(None), COLUMNS)),
    indexed((ROWS, COLUMNS)),
    indexed((ROWS, slice(None), np.array([0, 1, 2]))),
    indexed((0, slice(None), np.array([[0], [2]]))),
    indexed((ROWS[:, None], COLUMNS)),
    indexed(([0, 1],)),
    indexed((slice(1, 3), np.array([], np.int64))),
    indexed((None, ROWS, ..., slice(None, None, 2))),
    indexed((), "f[]"),
    indexed(..., "f[]"),
    indexed(slice(0, 0), "f[0,2]"),
    updated(1, "f[3]"),
    updated((slice(None, None, 2), -1), "f[]"),
    updated(slice(3, 0, -1), "f[5,1]"),
    updated(ROWS, "f[5,3]"),
    updated((ROWS, COLUMNS), "f[3,3]"),
    updated((ROWS, slice(None), np.array([0, 1, 2])), "f[3,5]"),
    updated((slice(1, 3), np.array([0, 2])), "f[2,3]"),
    updated(..., "f[1,1,1,3]"),
    updated((1, 2, 0), "f[]"),
    Case(lambda x: x[x.shape[0] - 1], lambda x: x[-1], ["f[3]"]),
    Case(
        tf.take,
        np.take,
        ["f[4,3]", np.array([[0, -1], [2, 2]])],
        {"axis": 0},
        bad=[
            Bad(OutOfRangeError, ["f[4]", np.array([4])], {"axis": 0}),
            Bad(DTypeError, ["f[4]", "f[2]"], {"axis": 0}),
            Bad(DTypeError, ["f[4]", np.array([True, False])], {"axis": 0}),
            Bad(ArgumentError, ["f[4,3]", np.array([0])], {}),
        ],
    ),
    Case(tf.take, np.take, ["f[2,3]", "i64[0]"], {"axis": 1}),
    Case(
        tf.gather,
        lambda x, i: x[i],
        ["f[4,3]", np.array([3, 3, 0], np.int32)],
        bad=[Bad(OutOfRangeError, ["f[4]", np.array([-5])])],
    ),
    Case(
        tf.embedding_lookup,
        lambda x, i: x[i],
        ["f[4,3]", np.array([[1, 2], [0, 0]])],
        bad=[
            *(Bad(OutOfRangeError, ["f[4,3]", np.array([i])]) for i in (4, -1)),
            Bad(DTypeError, ["f[4,3]", np.array([True])]),
        ],
    ),
    Case(
        tf.take_along_axis,
        np.take_along_axis,
        ["f[2,4]", np.array([[0, -1, 1], [2, 2, 0]])],
        {"axis": 1},
        bad=[
            Bad(ShapeError, ["f[2,4]", np.array([0])], {"axis": 1}),
            Bad(OutOfRangeError, ["f[2,4]", np.array([[4], [0]])], {"axis": 1}),
        ],
    ),
    Case(tf.take_along_axis, np.take_along_axis, ["f[4,2]", np.array([[0, -1]])], {"axis": 0}),
    Case(
        tf.take_along_axis,
        np.take_along_axis,
        ["f[1,3,2]", np.array([[[0], [-1]], [[2], [2]]])],
        {"axis": 1},
    ),
    Case(
        lambda x, v: tf.scatter_add(x, np.array([1, 1, -1]), v),
        lambda x, v: np.stack([x[0], x[1] + v[0] + v[1], x[2] + v[2]]),
        ["f[3,2]", "f[3,2]"],
        bad=[Bad(ShapeError, ["f[3,2]", "f[2,2]"]), Bad(OutOfRangeError, ["f[1,2]", "f[3,2]"])],
        name="scatter_add",
    ),
    integers(
        tf.one_hot,
        lambda i, depth: np.eye(4, dtype="f4")[i],
        np.array([[0, 3], [1, 1]]),
        kwargs={"depth": 4},
        bad=[
            Bad(DTypeError, ["f[2]"], {"depth": 2}),
            Bad(ArgumentError, ["i64[2]"], {"depth": -1}),
        ],
    ),
    integers(
        tf.one_hot,
        lambda i, depth, axis, dtype: np.eye(3, dtype=dtype)[:, i],
        np.array([0, 2], np.int8),
        kwargs={"depth": 3, "axis": 0, "dtype": "int32"},
    ),
    integers(
        tf.argmax,
        np.argmax,
        "f[2,3]",
        kwargs={"axis": 1},
        bad=[Bad(ShapeError, ["f[0,2]"], {"axis": 0}), Bad(OutOfRangeError, ["f[2]"], {"axis": 1})],
    ),
    integers(tf.argmax, np.argmax, "f[2,3]"),
    integers(tf.argmax, np.argmax, "f[2,3]", kwargs={"keepdims": True}),
    integers(
        tf.argmin,
        np.argmin,
        "i32[2,3]",
        kwargs={"axis": -1, "keepdims": True},
        bad=[Bad(ShapeError, ["f[0]"])],
    ),
    Case(tf.sort, np.sort, ["f[3,4]"], {"axis": 0}, bad=[Bad(OutOfRangeError, ["f[]"])]),
    Case(tf.sort, lambda x, descending: -np.sort(-x), ["f[5]"], {"descending": True}),
    integers(tf.sort, np.sort, np.array([3, 1, 3, 2, 1])),
    *[
        integers(
            lambda x, axis: inverse_order(tf.argsort(x, axis), axis=axis),
            lambda x, axis: np.argsort(np.argsort(x, axis), axis),
            "f[3,4]",
            kwargs={"axis": a},
        )
        for a in (0, 1)
    ],
    integers(tf.argsort, lambda x: np.argsort(x, kind="stable"), np.array([3, 1, 3, 2, 1])),
    integers(
        tf.argsort,
        lambda x, descending: np.argsort(-x, kind="stable"),
        np.array([3, 1, 3, 2, 1]),
        kwargs={"descending": True},
    ),
    Case(
        lambda x, k=2: tf.top_k(x, k)[0],
        lambda x: -np.sort(-x)[:, :2],
        ["f[3,4]"],
        bad=[Bad(ShapeError, ["f[3,4]"], {"k": 5}), Bad(ShapeError, ["f[]"])],
        name="top_k",
    ),
    integers(
        lambda x: tf.top_k(x, 3)[1],
        lambda x: np.argsort(-x, kind="stable")[:3],
        np.array([1, 4, 4, 0]),
    ),
    integers(
        tf.in_top_k,
        lambda t, p, k: np.array([True, False]),
        np.array([1, 0]),
        np.array([[0.1, 0.5, 0.4], [0.1, 0.5, 0.4]]),
        kwargs={"k": 2},
        bad=[Bad(ShapeError, [np.array([0]), "f[2,3]"], {"k": 1})],
    ),
    integers(
        tf.searchsorted,
        np.searchsorted,
        np.array([0.0, 1.0, 1.0, 2.0]),
        np.array([1.0, -1.0, 5.0]),
        bad=[
            Bad(ShapeError, ["f[2,2]", "f[2]"]),
            Bad(ArgumentError, ["f[2]", "f[2]"], {"side": "middle"}),
        ],
    ),
    integers(
        tf.searchsorted,
        np.searchsorted,
        np.array([0.0, 1.0, 1.0, 2.0]),
        np.array([[1.0]]),
        kwargs={"side": "right"},
    ),
]

PRODUCTS = [
    Case(
        tf.matmul,
        np.matmul,
        ["f[2,3]", "f[3,4]"],
        bad=[
            Bad(ShapeError, ["f[2,3]", "f[2,4]"]),
            Bad(ShapeError, ["f[]", "f[2,4]"]),
            Bad(DTypeError, ["f[2,2]", "i32[2,2]"]),
            Bad(ShapeError, ["f[2,2,3]", "f[3,3,4]"]),
            Bad(DTypeError, ["bool[2,2]", "bool[2,2]"]),
        ],
    ),
    *[
        Case(tf.matmul, np.matmul, [a, b])
        for a, b in [
            ("f[3]", "f[3]"),
            ("f[2,3]", "f[3]"),
            ("f[3]", "f[3,2]"),
            ("f[2,2,3]", "f[2,3,2]"),
            ("f[2,1,2,3]", "f[3,3,1]"),
            ("f[0,3]", "f[3,2]"),
            ("f[2,0]", "f[0,3]"),
            ("f[3]", "f[2,3,2]"),
        ]
    ],
    integers(tf.matmul, np.matmul, "i32[2,3]", "i32[3,2]"),
    Case(tf.tensordot, np.tensordot, ["f[2,3,4]", "f[3,4,2]"]),
    Case(
        tf.tensordot,
        np.tensordot,
        ["f[2,3]", "f[4,3]"],
        {"axes": ([1], [1])},
        bad=[Bad(ShapeError, ["f[2,3]", "f[4,2]"], {"axes": ([1], [1])})],
    ),
    Case(tf.tensordot, np.tensordot, ["f[2]", "f[3]"], {"axes": 0}),
    Case(tf.vecdot, np.vecdot, ["f[2,3]", "f[3]"], bad=[Bad(ShapeError, ["f[3]", "f[2]"])]),
    Case(tf.vecdot, np.vecdot, ["f[3,2]", "f[3,2]"], {"axis": 0}),
    Case(tf.outer, np.outer, ["f[2]", "f[3]"], bad=[Bad(ShapeError, ["f[2,2]", "f[3]"])]),
    *[
        Case(
            lambda *xs, _e=equation: tf.einsum(_e, *xs),
            lambda *xs, _e=equation: np.einsum(_e, *xs),
            inputs,
            name=f"einsum {equation}",
        )
        for equation, inputs in [
            ("ij,jk->ik", ["f[2,3]", "f[3,4]"]),
            ("ij,jk", ["f[2,3]", "f[3,4]"]),
            ("ii->i", ["f[3,3]"]),
            ("ii", ["f[3,3]"]),
            ("bij,bkj->bik", ["f[2,3,4]", "f[2,5,4]"]),
            ("...ij,...jk->...ik", ["f[2,1,2,3]", "f[3,3,2]"]),
            ("i,j", ["f[2]", "f[3]"]),
            ("ij->ji", ["f[2,3]"]),
            ("ijk->k", ["f[2,3,4]"]),
            ("i,i->", ["f[3]", "f[3]"]),
            ("ij,jk,kl->il", ["f[2,3]", "f[3,2]", "f[2,4]"]),
            ("bhqd,bhkd->bhqk", ["f[2,2,3,4]", "f[2,2,5,4]"]),
            ("ij,j", ["f[2,3]", "f[3]"]),
            ("i...->...", ["f[2,3]"]),
        ]
    ],
    Case(
        lambda x, y, equation="ij,jk->ik": tf.einsum(equation, x, y),
        lambda x, y: x @ y,
        ["f[2,3]", "f[3,2]"],
        bad=[
            Bad(ShapeError, ["f[2,3]", "f[2,2]"]),
            Bad(ArgumentError, ["f[2]", "f[2,2]"]),
            Bad(ArgumentError, ["f[2,3]", "f[3,2]"], {"equation": "ij->i"}),
            Bad(ArgumentError, ["f[2,3]", "f[3,2]"], {"equation": "ij,jk->iz"}),
            Bad(ArgumentError, ["f[2,3]", "f[3,2]"], {"equation": "i1,1k->ik"}),
        ],
        name="einsum",
    ),
]

_LABELS = np.array([2, 0])


def _cross_entropy(labels: Any, logits: Any) -> Any:
    return -np.take_along_axis(np.log(sp.softmax(logits, -1)), labels[..., None], -1)[..., 0]


def _normal(x: Any, axis: Any = -1) -> Any:
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + 1e-6)


NETWORKS = [
    *[
        Case(fn, ref, [shape], {"axis": axis})
        for fn, ref in [(tf.softmax, sp.softmax), (tf.log_softmax, sp.log_softmax)]
        for shape, axis in [("f[2,3]", -1), ("f[3,2]", 0)]
    ],
    Case(
        tf.softmax,
        lambda x: sp.softmax(x, -1),
        ["f[4]"],
        bad=[
            Bad(DTypeError, ["i32[2]"]),
            Bad(OutOfRangeError, ["f[2]"], {"axis": 1}),
            Bad(OutOfRangeError, ["f[]"]),
        ],
    ),
    Case(
        tf.log_softmax, lambda x: sp.log_softmax(x, -1), ["f[4]"], bad=[Bad(DTypeError, ["i32[2]"])]
    ),
    Case(
        tf.sparse_softmax_cross_entropy,
        _cross_entropy,
        [_LABELS, "f[2,3]"],
        bad=[
            Bad(ShapeError, [np.array([0]), "f[2,3]"]),
            Bad(DTypeError, ["f[2]", "f[2,3]"]),
            Bad(DTypeError, [_LABELS, "i32[2,3]"]),
        ],
    ),
    Case(
        tf.sparse_softmax_cross_entropy, _cross_entropy, [np.array([[0, 1]], np.int8), "f[1,2,3]"]
    ),
    Case(
        tf.softmax_cross_entropy,
        lambda y, x: -(y * sp.log_softmax(x, -1)).sum(-1),
        ["f01[2,3]", "f[2,3]"],
        bad=[Bad(ShapeError, ["f[2]", "f[2,3]"]), Bad(DTypeError, ["i32[2,3]", "i32[2,3]"])],
    ),
    Case(
        tf.sigmoid_cross_entropy,
        lambda y, x: -y * sp.log_expit(x) - (1 - y) * sp.log_expit(-x),
        ["f01[4]", "f[4]"],
        bad=[Bad(ShapeError, ["f[2]", "f[3]"])],
    ),
    Case(
        lambda x: tf.moments(x, 0)[0],
        lambda x: x.mean(0),
        ["f[4,3]"],
        bad=[Bad(DTypeError, ["i32[2]"])],
        name="moments",
    ),
    Case(
        lambda x: tf.moments(x, (0, 1), keepdims=True)[1],
        lambda x: x.var((0, 1), keepdims=True),
        ["f[4,3]"],
    ),
    Case(tf.layer_normalization, _normal, ["f[2,5]"], bad=[Bad(DTypeError, ["i32[2,3]"])]),
    Case(
        tf.layer_normalization,
        lambda x, scale, offset: _normal(x) * scale + offset,
        ["f[2,5]", "f[5]", "f[5]"],
    ),
    Case(
        lambda x: tf.layer_normalization(x, axis=(0, -2), epsilon=0.5),
        lambda x: (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 0.5),
        ["f[2,3,2]"],
        name="layer_normalization of two axes",
    ),
    Case(
        lambda x, m, v, o, s: tf.batch_normalization(x, m, v, o, s, 1e-3),
        lambda x, m, v, o, s: (x - m) / np.sqrt(v + 1e-3) * s + o,
        ["f[4,3]", "f[3]", "f+[3]", "f[3]", "f[3]"],
    ),
    Case(
        tf.l2_normalize,
        lambda x, axis: x / np.sqrt((x * x).sum(axis, keepdims=True)),
        ["f[2,3]"],
        {"axis": 1},
    ),
    Case(
        tf.clip_by_norm,
        lambda x, clip_norm: x * min(1, clip_norm / np.sqrt((x * x).sum())),
        ["f[2,3]"],
        {"clip_norm": 1.0},
    ),
    Case(
        lambda x, y: tf.clip_by_global_norm([x, None, y], 0.5)[0][2],
        lambda x, y: y * 0.5 / np.sqrt((x * x).sum() + (y * y).sum()),
        ["f[3]", "f[2,2]"],
    ),
]


def _responses(
    x: Any, depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5
) -> Any:
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        near = x[..., max(c - depth_radius, 0) : c + depth_radius + 1]
        y[..., c] = x[..., c] / (bias + alpha * (near**2).sum(-1)) ** beta
    return y


def _attention(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
    scores = np.einsum("...nd,...md->...nm", q, k) * (
        q.shape[-1] ** -0.5 if scale is None else scale
    )
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return np.einsum("...nm,...mk->...nk", sp.softmax(scores, -1), v).astype(q.dtype)


NETWORKS += [
    Case(
        tf.nn.local_response_normalization,
        _responses,
        ["f[2,3,7]"],
        {"depth_radius": 2, "bias": 2.0, "alpha": 0.3, "beta": 0.75},
        bad=[
            Bad(DTypeError, ["i32[3]"]),
            Bad(ShapeError, ["f[]"]),
            Bad(ArgumentError, ["f[3]"], {"depth_radius": -1}),
            Bad(ArgumentError, ["f[3]"], {"beta": "half"}),
        ],
    ),
    Case(tf.nn.local_response_normalization, _responses, ["f[2,3]"]),
    Case(
        tf.nn.scaled_dot_product_attention,
        _attention,
        ["f[2,3,4]", "f[2,5,4]", "f[2,5,2]"],
        bad=[
            Bad(ShapeError, ["f[3,4]", "f[5,3]", "f[5,2]"]),
            Bad(ShapeError, ["f[3,4]", "f[5,4]", "f[4,2]"]),
            Bad(ShapeError, ["f[4]", "f[5,4]", "f[5,2]"]),
            Bad(DTypeError, ["i32[3,4]", "i32[5,4]", "i32[5,2]"]),
            Bad(DTypeError, ["f[3,4]", "f[5,4]", "f[5,2]", "i32[3,5]"]),
        ],
    ),
    Case(
        tf.nn.scaled_dot_product_attention,
        lambda q, k, v, is_causal, scale: _attention(q, k, v, np.tri(3, 4) > 0, scale),
        ["f[3,2]", "f[4,2]", "f[4,2]"],
        {"is_causal": True, "scale": 0.7},
    ),
    Case(tf.nn.scaled_dot_product_attention, _attention, ["f[3,2]", "f[4,2]", "f[4,2]", "f[3,4]"]),
    Case(
        tf.nn.scaled_dot_product_attention,
        _attention,
        ["f[2,3,2]", "f[4,2]", "f[4,2]", np.tri(3, 4, 1) > 0],
    ),
]

_IMAGES, _FILTERS = "f[2,5,6,3]", "f[3,2,3,4]"
_ARGUMENTS = [
    Bad(ArgumentError, [_IMAGES, _FILTERS], given)
    for given in [
        {"strides": 0},
        {"strides": -1},
        {"strides": (1, 2, 3)},
        {"strides": 1.5},
        {"dilations": 0},
        {"dilations": "two"},
        {"padding": "FULL"},
        {"padding": 1},
        {"padding": ((1, 1),)},
        {"padding": ((1,), (1,))},
        {"padding": ((-1, 0), (0, 0))},
        {"padding": np.array([1, 1])},
        {"padding": np.array([[1, 0], [0, 2]])},
    ]
]
_CONV_BAD = [
    *_ARGUMENTS,
    Bad(ShapeError, ["f[2,5,6,4]", _FILTERS]),
    Bad(ShapeError, ["f[5,6,3]", _FILTERS]),
    Bad(ShapeError, [_IMAGES, "f[3,3,4]"]),
    Bad(ShapeError, [_IMAGES, "f[6,2,3,4]"], {"padding": "VALID"}),
    Bad(ShapeError, [_IMAGES, _FILTERS], {"padding": "VALID", "dilations": 3}),
    Bad(ShapeError, [_IMAGES, "f[0,2,3,4]"]),
    Bad(ShapeError, ["f[2,0,6,3]", _FILTERS]),
    Bad(ArgumentError, [_IMAGES, _FILTERS], {"groups": 2}),
    Bad(ArgumentError, [_IMAGES, _FILTERS], {"groups": 0}),
    Bad(ArgumentError, [_IMAGES, "f[3,2,1,4]"], {"groups": 3}),
    Bad(
        ShapeError,
        [_IMAGES, _FILTERS],
        {"groups": 1, "padding": ((0, 0), (0, 0)), "strides": 1, "dilations": (3, 1)},
    ),
    Bad(DTypeError, ["i32[2,5,6,3]", "i32[3,2,3,4]"]),
]
_UNEVEN = {"strides": (2, 1), "padding": ((1, 0), (0, 2)), "dilations": (1, 2)}

CONVOLUTIONS = [
    Case(tf.nn.conv2d, windows.conv, [_IMAGES, _FILTERS], bad=_CONV_BAD),
    Case(
        tf.nn.conv2d,
        windows.conv,
        ["f[1,5,6,4]", "f[2,2,2,6]"],
        {"strides": (2, 1), "padding": ((1, 0), (0, 2)), "dilations": (1, 3), "groups": 2},
    ),
    Case(tf.nn.conv2d, windows.conv, ["f[0,5,6,3]", _FILTERS]),
    Case(tf.nn.conv2d, windows.conv, ["f[2,5,6,0]", "f[3,2,0,4]"]),
    Case(tf.nn.conv2d, windows.conv, [_IMAGES, "f[3,2,3,0]"]),
    Case(
        tf.nn.conv1d,
        windows.conv,
        ["f[2,7,2]", "f[4,2,3]"],
        {"strides": 3},
        bad=[Bad(ShapeError, [_IMAGES, _FILTERS])],
    ),
    Case(
        tf.nn.conv3d,
        windows.conv,
        ["f[1,3,4,3,2]", "f[2,2,1,2,3]"],
        {"padding": "VALID"},
        bad=[Bad(ShapeError, [_IMAGES, _FILTERS])],
    ),
    Case(
        tf.nn.atrous_conv2d,
        lambda x, w, rate: windows.conv(x, w, dilations=rate),
        [_IMAGES, _FILTERS],
        {"rate": 2},
        bad=[Bad(ArgumentError, [_IMAGES, _FILTERS], {"rate": 0})],
    ),
    Case(
        tf.nn.depthwise_conv2d,
        lambda x, w, **attrs: windows.conv(
            x, w.reshape(*w.shape[:2], 1, -1), groups=w.shape[2], **attrs
        ),
        [_IMAGES, "f[2,3,3,2]"],
        {"strides": 2},
        bad=[Bad(ShapeError, [_IMAGES, "f[2,3,4,2]"]), Bad(ShapeError, [_IMAGES, "f[2,3,3]"])],
    ),
    Case(
        tf.nn.separable_conv2d,
        lambda x, depthwise, pointwise: windows.conv(
            windows.conv(x, depthwise.reshape(2, 2, 1, -1), groups=3), pointwise
        ),
        [_IMAGES, "f[2,2,3,2]", "f[1,1,6,2]"],
        bad=[
            Bad(ShapeError, [_IMAGES, "f[2,2,3,2]", "f[1,2,6,2]"]),
            Bad(ShapeError, [_IMAGES, "f[2,2,3,2]", "f[1,1,5,2]"]),
        ],
    ),
    Case(
        tf.nn.conv2d_transpose,
        lambda x, w, strides: windows.conv_transpose(x, w, (6, 10), (3, 5), "SAME"),
        ["f[2,2,2,3]", "f[3,4,2,3]"],
        {"strides": (3, 5)},
        bad=[
            Bad(ShapeError, ["f[2,2,2,3]", "f[3,4,3,2]"]),
            Bad(ShapeError, ["f[2,2,3]", "f[3,4,2,3]"]),
            *[
                Bad(ShapeError, ["f[2,2,2,3]", "f[3,4,2,3]"], {"output_shape": s, "strides": 2})
                for s in [(4, 4), (2, 4, 4, 3), (1, 4, 4, 2), (2, 5, 4, 2), (2, 0, 4, 2)]
            ],
        ],
    ),
    Case(
        tf.nn.conv2d_transpose,
        lambda x, w, output_shape, **attrs: windows.conv_transpose(x, w, (5, 4), **attrs),
        ["f[1,2,2,1]", "f[2,2,2,1]"],
        {"output_shape": (1, 5, 4, 2), "strides": 2, "padding": "VALID"},
        bad=[
            Bad(ShapeError, ["f[1,2,2,1]", "f[2,2,2,1]"], {"padding": ((2, 2), (0, 0))}),
            Bad(ArgumentError, ["f[1,2,2,1]", "f[2,2,2,1]"], {"output_shape": "SAME"}),
        ],
    ),
    Case(
        lambda x, g: conv_filter(x, g, window=(2, 3), **_UNEVEN, groups=1),
        lambda x, g: windows.conv_filter(x, g, (2, 3), **_UNEVEN),
        ["f[2,4,5,2]", "f[2,2,3,2]"],
    ),
]

_POOL_BAD = [
    *[
        Bad(ArgumentError, [_IMAGES], given)
        for given in [
            {"window": 0},
            {"window": (2, 2, 2)},
            {"window": 2, "strides": 0},
            {"window": 2, "padding": "valid"},
            {"window": 2, "padding": ((2, 0), (0, 0))},
        ]
    ],
    Bad(ShapeError, [_IMAGES], {"window": 6}),
    Bad(ShapeError, ["f[5,3]"], {"window": 2}),
    Bad(ShapeError, ["f[2,0,6,3]"], {"window": 2}),
    Bad(DTypeError, ["bool[2,5,6,3]"], {"window": 2}),
]


def _max_pool(x: Any, window: Any, strides: Any = None, padding: Any = "VALID") -> Any:
    return windows.pool(lambda values: values.max(0), x, window, strides, padding)


def _avg_pool(x: Any, window: Any, strides: Any = None, padding: Any = "VALID") -> Any:
    return windows.pool(lambda values: values.mean(0), x, window, strides, padding)


POOLS = [
    case
    for fn, ref in [(tf.nn.max_pool, _max_pool), (tf.nn.avg_pool, _avg_pool)]
    for case in [
        Case(fn, ref, [_IMAGES], {"window": 2}, bad=_POOL_BAD),
        Case(fn, ref, [_IMAGES], {"window": (3, 2), "strides": (2, 1), "padding": "SAME"}),
        Case(fn, ref, ["f[1,7,2]"], {"window": 3, "strides": 2, "padding": ((1, 2),)}),
        Case(fn, ref, ["f[2,3,4,3,1]"], {"window": 2, "strides": 1}),
        Case(fn, ref, ["f[0,4,4,2]"], {"window": 2}),
    ]
]
_PAIRS = {"window": (2,), "strides": (1,), "padding": ((0, 0),)}  # of three: two windows
_SECOND_FIRST = np.array([[[1], [0]]], np.uint8)
POOLS += [
    Case(tf.nn.max_pool, _max_pool, ["i32[2,5,5,1]"], {"window": 2, "padding": "SAME"}),
    Case(
        lambda x, position: max_pool_at(x, position, **_PAIRS),
        lambda x, position: x[:, [1, 1]],
        ["f[1,3,1]", _SECOND_FIRST],
    ),
    Case(
        lambda g, position: max_pool_input(g, position, size=(3,), **_PAIRS),
        lambda g, position: np.stack([0 * g[:, 0], g.sum(1), 0 * g[:, 0]], 1),
        ["f[1,2,1]", _SECOND_FIRST],
    ),
    Case(
        lambda g: avg_pool_input(g, size=(3,), **_PAIRS),
        lambda g: np.stack([g[:, 0], g.sum(1), g[:, 1]], 1) / 2,
        ["f[1,2,1]"],
    ),
]

CASES: list[Case] = [
    *ELEMENTWISE,
    *LOGIC,
    *REDUCTIONS,
    *SHAPES,
    *INDEXING,
    *PRODUCTS,
    *NETWORKS,
    *CONVOLUTIONS,
    *POOLS,
    *COMPLEX,
    *LINALG,
    *FFT,
    *COMPLEX_LINALG,
    *SPECIAL,
    *BEYOND,
]
