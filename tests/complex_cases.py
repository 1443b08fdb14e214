"""Rows for complex numbers: what op_cases.py says of real ones holds for them too."""

from __future__ import annotations

import numpy as np

import tapeflow as tf
from op_case import Bad, Case, binary, unary
from tapeflow.errors import DTypeError

REFUSED = [Bad(DTypeError, ["bool[2]"])]
REAL_ONLY = [Bad(DTypeError, ["c[2]"])]
TRUTH = [Bad(DTypeError, ["i32[2]"]), Bad(DTypeError, ["bool[2]"])]


def _apart_from_the_cuts(fn, ref):
    """Rows away from the lines along which a function jumps: the real and the imaginary axis."""
    z = np.array([[0.7 + 0.4j, -0.6 + 1.1j], [-1.3 - 0.8j, 1.6 - 0.5j]])
    return [Case(fn, ref, [z]), Case(fn, ref, [np.array(0.3 - 0.9j)]), Case(fn, ref, ["c[0,3]"])]


ELEMENTWISE = [
    *binary(tf.add, np.add, ("c", "c")),
    *binary(tf.subtract, np.subtract, ("c", "c")),
    *binary(tf.multiply, np.multiply, ("c", "c")),
    *binary(tf.divide, np.divide, ("c", "c")),
    *binary(tf.add, np.add, ("f", "c"))[:2],
    *binary(tf.multiply, np.multiply, ("c", "f"))[:2],
    *binary(tf.pow, np.power, ("f+", "c"))[:2],
    Case(tf.pow, np.power, [np.array([0.7 + 0.4j, -0.6 + 1.1j]), "c[2]"]),
    Case(lambda z: z**2, np.square, ["c[3]"]),
    Case(tf.convolve, np.convolve, ["c[5]", "c[2]"]),
    Case(lambda z: z**-1.5, lambda z: z**-1.5, [np.array([0.7 + 0.4j, -0.6 + 1.1j])]),
    Case(lambda x: x * 2j + 1, lambda x: (x * 2j + 1).astype(f"c{2 * x.itemsize}"), ["f[3]"]),
    Case(lambda z: (z - 1j) / 2, lambda z: (z - 1j) / 2, ["c[3]"]),
    Case(lambda z: 2.0 / z, lambda z: 2 / z, ["c[3]"]),
    *unary(tf.negative, np.negative, "c", bad=REFUSED),
    *unary(tf.positive, np.positive, "c", bad=REFUSED),
    *unary(tf.square, np.square, "c", bad=REFUSED),
    *unary(tf.reciprocal, lambda z: 1 / z, "c", bad=TRUTH),
    *unary(tf.abs, np.abs, "c", bad=REFUSED),
    *unary(tf.sign, np.sign, "c", bad=REFUSED),
    *unary(tf.angle, np.angle, "c", bad=TRUTH),
    *unary(tf.real, np.real, "c", bad=REFUSED),
    *unary(tf.imag, np.imag, "c", bad=REFUSED),
    *unary(tf.conj, np.conj, "c", bad=REFUSED),
    Case(tf.real, np.real, ["f[3]"]),
    Case(tf.imag, np.imag, ["f[3]"], smooth=False),
    Case(tf.conj, np.conj, ["f[3]"]),
    Case(tf.real, np.real, ["i32[3]"], smooth=False),
    *unary(tf.round, np.round, "c", bad=REFUSED, smooth=False),
    *unary(tf.exp, np.exp, "c", bad=TRUTH),
    *unary(tf.expm1, np.expm1, "c", bad=TRUTH),
    *unary(tf.sin, np.sin, "c", bad=TRUTH),
    *unary(tf.cos, np.cos, "c", bad=TRUTH),
    *unary(tf.tan, np.tan, "c", bad=TRUTH),
    *unary(tf.sinh, np.sinh, "c", bad=TRUTH),
    *unary(tf.cosh, np.cosh, "c", bad=TRUTH),
    *unary(tf.tanh, np.tanh, "c", bad=TRUTH),
    *_apart_from_the_cuts(tf.sqrt, np.sqrt),
    *_apart_from_the_cuts(tf.rsqrt, lambda z: 1 / np.sqrt(z)),
    *_apart_from_the_cuts(tf.log, np.log),
    *_apart_from_the_cuts(tf.log1p, np.log1p),
    *_apart_from_the_cuts(tf.log2, np.log2),
    *_apart_from_the_cuts(tf.log10, np.log10),
    *_apart_from_the_cuts(tf.asin, np.arcsin),
    *_apart_from_the_cuts(tf.acos, np.arccos),
    *_apart_from_the_cuts(tf.atan, np.arctan),
    *_apart_from_the_cuts(tf.asinh, np.arcsinh),
    *_apart_from_the_cuts(tf.acosh, np.arccosh),
    *_apart_from_the_cuts(tf.atanh, np.arctanh),
    Case(tf.where, np.where, ["bool[2,3]", "c[2,3]", "c[3]"]),
    Case(tf.where, np.where, ["bool[3]", "c[3]", "f[3]"]),
    Case(tf.stop_gradient, lambda z: z, ["c[3]"], smooth=False),
    Case(lambda x: tf.cast(x, "complex128"), lambda x: x.astype("c16"), ["f[3]"]),
    Case(lambda z: tf.cast(z, "complex128"), lambda z: z.astype("c16"), ["c[3]"]),
    Case(lambda i: tf.cast(i, "complex64"), lambda i: i.astype("c8"), ["i32[3]"], smooth=False),
    Case(
        tf.cast,
        lambda z, dtype: z.astype(dtype),
        ["c[3]"],
        {"dtype": "bool"},
        smooth=False,
        bad=[Bad(DTypeError, ["c[2]"], {"dtype": "float32"})],
    ),
]

