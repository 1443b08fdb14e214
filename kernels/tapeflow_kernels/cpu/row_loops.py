"""The loops of `rows`: from x[rows, n] to y[rows, n], both as they lie in memory."""

from __future__ import annotations

from typing import Any

from numba import float64

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.scalars import add_unordered, isinf, maximum, minimum
from tapeflow_kernels.cpu.vecmath.bits import root
from tapeflow_kernels.cpu.vecmath.exponential import exp
from tapeflow_kernels.cpu.vecmath.logarithm import log

_RUN = 1024  # elements that are added up in their own dtype, as a vector goes


def cumsum(rows: int, n: int, x: Any, y: Any) -> None:
    """The sum of the elements up to each one, carried in float64."""
    for row in range(rows):
        total = float64(0)
        for i in range(row * n, row * n + n):
            total += float64(x[i])
            y[i] = total


@inlined
def _shift(x: Any, start: int, stop: int) -> Any:
    """What a row is shifted by: its largest element, if that is finite."""
    most = x[start]
    for i in range(start, stop):
        most = maximum(most, x[i])
    return type(most)(0) if isinf(most) else most


@inlined
def _exponentials(x: Any, y: Any, start: int, stop: int) -> Any:
    """Write exp(x - shift) of a row to y; gives the shift, and their sum in float64."""
    most = _shift(x, start, stop)
    total = float64(0)
    for first in range(start, stop, _RUN):
        part = type(most)(0)
        for i in range(first, minimum(first + _RUN, stop)):
            e = exp(x[i] - most)
            y[i] = e
            part = add_unordered(part, e)
        total += float64(part)
    return most, total


def softmax(rows: int, n: int, x: Any, y: Any) -> None:
    """exp(x) / sum(exp(x)), without overflow."""
    for at in range(0, rows * n, n):
        most, total = _exponentials(x, y, at, at + n)
        whole = type(most)(total)
        for i in range(at, at + n):
            y[i] = y[i] / whole


def log_softmax(rows: int, n: int, x: Any, y: Any) -> None:
    """x - log(sum(exp(x))), without overflow."""
    for at in range(0, rows * n, n):
        most, total = _exponentials(x, y, at, at + n)
        whole = log(type(most)(total))
        for i in range(at, at + n):
            y[i] = (x[i] - most) - whole


@inlined
def _mean(x: Any, start: int, stop: int) -> Any:
    total = float64(0)
    for first in range(start, stop, _RUN):
        part = type(x[start])(0)
        for i in range(first, minimum(first + _RUN, stop)):
            part = add_unordered(part, x[i])
        total += float64(part)
    return type(x[start])(total / (stop - start))


@inlined
def _variance(x: Any, start: int, stop: int, center: Any) -> Any:
    """The mean square of what is left of x without its mean."""
    total = float64(0)
    for first in range(start, stop, _RUN):
        part = type(center)(0)
        for i in range(first, minimum(first + _RUN, stop)):
            part = add_unordered(part, (x[i] - center) * (x[i] - center))
        total += float64(part)
    return type(center)(total / (stop - start))


def standardize(rows: int, n: int, x: Any, epsilon: Any, y: Any) -> None:
    """(x - mean) / sqrt(variance + epsilon)."""
    for at in range(0, rows * n, n):
        center = _mean(x, at, at + n)
        spread = root(_variance(x, at, at + n, center) + type(center)(epsilon[0]))
        for i in range(at, at + n):
            y[i] = (x[i] - center) / spread
