"""Convolutions whose windows are one cell, as one matrix product over the places of all images."""

from __future__ import annotations

import itertools
import math

from tapeflow.jit import contract
from tapeflow.jit.conv_problem import Ints, Memory, Problem
from tapeflow.jit.kernel import Launch
from tapeflow_kernels.cpu import choice, contraction
from tapeflow_kernels.cpu.contraction import Extents

# Tiles of a product that are enough to share out. Fewer filters are summed up in parts instead.
_FEWEST_TILES = 8


def lower(name: str, problem: Problem) -> list[Launch] | None:
    """The launches of a convolution, or of an adjoint of one, `name`; None where it is no product,
    or better none."""
    return _of_filters(problem) if name == "conv_filter" else _of_images(name, problem)


def _of_images(name: str, problem: Problem) -> list[Launch] | None:
    """The launches of a convolution or of its adjoint in the images, `name`; None unless the places
    of all images are evenly apart."""
    g = problem.convolution
    extents = (g.images, *g.out)
    images = (problem.a, *problem.operands, *problem.stores)
    apart = {m: _evenly(m.strides[:4], extents) for m in images}
    if None in apart.values():
        return None
    c, o = problem.b.strides[3:]
    b, k, n = ((c, o), g.channels, g.columns) if name == "conv" else ((o, c), g.columns, g.channels)

    def rows(m: Memory) -> Ints:
        return (apart[m] or 0, m.column)

    factors = rows(problem.a), b
    sizes = Extents(math.prod(extents), (k,)), n
    given = problem.factors(g)
    made = contract.of_factors(
        *(given.memory, factors, problem.epilogue(rows), sizes, given.precision)
    )
    places = problem.pointers(problem.a.start, problem.b.start)
    return contract.launches(made, sizes[0], places)


def _of_filters(problem: Problem) -> list[Launch] | None:
    """The launches of the adjoint in the filters, which sums over all places; None unless these are
    evenly apart, and there are enough tiles to share out."""
    g = problem.convolution
    extents = (g.images, *g.out)
    a, b = (_evenly(m.strides[:4], extents) for m in (problem.a, problem.b))
    given = problem.factors(g)
    is_exact = given.memory in ("float32", "float64") and given.precision == "float32"
    if a is None or b is None or problem.a.column != 1 or not is_exact:
        return None
    epilogue = problem.epilogue(lambda m: m.strides[3:])
    factors = (1, a), (b, problem.b.column)
    sizes = Extents(g.channels, (math.prod(extents),)), g.columns
    made = contract.of_factors(given.memory, factors, epilogue, sizes)
    if contraction.items(choice.plan(made, sizes[0]), sizes[0]) < _FEWEST_TILES:
        return None
    return contract.launches(made, sizes[0], problem.pointers(problem.a.start, problem.b.start))


def _evenly(strides: Ints, extents: Ints) -> int | None:
    """The stride of all axes as one, where they are evenly apart."""
    axes = [(s, n) for s, n in zip(strides, extents, strict=True) if n != 1]
    for (outer, _), (inner, n) in itertools.pairwise(axes):
        if outer != inner * n:
            return None
    return axes[-1][0] if axes else 0
