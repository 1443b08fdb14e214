"""Rows for the Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

import tapeflow as tf
from op_case import Bad, Case
from tapeflow.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError

_FFT = tf.fft
_BAD = [
    Bad(DTypeError, ["i32[4]"], {}),
    Bad(DTypeError, ["bool[4]"], {}),
    Bad(OutOfRangeError, ["c[4]"], {"axis": 1}),
    Bad(OutOfRangeError, ["c[]"], {}),
    Bad(ShapeError, ["c[2,0]"], {}),
    Bad(ShapeError, ["c[4]"], {"n": 0}),
    Bad(ArgumentError, ["c[4]"], {"norm": "none"}),
]
_REAL_BAD = [Bad(DTypeError, ["c[4]"], {}), Bad(DTypeError, ["i32[4]"], {})]
_MANY_BAD = [
    Bad(ArgumentError, ["c[2,3]"], {"axes": (0, 0)}),
    Bad(ArgumentError, ["c[2,3]"], {"s": (2,), "axes": (0, 1)}),
    Bad(OutOfRangeError, ["c[2,3]"], {"axes": (2,)}),
]


def _one(fn: Any, ref: Any, kind: str, bad: list[Bad]) -> list[Case]:
    """Along the last axis and another, of even and odd sizes, cut and filled, in every scale."""
    rows: list[tuple[str, dict[str, Any]]] = [
        ("2,6", {}),
        ("5", {"norm": "ortho"}),
        ("2,5", {"n": 3, "norm": "forward"}),
        ("4,2", {"n": 7, "axis": 0}),
        ("4,2", {"n": 1, "axis": 0}),
        ("3", {"n": 6}),
    ]
    return [
        Case(fn, ref, [f"{kind}[{shape}]"], kwargs, bad=bad if not i else ())
        for i, (shape, kwargs) in enumerate(rows)
    ]


def _many(fn: Any, ref: Any, kind: str) -> list[Case]:
    """Over all axes, some in another order, cut and filled, in every scale."""
    rows: list[tuple[str, dict[str, Any]]] = [
        ("2,3,4", {"axes": (2, 0)}),
        ("3,4", {"axes": (-1, 0), "s": (5, 2), "norm": "ortho"}),
        ("3,4", {"norm": "forward"}),
        ("6", {}),
    ]
    return [
        Case(fn, ref, [f"{kind}[{shape}]"], kwargs, bad=_MANY_BAD if kind == "c" and not i else ())
        for i, (shape, kwargs) in enumerate(rows)
    ]


FFT = [
    *_one(_FFT.fft, np.fft.fft, "c", _BAD),
    *_one(_FFT.ifft, np.fft.ifft, "c", _BAD),
    *_one(_FFT.rfft, np.fft.rfft, "f", _REAL_BAD),
    *_one(_FFT.irfft, np.fft.irfft, "c", _BAD),
    *_one(_FFT.hfft, np.fft.hfft, "c", _BAD),
    *_one(_FFT.ihfft, np.fft.ihfft, "f", _REAL_BAD),
    *_many(_FFT.fftn, np.fft.fftn, "c"),
    *_many(_FFT.ifftn, np.fft.ifftn, "c"),
    *_many(_FFT.rfftn, np.fft.rfftn, "f"),
    *_many(_FFT.irfftn, np.fft.irfftn, "c"),
    Case(_FFT.fft, np.fft.fft, ["f[4]"]),
    *(
        Case(fn, ref, [shape], kwargs)
        for fn, ref in [(_FFT.fftshift, np.fft.fftshift), (_FFT.ifftshift, np.fft.ifftshift)]
        for shape, kwargs in [("f[4,3]", {}), ("c[5,2]", {"axes": 0}), ("f[3,4]", {"axes": (-1,)})]
    ),
]
