"""The loops of `dense`, over arrays of `count` real matrices; strides are in elements."""

from __future__ import annotations

from typing import Any

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.scalars import absolute, add_unordered


@inlined
def _largest(x: Any, start: int, stop: int, step: int) -> Any:
    """Where the first of the largest magnitudes of x[start:stop:step] stands."""
    at = start
    for i in range(start, stop, step):
        if absolute(x[i]) > absolute(x[at]):
            at = i
    return at


def eliminate(
    count: int, m: int, k: int, n: int, done: int, panel: Any, work: Any, order: Any
) -> None:
    """Replace panel[count, m, k] by its factors, l below the diagonal. As its rows are exchanged,
    so are the last m of work[count, done + m, n] and of order[count, done + m]."""
    steps = k if k < m else m
    for item in range(count * steps):
        matrix, j = item // steps, item % steps
        top, stop = (matrix * m + j) * k, (matrix + 1) * m * k
        low = _largest(panel, top + j, stop, k) - j
        if low != top:
            here = matrix * (done + m) + done + j
            there = here + (low - top) // k
            for p in range(k):
                panel[top + p], panel[low + p] = panel[low + p], panel[top + p]
            for p in range(n):
                above, below = here * n + p, there * n + p
                work[above], work[below] = work[below], work[above]
            order[here], order[there] = order[there], order[here]
        pivot = panel[top + j]
        for row in range(top + k, stop, k):
            # all below a pivot of 0 is 0
            c = panel[row + j] / pivot if pivot != 0 else panel[row + j]
            panel[row + j] = c
            for p in range(j + 1, k):
                panel[row + p] -= c * panel[top + p]


def substitute(
    count: int, n: int, k: int, a_matrix: int, a_row: int, a_column: int, x_matrix: int, x_row: int,
    a: Any, x: Any,
) -> None:  # fmt: skip
    """Replace x[count, n, k] by the solution of a @ y = x for lower triangles a[count, n, n]."""
    for item in range(count * n):
        matrix, i = item // n, item % n
        first = matrix * x_matrix
        at, row = first + i * x_row, matrix * a_matrix + i * a_row
        for j in range(i):
            c, other = a[row + j * a_column], first + j * x_row
            for p in range(k):
                x[at + p] -= c * x[other + p]
        pivot = a[row + i * a_column]
        for p in range(k):
            x[at + p] /= pivot


def substitute_one(
    count: int, n: int, a_matrix: int, a_row: int, a_column: int, x_matrix: int, x_row: int,
    a: Any, x: Any,
) -> None:  # fmt: skip
    """substitute() for x[count, n]: by products of rows, which need not go through memory."""
    for item in range(count * n):
        matrix, i = item // n, item % n
        first, row = matrix * x_matrix, matrix * a_matrix + i * a_row
        known = type(x[first])(0)
        for j in range(i):
            known = add_unordered(known, a[row + j * a_column] * x[first + j * x_row])
        at = first + i * x_row
        x[at] = (x[at] - known) / a[row + i * a_column]
