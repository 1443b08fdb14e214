"""Rows of the operations on matrices. Inputs are made symmetric, definite or regular on the way in,
so that any sample fits and differences stay inside what the operation is defined for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg as sl

import tapeflow as tf
from op_case import Bad, Case, integers
from tapeflow.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError
from tapeflow.ops.linalg_det import _cofactor_slope, _cofactors

WRONG = [
    Bad(DTypeError, ["i32[2,2]"], {}),
    Bad(DTypeError, ["bool[2,2]"], {}),
    Bad(DTypeError, [np.zeros((2, 2), np.float16)], {}),
    Bad(ShapeError, ["f[3]"], {}),
    Bad(ShapeError, ["f[]"], {}),
]
NOT_SQUARE = [*WRONG, Bad(ShapeError, ["f[2,3]"], {}), Bad(ShapeError, ["f[0,3]"], {})]


def _regular(x: Any) -> Any:
    """x with so much on the diagonal that it is far from singular, whatever it was."""
    return x + 4.0 * np.eye(x.shape[-1])


def _definite(x: Any) -> Any:
    return x @ x.mT + np.eye(x.shape[-1])


def _spread(x: Any) -> Any:
    """x with singular values, or of a symmetric x eigenvalues, that differ."""
    n, m = x.shape[-2:]
    return 0.3 * x + np.eye(n, m) * np.arange(1.0, m + 1)


def on(
    prepare: Callable[[Any], Any],
    fn: Any,
    ref: Any,
    shapes: Sequence[tuple[int, ...]] = ((3, 3), (2, 3, 3), (1, 1), (0, 0), (0, 2, 2)),
    bad: Sequence[Bad] = NOT_SQUARE,
    name: str = "",
    **kwargs: Any,
) -> list[Case]:
    """Rows of `fn` on matrices that `prepare` makes of any."""
    random = np.random.default_rng(0)
    return [
        Case(
            fn,
            ref,
            [prepare(random.uniform(-2.0, 2.0, shape))],
            kwargs,
            bad=[Bad(b.error, b.inputs, kwargs | (b.kwargs or {})) for b in bad if not i],
            name=name,
        )
        for i, shape in enumerate(shapes)
    ]


def _each(function: Callable[[Any], Any], x: Any) -> Any:
    """What the function gives of each matrix of a stack."""
    results = [function(x[i]) for i in np.ndindex(x.shape[:-2])]
    return np.array(results, x.dtype).reshape(x.shape)


def _part(of: Any, i: int) -> Callable[..., Any]:
    """One of the tensors that an operation gives."""
    return lambda *xs, **kwargs: of(*xs, **kwargs)[i]


def _squared(of: Any, i: int) -> Callable[..., Any]:
    """One of them without the signs that LAPACK happens to give its columns."""
    return lambda *xs, **kwargs: of(*xs, **kwargs)[i] ** 2


SYSTEM = [
    Bad(ShapeError, ["f[2,3]", "f[2]"]),
    Bad(ShapeError, ["f[3,3]", "f[2]"]),
    Bad(ShapeError, ["f[3,3]", "f[2,3]"]),
    Bad(ShapeError, ["f[3,3]", "f[]"]),
    Bad(ShapeError, ["f[3]", "f[3]"]),
    Bad(ShapeError, ["f[2,3,3]", "f[3,3,1]"]),
    Bad(DTypeError, ["i32[3,3]", "i32[3]"]),
    Bad(DTypeError, ["f[3,3]", "i32[3]"]),
]


def systems(fn: Any, ref: Any, name: str = "") -> list[Case]:
    random = np.random.default_rng(0)
    shapes = [
        ((3, 3), "f[3]"),
        ((3, 3), "f[3,2]"),
        ((2, 3, 3), "f[3,1]"),
        ((3, 3), "f[2,3,2]"),
        ((2, 3, 3), "f[2,1,3,2]"),
        ((2, 3, 3), "f[2,2,3,1]"),
        ((2, 1, 2, 2), "f[3,2,1]"),
        ((0, 0), "f[0,2]"),
        ((0, 2, 2), "f[2,1]"),
        ((2, 2), "f[2,0]"),
    ]
    return [
        Case(
            fn,
            ref,
            [_regular(random.uniform(-2.0, 2.0, shape)), b],
            bad=SYSTEM if not i else (),
            name=name,
        )
        for i, (shape, b) in enumerate(shapes)
    ]


def _solved(a: Any, b: Any) -> Any:
    return np.linalg.solve(a, b)


SOLVING = [
    *systems(tf.linalg.solve, _solved),
    *systems(tf.linalg.triangular_solve, lambda a, b: _solved(np.tril(a), b)),
    *systems(
        lambda a, b: tf.linalg.triangular_solve(a, b, lower=False),
        lambda a, b: _solved(np.triu(a), b),
        "triangular_solve",
    )[:3],
    *systems(
        lambda a, b: tf.linalg.triangular_solve(a, b, adjoint=True),
        lambda a, b: _solved(np.tril(a).mT, b),
        "triangular_solve",
    )[:3],
    *systems(
        lambda a, b: tf.linalg.triangular_solve(a, b, False, True, True),
        lambda a, b: _solved(np.triu(a, 1).mT + np.eye(a.shape[-1], dtype=a.dtype), b),
        "triangular_solve",
    )[:3],
    *on(_regular, tf.linalg.inv, np.linalg.inv),
    *on(_regular, tf.matrix_inverse, np.linalg.inv, ((2, 2),)),
    *on(
        _spread,
        tf.linalg.pinv,
        np.linalg.pinv,
        ((3, 2), (2, 2, 3), (2, 2), (0, 2), (0, 2, 2)),
        WRONG,
    ),
    *[
        Case(
            _part(tf.linalg.lstsq, i),
            _part(np.linalg.lstsq, i),
            ["f[4,2]", b],
            bad=[Bad(ShapeError, ["f[3]", "f[3]"]), Bad(ShapeError, ["f[3,2]", "f[2]"])],
            name="lstsq",
        )
        for b in ("f[4]", "f[4,3]")
        for i in (0, 1)
    ],
    Case(
        _part(tf.linalg.lstsq, 0),
        _part(np.linalg.lstsq, 0),
        ["f[2,4]", "f[2,1]"],
    ),
    integers(
        tf.linalg.matrix_rank,
        np.linalg.matrix_rank,
        np.array([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]),
        bad=WRONG,
    ),
    integers(tf.linalg.matrix_rank, lambda x: np.array(0), "f[0,2]"),
]


def _lu(x: Any) -> Any:
    """SciPy's, of which old versions take no stacks."""
    factors = [sl.lu(a) for a in x.reshape(-1, *x.shape[-2:])]
    return [np.array(f).reshape(*x.shape[:-2], *f[0].shape) for f in zip(*factors, strict=True)]


