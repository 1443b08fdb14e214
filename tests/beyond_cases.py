"""Rows of functions beyond the array API: segments, running extrema, statistics, curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special as sp

import tapeflow as tf
from op_case import I2, INTS, Bad, Case, integers
from tapeflow.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError

IDS = np.array([1, 0, 1, 3])
PLACES = np.array([[0, 1], [1, -1], [0, 1]])
NAN = np.array([[1.0, np.nan, 3.0], [-2.0, 0.5, np.nan]])
AXIS = Bad(OutOfRangeError, ["f[2]"], {"axis": 1})


def by_segment(function: Any) -> Any:
    """`function` of the rows of each of 4 segments, of which number 2 has none."""

    def ref(x: Any) -> Any:
        return np.stack([function(x[i == IDS]) for i in range(4)]).astype(x.dtype)

    return ref


def segments(fn: Any, function: Any, *bad: Bad) -> list[Case]:
    refused = [
        Bad(ShapeError, ["f[3]"]),
        Bad(OutOfRangeError, ["f[4]"], {"n": 2}),
        Bad(ArgumentError, ["f[4]"], {"n": -1}),
        *bad,
    ]
    return [
        Case(
            lambda x, n=4: fn(x, IDS, n), by_segment(function), ["f[4,3]"], bad=refused,
            name=fn.__name__,
        ),
        Case(lambda x: fn(x, IDS), by_segment(function), ["f[4]"], name=fn.__name__),
        Case(lambda x: fn(x, [[1, 0], [1, 3]]),
             lambda x: by_segment(function)(x.reshape(4, 2)), ["f[2,2,2]"], name=fn.__name__),
    ]  # fmt: skip


def _filled(function: Any, empty: float) -> Any:
    return lambda rows: function(rows, 0) if len(rows) else np.full(rows.shape[1:], empty)


NO_ORDER = Bad(DTypeError, ["bool[4]"])
SEGMENTS = [
    *segments(tf.segment_sum, _filled(np.sum, 0)),
    *segments(tf.segment_mean, _filled(np.mean, 0), Bad(DTypeError, ["i32[4]"])),
    *segments(tf.segment_max, _filled(np.max, -np.inf), NO_ORDER),
    *segments(tf.segment_min, _filled(np.min, np.inf), NO_ORDER),
    *segments(tf.segment_prod, _filled(np.prod, 1)),
    Case(
        lambda x: tf.segment_prod(x, [0, 0, 1, 1]),
        lambda x: np.array([x[0] * x[1], x[2] * x[3]]),
        [np.array([0.0, 2.0, 0.0, 0.0])],
    ),
    integers(lambda x: tf.segment_max(x, IDS), by_segment(_filled(np.max, -128)), "i8[4]"),
    integers(
        lambda x, i: tf.segment_sum(x, i, 4), lambda x, i: by_segment(_filled(np.sum, 0))(x),
        "i32[4,2]", IDS,
    ),
]  # fmt: skip


def _added(x: Any, v: Any) -> Any:
    y = x.copy()
    np.add.at(y, tuple(PLACES.T), v)
    return y


def _updated(x: Any, v: Any) -> Any:
    y = x.copy()
    y[[0, 1]] = v
    return y


TUPLES = [
    Case(
        lambda x, i=PLACES: tf.gather_nd(x, i),
        lambda x: x[tuple(PLACES.T)],
        ["f[2,3,2]"],
        bad=[Bad(ShapeError, ["f[2]"]), Bad(ShapeError, ["f[2,3]"], {"i": 1})],
        name="gather_nd",
    ),
    Case(
        lambda x: tf.gather_nd(x, [[2], [0]], batch_dims=1),
        lambda x: x[[0, 1], [2, 0]],
        ["f[2,3,2]"],
        bad=[Bad(ShapeError, ["f[3,3]"])],
        name="gather_nd",
    ),
    Case(lambda x: tf.gather_nd(x, np.zeros((2, 0), int)), lambda x: np.stack([x, x]), ["f[3]"]),
    integers(tf.gather_nd, lambda x, i: x[tuple(i.T)], "i32[2,3]", PLACES),
    Case(
        lambda v: tf.scatter_nd(PLACES, v, (2, 3)),
        lambda v: _added(np.zeros((2, 3), v.dtype), v),
        ["f[3]"],
        bad=[Bad(ShapeError, ["f[2]"]), Bad(ShapeError, ["f[3,1]"])],
        name="scatter_nd",
    ),
    Case(
        lambda x, v: tf.tensor_scatter_nd_add(x, PLACES, v),
        _added,
        ["f[2,3,2]", "f[3,2]"],
        bad=[Bad(ShapeError, ["f[2,3,2]", "f[3,3]"]), Bad(ShapeError, ["f[2]", "f[3]"])],
        name="tensor_scatter_nd_add",
    ),
    Case(
        lambda x, v: tf.tensor_scatter_nd_update(x, [[0], [1]], v),
        _updated,
        ["f[3,2]", "f[2,2]"],
        bad=[Bad(ShapeError, ["f[3,2]", "f[2,3]"]), Bad(ShapeError, ["f[]", "f[2]"])],
        name="tensor_scatter_nd_update",
    ),
]


def _logs(x: Any, axis: int = 0) -> Any:
    return np.log(np.cumsum(np.exp(x), axis))


TIES = np.array([1.0, 3.0, 3.0, 0.0, np.nan, 5.0])
RUNNING = [
    Case(tf.cumprod, np.cumprod, ["f[2,5]"], {"axis": 1}, bad=[AXIS]),
    Case(tf.cumprod, lambda x, reverse: np.cumprod(x[::-1])[::-1], ["f[4]"], {"reverse": True}),
    Case(
        tf.cumprod, lambda x, exclusive: np.cumprod([1, *x[:-1]], dtype=x.dtype), ["f[4]"],
        {"exclusive": True},
    ),
    integers(tf.cumprod, np.cumprod, "i32[5]"),
    integers(tf.cumprod, np.cumprod, "u8[5]"),
    integers(tf.cumprod, np.cumprod, "bool[4]"),
    integers(tf.cumprod, np.cumprod, "i8[4]", kwargs={"dtype": np.int16}),
    Case(tf.cummax, np.maximum.accumulate, ["f[3,5]"], {"axis": 1}, bad=[AXIS, I2[1]]),
    Case(tf.cummin, np.minimum.accumulate, ["f[5,2]"], {"axis": 0}, bad=[AXIS, I2[1]]),
    Case(
        tf.cummax, lambda x, reverse: np.maximum.accumulate(x[::-1])[::-1], ["f[6]"],
        {"reverse": True},
    ),
    Case(tf.cummin, np.minimum.accumulate, ["f[0,2]"]),
    integers(tf.cummax, np.maximum.accumulate, TIES),
    integers(tf.cummin, np.minimum.accumulate, "i8[6]"),
    Case(tf.logcumsumexp, _logs, ["f[2,5]"], {"axis": 1}, bad=[AXIS, *I2]),
    Case(tf.logcumsumexp, lambda x, reverse: _logs(x[::-1])[::-1], ["f[4]"], {"reverse": True}),
    integers(
        tf.logcumsumexp,
        lambda x, exclusive: np.concatenate([[-np.inf], _logs(x[:-1])]).astype(x.dtype),
        "f[4]",
        kwargs={"exclusive": True},
    ),
]  # fmt: skip

CLOSE = [
    integers(tf.isclose, np.isclose, *[np.array([1.0, np.inf, np.nan])] * 2),
    integers(
        tf.isclose, np.isclose, NAN, NAN + 1e-9, kwargs={"equal_nan": True},
        bad=[Bad(ShapeError, ["f[2]", "f[3]"])],
    ),
    integers(tf.isclose, np.isclose, "i32[4]", "i32[4]"),
    integers(tf.allclose, np.allclose, "f[2,3]", "f[3]", bad=[Bad(ShapeError, ["f[2]", "f[3]"])]),
    integers(tf.allclose, np.allclose, np.ones(3), np.ones(3) + 1e-7),
    integers(tf.array_equal, np.array_equal, "f[3]", "f[2]"),
    integers(tf.array_equal, np.array_equal, NAN, NAN, kwargs={"equal_nan": True}),
    Case(tf.nan_to_num, np.nan_to_num, ["f[2,3]"]),
    integers(tf.nan_to_num, np.nan_to_num, np.array([np.nan, np.inf, -np.inf, 1.0])),
    integers(
        tf.nan_to_num, lambda x, nan, posinf, neginf: np.array([7, 8, 9, 1], x.dtype),
        np.array([np.nan, np.inf, -np.inf, 1.0]), kwargs={"nan": 7.0, "posinf": 8, "neginf": 9},
    ),
    integers(tf.nan_to_num, np.nan_to_num, "i32[3]"),
]  # fmt: skip

NOTHING = Bad(ShapeError, ["f[0,2]"], {"axis": 0})
TWICE = Bad(ArgumentError, ["f[2,2]"], {"axis": (0, -2)})


def reduced(fn: Any, ref: Any, *bad: Bad, smooth: bool = True) -> list[Case]:
    """A reduction of numbers of which some are none."""
    def plain(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return np.asarray(ref(x, axis=axis, keepdims=keepdims)).astype(x.dtype)

    return [
        Case(fn, plain, [NAN], {"axis": 1}, smooth=False, bad=[TWICE, *bad]),
        Case(fn, plain, [NAN], {"axis": 0, "keepdims": True}, smooth=False),
        Case(fn, plain, ["f[2,3,2]"], {"axis": (0, -1)}, smooth=smooth),
        Case(fn, plain, ["f[2,3]"], {}, smooth=smooth),
    ]  # fmt: skip


STATISTICS = [
    *reduced(tf.nansum, np.nansum),
    *reduced(tf.nanprod, np.nanprod),
    *reduced(tf.nanmean, np.nanmean, *I2),
    *reduced(tf.nanvar, np.nanvar, *I2),
    *reduced(tf.nanstd, np.nanstd, *I2),
    *reduced(tf.nanmax, np.nanmax, NOTHING, I2[1]),
    *reduced(tf.nanmin, np.nanmin, NOTHING, I2[1]),
    *reduced(tf.ptp, np.ptp, NOTHING, I2[1]),
    *reduced(tf.median, np.median, NOTHING, *I2),
    integers(tf.nansum, lambda x: np.nansum(x), "i8[3]"),
    integers(tf.nanmax, np.nanmax, "i8[3]"),
    Case(tf.median, np.median, ["f[4,3]"], {"axis": 0}),
    integers(tf.median, np.median, np.array([np.inf, 1.0, np.inf, np.inf])),
    *[
        Case(
            tf.quantile, np.quantile, ["f[3,5]", np.array([0.0, 0.3, 1.0])],
            {"axis": 1, "method": method}, smooth=False,
        )
        for method in ("linear", "lower", "higher", "midpoint")
    ],
    Case(
        lambda x, q=0.3, method="linear": tf.quantile(x, q, axis=1, method=method),
        lambda x: np.quantile(x, 0.3, axis=1),
        ["f[3,5]"],
        bad=[
            Bad(ArgumentError, ["f[3,5]"], {"method": "nearby"}),
            Bad(ArgumentError, ["f[3,5]"], {"q": 1.5}),
            Bad(ShapeError, ["f[3,0]"]),
        ],
        name="quantile",
    ),
    Case(tf.percentile, np.percentile, ["f[7]"], {"q": 30.0},
         bad=[Bad(DTypeError, ["i32[2]"]), Bad(ArgumentError, ["f[2]"], {"q": 101.0})]),
    Case(
        tf.average, lambda x, axis: np.average(x, axis), ["f[2,3]"], {"axis": 1}, bad=[AXIS, *I2]
    ),
    Case(
        lambda x, w: tf.average(x, 0, w),
        lambda x, w: np.average(x, 0, w),
        ["f[2,3]", "f+[2]"],
        bad=[Bad(ShapeError, ["f[2,3]", "f+[3]"])],
        name="average",
    ),
    Case(lambda x, w: tf.average(x, weights=w), lambda x, w: np.average(x, weights=w),
         ["f[2,3]", "f+[2,3]"]),
    Case(tf.cov, lambda x: np.cov(x, dtype=x.dtype), ["f[3,5]"],
         bad=[*I2, Bad(ShapeError, ["f[2,2,2]"])]),
    Case(tf.cov, lambda x: np.cov(x, dtype=x.dtype), ["f[5]"]),
    Case(tf.cov, lambda x, y, rowvar, bias: np.cov(x, y, rowvar, bias, dtype=x.dtype),
         ["f[5,2]", "f[5,1]"], {"rowvar": False, "bias": True}),
    Case(tf.corrcoef, lambda x: np.corrcoef(x, dtype=x.dtype), ["f[3,5]"], bad=I2),
]  # fmt: skip


def _bins(x: Any, **kwargs: Any) -> Any:
    return np.histogram(x, **kwargs)[0]


COUNTS = [
    integers(
        lambda x, **k: tf.histogram(x, **k)[0], _bins, "f[3,4]", kwargs={"bins": 4},
        bad=[Bad(ArgumentError, ["f[3]"], {"bins": 0}), Bad(ArgumentError, ["f[3]"], {"bins": -1})],
        name="histogram",
    ),
    integers(lambda x, **k: tf.histogram(x, **k)[0], _bins, "f[3]",
             kwargs={"bins": [0.0, 0.0, 1.0]},
             bad=[Bad(ArgumentError, ["f[3]"], {"bins": [1.0, 0.0]}),
                  Bad(ArgumentError, ["f[3]"], {"range": (1.0, 0.0)}),
                  Bad(ArgumentError, ["f[3]"], {"range": (0.0, np.nan)})], name="histogram"),
    integers(lambda x: tf.histogram(x, bins=3)[1],
             lambda x: np.histogram(x, bins=3)[1].astype(x.dtype), "f[7]"),
    integers(lambda x, **k: tf.histogram(x, **k)[0], _bins,
             np.array([0.0, 1.0, 2.0, 0.5, np.nan, 3.0, -1.0]),
             kwargs={"bins": 4, "range": (0.0, 2.0)}),
    integers(lambda x: tf.histogram(x, bins=[0.0, 0.5, 2.0])[0],
             lambda x: _bins(x, bins=[0.0, 0.5, 2.0]), "f[9]"),
    integers(lambda x: tf.histogram(x, bins=3)[0], lambda x: _bins(x, bins=3), "i32[9]"),
    integers(lambda x: tf.histogram(x, bins=3)[0], lambda x: _bins(x, bins=3), "f[0]"),
    Case(lambda x: tf.histogram(x, bins=3, density=True)[0],
         lambda x: _bins(x, bins=3, density=True).astype(x.dtype), ["f[9]"], smooth=False),
    Case(lambda w: tf.histogram([0.0, 1.0, 0.9, 0.2], 2, weights=w)[0],
         lambda w: np.array([w[0] + w[3], w[1] + w[2]]), ["f[4]"],
         bad=[Bad(ShapeError, ["f[3]"])], name="histogram"),
    Case(lambda x: tf.bincount(x, length=6), lambda x: np.bincount(x, minlength=6),
         [np.array([1, 5, 1, 0])], smooth=False,
         bad=[Bad(DTypeError, ["f[2]"]), Bad(ShapeError, ["i32[2,2]"])], name="bincount"),
    Case(lambda w: tf.bincount([1, 3, 1], w),
         lambda w: np.array([0, w[0] + w[2], 0, w[1]], w.dtype), ["f[3]"], name="bincount"),
]  # fmt: skip

XP = np.array([-1.0, 0.0, 0.5, 2.0])
CURVES = [
    Case(lambda x, f: tf.interp(x, tf.cast(XP, x.dtype), f),
         lambda x, f: np.interp(x, XP, f).astype(x.dtype), ["f[2,5]", "f[4]"],
         bad=[Bad(ShapeError, ["f[2]", "f[3]"])], name="interp"),
    Case(lambda x: tf.interp(0.3, x, [1.0, 2.0, 5.0]), lambda x: np.interp(0.3, x, [1, 2, 5])
         .astype(x.dtype), [np.array([-1.0, 0.25, 0.75])]),
    integers(lambda x: tf.interp(x, tf.cast(XP, x.dtype), tf.cast(XP**2, x.dtype), -7.0, 7.0),
             lambda x: np.interp(x, XP, XP**2, -7.0, 7.0).astype(x.dtype),
             np.array([-2.0, -1.0, 2.0, 2.5, np.nan, np.inf])),
    Case(tf.interp, lambda x, a, b: np.full_like(x, b[0]), ["f[3]", "f[1]", "f[1]"], smooth=False),
    Case(tf.trapezoid, np.trapezoid, ["f[2,4]"], bad=[*I2, Bad(OutOfRangeError, ["f[]"])]),
    Case(tf.trapezoid, np.trapezoid, ["f[2,4]"], {"dx": 0.5, "axis": 0}),
    Case(tf.trapezoid, np.trapezoid, ["f[2,4]", "f[4]"], bad=[Bad(ShapeError, ["f[4]", "f[3]"])]),
    Case(tf.trapezoid, np.trapezoid, ["f[2,4]", "f[2,4]"]),
    *[Case(tf.convolve, np.convolve, [a, b], {"mode": mode})
      for mode in ("full", "same", "valid") for a, b in (("f[5]", "f[3]"), ("f[2]", "f[4]"))],
    Case(tf.convolve, np.convolve, ["f[4]", "f[4]"],
         bad=[Bad(ShapeError, ["f[2,2]", "f[2]"]), Bad(ShapeError, ["f[2]", "f[0]"]),
              Bad(ArgumentError, ["f[2]", "f[2]"], {"mode": "most"})]),
    integers(tf.convolve, np.convolve, "i32[5]", "i32[2]", kwargs={"mode": "same"}),
    *[Case(tf.logaddexp2, np.logaddexp2, ["f[2,3]", other], bad=[INTS])
      for other in ("f[2,3]", "f[3]")],
    Case(tf.partition, lambda x, kth: np.sort(x), ["f[3,4]"], {"kth": (0, 1, 2, 3)},
         bad=[Bad(OutOfRangeError, ["f[]"]), Bad(OutOfRangeError, ["f[4]"], {"kth": 4})]),
    Case(lambda x: tf.partition(x, (1, -2), 0)[np.array([1, -2])],
         lambda x: np.sort(x, 0)[[1, -2]], ["f[5,2]"]),
    integers(tf.argpartition, lambda x, kth: np.argsort(x),
             np.array([3, 1, 4, 2, 7]), kwargs={"kth": (0, 1, 2, 3, 4)},
             bad=[Bad(OutOfRangeError, ["i32[2]"], {"kth": -3})]),
    Case(tf.logaddexp, np.logaddexp, [np.array([1.0, 1000.0]), np.array([1.0, 1001.0])]),
    Case(lambda x: tf.logsumexp(x * 1000.0), lambda x: sp.logsumexp(x * 1000.0), ["f[3]"],
         smooth=False),
]  # fmt: skip

TURNS = [
    Case(tf.flipud, np.flipud, ["f[2,3]"], bad=[Bad(OutOfRangeError, ["f[]"])]),
    Case(tf.fliplr, np.fliplr, ["f[2,3]"], bad=[Bad(OutOfRangeError, ["f[3]"])]),
    Case(
        tf.rot90, np.rot90, ["f[2,3]"],
        bad=[
            Bad(OutOfRangeError, ["f[3]"]),
            Bad(ArgumentError, ["f[2,3]"], {"axes": (0, 0)}),
            Bad(ArgumentError, ["f[2,3]"], {"axes": (0,)}),
        ],
    ),
    *[Case(tf.rot90, np.rot90, ["f[2,3,4]"], {"k": k, "axes": (2, 0)}) for k in (0, 1, 2, 3, -1)],
]  # fmt: skip

BEYOND = [*TURNS, *SEGMENTS, *TUPLES, *RUNNING, *CLOSE, *STATISTICS, *COUNTS, *CURVES]