LOGIC = [
    *binary(tf.equal, np.equal, ("c", "c"), smooth=False)[:3],
    *binary(tf.not_equal, np.not_equal, ("c", "c"), smooth=False)[:3],
    Case(tf.equal, np.equal, [np.array([1 + 1j, 2]), np.array([1 + 1j, 2j])], smooth=False),
    *(
        Case(fn, ref, [np.array([1 + 1j, complex(np.inf, 0), complex(0, np.nan)])], smooth=False)
        for fn, ref in [(tf.isnan, np.isnan), (tf.isinf, np.isinf), (tf.isfinite, np.isfinite)]
    ),
    *(
        Case(fn, ref, ["f[2]", "f[2]"], smooth=False, bad=[Bad(DTypeError, ["c[2]", "c[2]"])])
        for fn, ref in [
            (tf.less, np.less),
            (tf.greater_equal, np.greater_equal),
            (tf.maximum, np.maximum),
            (tf.floor_divide, np.floor_divide),
            (tf.atan2, np.arctan2),
        ]
    ),
    *(
        Case(fn, ref, ["f[2]"], smooth=False, bad=REAL_ONLY)
        for fn, ref in [(tf.floor, np.floor), (tf.max, np.max), (tf.var, np.var)]
    ),
]

PRODUCTS = [
    Case(tf.sum, np.sum, ["c[2,3]"]),
    Case(tf.sum, np.sum, ["c[2,3]"], {"axis": 1}),
    Case(tf.mean, np.mean, ["c[2,3]"], {"axis": 0}),
    Case(tf.prod, np.prod, ["c[2,3]"], {"axis": 1}),
    Case(tf.cumulative_sum, np.cumulative_sum, ["c[2,3]"], {"axis": 1}),
    Case(tf.cumulative_prod, np.cumulative_prod, ["c[3]"]),
    Case(tf.any, np.any, ["c[3]"], smooth=False),
    Case(tf.count_nonzero, np.count_nonzero, [np.array([0, 1j, 2])], smooth=False),
    Case(tf.matmul, np.matmul, ["c[2,3]", "c[3,4]"]),
    Case(tf.matmul, np.matmul, ["c[2,2,3]", "f[3]"]),
    Case(tf.tensordot, np.tensordot, ["c[2,3,4]", "c[3,4,2]"]),
    Case(tf.vecdot, lambda a, b: np.sum(a.conj() * b, -1), ["c[2,3]", "c[3]"]),
    Case(tf.outer, np.outer, ["c[2]", "c[3]"]),
    Case(lambda z: z.mT, lambda z: np.swapaxes(z, -1, -2), ["c[2,3]"]),
    Case(lambda z: tf.einsum("ij,kj->ik", z, z), lambda z: z @ z.T, ["c[2,3]"]),
    Case(lambda z: z[::-1, 1:], lambda z: z[::-1, 1:], ["c[3,3]"]),
    Case(lambda z: z[np.array([2, 0, 2])], lambda z: z[[2, 0, 2]], ["c[3,2]"]),
    Case(lambda z: tf.concat([z, z * 2j]), lambda z: np.concatenate([z, z * 2j]), ["c[2]"]),
    Case(lambda z: tf.pad(z, 1, 1j), lambda z: np.pad(z, 1, constant_values=1j), ["c[2]"]),
    Case(lambda z: tf.broadcast_to(z, (2, 3)), lambda z: np.broadcast_to(z, (2, 3)), ["c[3]"]),
]

COMPLEX = [*ELEMENTWISE, *LOGIC, *PRODUCTS]