def _symmetric(x: Any) -> Any:
    return (x + x.mT) / 2


WIDE_AND_TALL = ((3, 2), (2, 2, 3), (2, 2), (0, 2))

FACTORS = [
    *on(_definite, tf.linalg.cholesky, lambda x: np.linalg.cholesky(_symmetric(x))),
    *on(
        _definite,
        tf.linalg.cholesky,
        lambda x, upper: np.linalg.cholesky(_symmetric(x)).mT,
        ((2, 2),),
        upper=True,
    ),
    *[
        case
        for i in (0, 1)
        for case in on(
            _spread,
            _part(tf.linalg.qr, i),
            _part(np.linalg.qr, i),
            (*WIDE_AND_TALL, (2, 0)),
            [*WRONG, Bad(ArgumentError, ["f[2,2]"], {"mode": "r"})],
            "qr",
        )
    ],
    *[
        Case(_part(tf.linalg.qr, i), _part(np.linalg.qr, i), [x], {"mode": "complete"},
             smooth=False)
        for i in (0, 1) for x in ("f[3,2]", "f[2,2,3]")
    ],
    *[
        case
        for i in (0, 1, 2)
        for case in on(
            _spread, _part(tf.linalg.lu, i), _part(_lu, i), ((3, 3), (2, 3, 2), (2, 4)), WRONG, "lu"
        )
    ],
]  # fmt: skip


