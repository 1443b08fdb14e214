"""Rows of the special functions; SciPy says what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special as sp

import tapeflow as tf
from op_case import Bad, Case, binary, integers, unary
from tapeflow.errors import DTypeError, ShapeError

INTS = Bad(DTypeError, ["i32[2]", "i32[2]"])
ORDERS = np.array([0.0, 1.0, 2.0, 5.0])


def by_last(fn: Any, ref: Any, *kinds: str) -> list[Case]:
    """A function that is differentiated by its last input only; the others are constants."""
    rows = [[*(f"{k}[3]" for k in kinds)], [*(f"{k}[2,3]" for k in kinds)]]
    refused = [
        Bad(DTypeError, ["i32[2]"] * len(kinds)),
        Bad(ShapeError, ["f[2]"] * (len(kinds) - 1) + ["f[3]"]),
    ]
    plain = [Case(fn, ref, row, smooth=False, bad=refused) for row in rows[:1]]
    held = [np.array([0.5, 2.0, 7.0]), np.array([3.0, 0.8, 1.5])][: len(kinds) - 1]
    return [
        *plain,
        Case(fn, ref, rows[1], smooth=False),
        Case(lambda x: fn(*held, x), lambda x: ref(*held, x), [f"{kinds[-1]}[2,3]"]),
    ]


SPECIAL = [
    *unary(tf.exp2, np.exp2),
    *unary(tf.erfc, sp.erfc),
    *unary(tf.erfcx, sp.erfcx),
    *unary(tf.erfinv, sp.erfinv, "f01"),
    *unary(tf.lgamma, sp.gammaln, "f+"),
    *unary(tf.digamma, sp.digamma, "f+"),
    Case(tf.lgamma, sp.gammaln, [np.array([-0.3, -1.4, -2.2, -7.7])]),
    Case(tf.digamma, sp.digamma, [np.array([-0.3, -1.4, -2.2, -7.7])]),
    Case(
        lambda x: tf.polygamma(tf.cast(ORDERS, x.dtype), x),
        lambda x: np.array(
            [float(sp.polygamma(int(n), v)) for n, v in zip(ORDERS, x, strict=True)], x.dtype
        ),
        ["f+[4]"],
    ),
    integers(
        tf.polygamma,
        lambda n, x: sp.polygamma(n.astype(int), x).astype(x.dtype),
        ORDERS,
        "f+[4]",
        bad=[INTS, Bad(ShapeError, ["f[2]", "f[3]"])],
    ),
    *by_last(tf.gammainc, sp.gammainc, "f+", "f+"),
    *by_last(tf.gammaincc, sp.gammaincc, "f+", "f+"),
    *by_last(tf.betainc, sp.betainc, "f+", "f+", "f01"),
    *unary(tf.i0, sp.i0),
    *unary(tf.i1, sp.i1),
    *unary(tf.i0e, sp.i0e),
    *unary(tf.i1e, sp.i1e),
    Case(tf.i1, sp.i1, [np.array([0.0, 9.0, -12.0])]),
    Case(tf.i1e, sp.i1e, [np.array([9.0, -12.0])]),
    *unary(tf.logit, sp.logit, "f01"),
    *unary(tf.sinc, np.sinc),
    Case(tf.sinc, np.sinc, [np.array([0.0, 0.1, -0.2, 0.25, 1.0, 4.5])]),
    *binary(tf.xlogy, sp.xlogy, ("f", "f+"), bad=[INTS]),
    *binary(tf.xlog1py, sp.xlog1py, ("f", "f+"), bad=[INTS]),
]