def _eigh(x: Any) -> Any:
    return np.linalg.eigh(_symmetric(x))


SPECTRA = [
    *on(_spread, tf.linalg.eigvalsh, lambda x: _eigh(x)[0]),
    *on(_spread, _part(tf.linalg.eigh, 0), _part(_eigh, 0), name="eigh"),
    *on(_spread, _squared(tf.linalg.eigh, 1), _squared(_eigh, 1), name="eigh"),
    *on(_spread, tf.linalg.svdvals, np.linalg.svdvals, WIDE_AND_TALL, WRONG),
    *[
        case
        for i in range(3)
        for case in on(
            _spread,
            _squared(tf.linalg.svd, i),
            _squared(np.linalg.svd, i),
            WIDE_AND_TALL,
            WRONG,
            "svd",
            full_matrices=False,
        )
    ],
    Case(_squared(tf.linalg.svd, 0), _squared(np.linalg.svd, 0), ["f[3,2]"], smooth=False),
    Case(_part(tf.linalg.svd, 1), _part(np.linalg.svd, 1), ["f[3,3]"]),
]

DETERMINANTS = [
    *on(_regular, tf.linalg.det, np.linalg.det),
    Case(tf.linalg.det, np.linalg.det, [np.array([[1.0, 2.0], [2.0, 4.0]])]),
    *[
        case
        for i in (0, 1)
        for case in on(
            _regular, _part(tf.linalg.slogdet, i), _part(np.linalg.slogdet, i), name="slogdet"
        )
    ],
    Case(
        lambda x: _cofactors(x),
        lambda x: np.linalg.det(x) * np.linalg.inv(x).T,
        ["f[3,3]"],
    ),
    Case(
        lambda x, e: _cofactor_slope(x, e),
        lambda x, e: (
            np.linalg.det(x)
            * (
                np.trace(np.linalg.inv(x) @ e) * np.linalg.inv(x)
                - np.linalg.inv(x) @ e @ np.linalg.inv(x)
            ).T
        ),
        ["f[3,3]", "f[3,3]"],
    ),
]

FUNCTIONS = [
    *on(lambda x: 0.3 * x, tf.linalg.expm, partial(_each, sl.expm)),
    *on(
        _regular,
        tf.linalg.matrix_power,
        np.linalg.matrix_power,
        ((2, 2, 2), (0, 0)),
        n=5,
    ),
    *on(_regular, tf.linalg.matrix_power, np.linalg.matrix_power, ((2, 2),), n=-3),
    *on(_regular, tf.linalg.matrix_power, np.linalg.matrix_power, ((2, 2),), n=0),
    *on(_regular, tf.linalg.matrix_power, np.linalg.matrix_power, ((2, 2),), n=1),
    Case(
        lambda *xs: tf.linalg.multi_dot(xs),
        lambda *xs: np.linalg.multi_dot(xs),
        ["f[4]", "f[4,2]", "f[2,5]", "f[5,3]"],
        bad=[
            Bad(ArgumentError, ["f[2,2]"]),
            Bad(ShapeError, ["f[2,2]", "f[2,2,2]", "f[2,2]"]),
            Bad(ShapeError, ["f[]", "f[2,2]"]),
        ],
        name="multi_dot",
    ),
    Case(
        lambda *xs: tf.linalg.multi_dot(xs),
        lambda *xs: np.linalg.multi_dot(xs),
        ["f[2,3]", "f[3,4]", "f[4]"],
    ),
    Case(lambda a, b: tf.linalg.multi_dot([a, b]), lambda a, b: a @ b, ["f[3]", "f[3]"]),
]


def _cond(x: Any, p: Any) -> Any:
    return np.array([np.linalg.cond(a, p) for a in x], x.dtype)


NORMS = [
    *[
        Case(
            tf.linalg.vector_norm,
            np.linalg.vector_norm,
            [shape],
            {"ord": ord, **kwargs},
            name="vector_norm",
        )
        for ord in (2, 1, 3, 0.5, -1, -2.5, np.inf, -np.inf)
        for shape, kwargs in [("f[2,3]", {}), ("f[2,3,2]", {"axis": (0, 2), "keepdims": True})]
    ],
    Case(
        tf.linalg.vector_norm,
        np.linalg.vector_norm,
        ["f[2,3]"],
        {"axis": 1},
        bad=[
            Bad(DTypeError, ["i32[2,3]"]),
            Bad(OutOfRangeError, ["f[3]"]),
            Bad(ArgumentError, ["f[2,3]"], {"ord": "fro"}),
            Bad(ShapeError, ["f[0]"], {"ord": np.inf}),
            Bad(ArgumentError, ["f[2,3]"], {"axis": (0, 0)}),
        ],
    ),
    Case(tf.linalg.vector_norm, np.linalg.vector_norm, ["f[]"]),
    Case(tf.linalg.vector_norm, np.linalg.vector_norm, ["f[0,2]"], {"axis": 0}),
    Case(tf.linalg.vector_norm, np.linalg.vector_norm, ["f[0]"], {"ord": 3}),
    Case(
        tf.linalg.vector_norm,
        np.linalg.vector_norm,
        [np.array([0.0, 3.0, 0.0])],
        {"ord": 0},
        smooth=False,
    ),
    *[
        Case(
            tf.linalg.matrix_norm,
            np.linalg.matrix_norm,
            ["f[2,3,2]"],
            {"ord": ord, "keepdims": ord == 2},
            name="matrix_norm",
        )
        for ord in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)
    ],
    Case(
        tf.linalg.matrix_norm,
        np.linalg.matrix_norm,
        ["f[3,3]"],
        bad=[
            Bad(DTypeError, ["i32[2,3]"]),
            Bad(ShapeError, ["f[3]"]),
            Bad(ArgumentError, ["f[2,3]"], {"ord": 3}),
            Bad(ShapeError, ["f[2,0]"], {"ord": 2}),
            Bad(ShapeError, ["f[2,0]"], {"ord": 1}),
        ],
    ),
    Case(tf.linalg.matrix_norm, np.linalg.matrix_norm, ["f[0,2]"], {"ord": "nuc"}),
    *[
        Case(tf.linalg.norm, np.linalg.norm, [shape], kwargs, name="norm")
        for shape, kwargs in [
            ("f[2,3,2]", {}),
            ("f[2,3,2]", {"keepdims": True}),
            ("f[3]", {"ord": 3}),
            ("f[2,3]", {"ord": "nuc"}),
            ("f[2,3,2]", {"ord": 1, "axis": 1}),
            ("f[2,3,2]", {"ord": 1, "axis": (2, 0), "keepdims": True}),
            ("f[2,3,2]", {"axis": (0, 1)}),
        ]
    ],
    Case(
        tf.linalg.norm,
        np.linalg.norm,
        ["f[2,3]"],
        {"axis": -1},
        bad=[
            Bad(DTypeError, ["i32[2,3]"]),
            Bad(OutOfRangeError, ["f[2,3]"], {"axis": 2}),
            Bad(ShapeError, ["f[2,3]"], {"axis": (0, 0)}),
            Bad(ShapeError, ["f[2,3,1]"], {"ord": 2}),
            Bad(ArgumentError, ["f[2,3]"], {"ord": "max"}),
        ],
    ),
    *[
        Case(
            tf.linalg.cond,
            _cond,
            ["f[2,2,2]"],
            {"p": p},
            bad=[Bad(ShapeError, ["f[2]"]), Bad(DTypeError, ["i32[2,2]"])],
        )
        for p in (None, 2, -2, 1, "fro", np.inf)
    ],
]

ARRANGED = [
    Case(
        tf.diagonal,
        np.diagonal,
        ["f[2,3,4]"],
        {"offset": 1, "axis1": 2, "axis2": 0},
        bad=[
            Bad(ShapeError, ["f[3]"], {}),
            Bad(OutOfRangeError, ["f[3,2]"], {"axis2": 2}),
            Bad(ArgumentError, ["f[3,2]"], {"axis1": 1}),
            Bad(ArgumentError, ["f[3,2]"], {"offset": 0.5}),
        ],
    ),
    *[
        Case(tf.diagonal, np.diagonal, [shape], {"offset": offset})
        for shape, offset in [("f[3,3]", 0), ("f[3,4]", -2), ("f[4,3]", 2), ("f[3,3]", 3)]
    ],
    Case(tf.diagonal, np.diagonal, ["f[0,3]"]),
    Case(
        tf.linalg.diagonal,
        np.linalg.diagonal,
        ["i32[2,3,4]"],
        {"offset": -1},
        bad=[Bad(ShapeError, ["f[3]"], {})],
        name="diagonal",
    ),
    Case(tf.trace, np.trace, ["f[2,3,2]"], {"offset": 1}, bad=[Bad(ShapeError, ["f[3]"])]),
    Case(tf.trace, np.trace, ["f[2,3,2]"], {"axis1": 0, "axis2": 2}),
    integers(tf.trace, np.trace, "i8[3,3]"),
    Case(
        tf.linalg.trace,
        np.linalg.trace,
        ["f[2,3,4]"],
        {"offset": 2},
        bad=[Bad(ShapeError, ["f[]"])],
        name="trace",
    ),
    integers(
        tf.linalg.trace, np.linalg.trace, "i32[2,2]", kwargs={"dtype": np.int16}, name="trace"
    ),
    *[
        Case(tf.diag, np.diag, [shape], {"k": k})
        for shape, k in [("f[3]", 0), ("f[2]", -1), ("f[2]", 2), ("f[0]", 0), ("f[3,2]", 1)]
    ],
    Case(
        tf.diag,
        np.diag,
        ["i32[3]"],
        bad=[
            Bad(ShapeError, ["f[]"]),
            Bad(ShapeError, ["f[2,2,2]"]),
            Bad(ArgumentError, ["f[2]"], {"k": "one"}),
        ],
    ),
    Case(
        tf.block_diag,
        sl.block_diag,
        ["f[2,3]", "f[2]", "f[]", "f[0,2]"],
        bad=[
            Bad(ShapeError, ["f[2,2,2]"]),
            Bad(DTypeError, ["f[2]", "i32[2]"]),
        ],
    ),
    *[
        Case(tf.kron, np.kron, [a, b])
        for a, b in [
            ["f[2]", "f[3]"],
            ["f[2,1,3]", "f[2]"],
            ["f[]", "f[2,2]"],
            ["f[0,2]", "f[2,2]"],
        ]
    ],
    Case(tf.kron, np.kron, ["f[2,3]", "f[3,2]"], bad=[Bad(DTypeError, ["f[2]", "i32[2]"])]),
    integers(tf.kron, np.kron, "i32[2,2]", "i32[2]"),
    Case(
        tf.linalg.cross,
        np.linalg.cross,
        ["f[2,3]", "f[2,3]"],
        bad=[
            Bad(ShapeError, ["f[2]", "f[2]"]),
            Bad(ShapeError, ["f[2,3]", "f[2,4]"]),
            Bad(OutOfRangeError, ["f[2,3]", "f[3]"], {"axis": 1}),
            Bad(DTypeError, ["bool[3]", "bool[3]"]),
        ],
    ),
    Case(
        tf.linalg.cross,
        lambda x, y, axis: np.linalg.cross(np.broadcast_to(x, (3, 2)), y, axis=0),
        ["f[3,1]", "f[3,2]"],
        {"axis": -2},
    ),
    integers(tf.linalg.cross, np.linalg.cross, "i32[3]", "i32[3]"),
]

LINALG = [
    *SOLVING,
    *FACTORS,
    *SPECTRA,
    *DETERMINANTS,
    *FUNCTIONS,
    *NORMS,
    *ARRANGED,
]
