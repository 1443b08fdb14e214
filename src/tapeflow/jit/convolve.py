"""Convolutions, their two adjoints, and what follows them element by element, as kernels.

All have three spatial axes here; those that an op has not have extent 1 and stride 0.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tapeflow.dtypes import DType
from tapeflow.graph import Node, Var
from tapeflow.jit import cache, contract, product
from tapeflow.jit.kernel import Launch, Layout, Pointer, Scratch
from tapeflow.jit.phase import Phase
from tapeflow.jit.product import Parts, triple
from tapeflow.ops.shape import contiguous
from tapeflow.primitive import Kernel
from tapeflow_kernels.cpu import filter as gradient
from tapeflow_kernels.cpu import filters, pairs, window, windows
from tapeflow_kernels.cpu.contraction import Extents, Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.cpu.geometry import Geometry, Shape, Triple
from tapeflow_kernels.cpu.pairs import EXACT, Way, pairs_of
from tapeflow_kernels.machine import host

Ints = tuple[int, ...]
_ONES, _ZEROS = (1, 1, 1), (0, 0, 0)


@dataclass(frozen=True)
class _Convolution:
    """A convolution of f[images, *size, groups * channels] into f[images, *out, groups * columns].

    before: cells of padding in front of each axis; below 0 where windows begin inside.
    """

    images: int
    size: Triple
    out: Triple
    geometry: Geometry
    before: Triple
    groups: int
    channels: int
    columns: int

    @staticmethod
    def of(node: Node[Var]) -> _Convolution:
        """That of a conv, or of the conv whose adjoint `node` is."""
        name, y = node.prim.name, node.outputs[0].shape
        a, b = (v.shape for v in node.inputs)
        x, w, out = {"conv": (a, b, y), "conv_input": (y, b, a), "conv_filter": (a, y, b)}[name]
        attrs = node.attrs
        groups, steps = attrs["groups"], (attrs["strides"], attrs["dilations"])
        return _Convolution(
            *(x[0], triple(x[1:-1], 1), triple(out[1:-1], 1)),
            Geometry(triple(w[:-2], 1), *(triple(step, 1) for step in steps)),
            triple([before for before, _ in attrs["padding"]], 0),
            *(groups, w[-2], w[-1] // groups),
        )

    @property
    def is_diagonal(self) -> bool:
        return self.groups > 1 and self.channels == self.columns == 1

    @property
    def is_pointwise(self) -> bool:
        """Whether each place is multiplied with the same matrix."""
        taps, strides = self.geometry.taps, self.geometry.strides
        alone = (taps, strides, self.before) == (_ONES, _ONES, _ZEROS)
        return alone and self.size == self.out and self.groups == 1

    @property
    def extents(self) -> tuple[Ints, Ints]:
        """Those of filters in panels: of reductions, and of groups."""
        taps = self.geometry.taps
        return (taps, ()) if self.is_diagonal else ((*taps, self.channels), (self.groups,))

    @property
    def flops(self) -> int:
        sums = self.groups * self.columns * math.prod(self.out) * self.images
        return 2 * sums * self.channels * math.prod(self.geometry.taps)

    def shape(self, source: _Memory, group: int) -> Shape:
        """What kernels know of it; a group of the source is `group` elements."""
        columns = self.groups if self.is_diagonal else self.columns
        extents = (self.groups, self.images, self.size, self.before, self.out)
        return Shape(*extents, columns, (group, *source.strides[:4]))


@dataclass(frozen=True)
class _Memory:
    """Where a value starts, and its element strides: (image, z, y, x, channel) or those of filters,
    (z, y, x, channel, column)."""

    start: Pointer
    strides: Ints
    dtype: DType

    @staticmethod
    def of(start: Pointer, strides: Ints, dtype: DType, *, is_filter: bool) -> _Memory:
        front = 0 if is_filter else 1
        missing = (0,) * (5 - len(strides))
        return _Memory(start, (*strides[:front], *missing, *strides[front:]), dtype)

    def moved(self, elements: int) -> Pointer:
        return replace(self.start, offset=self.start.offset + elements * self.dtype.itemsize)

    @property
    def column(self) -> int:
        return self.strides[-1]


Strides = Callable[[_Memory], Ints]


@dataclass(frozen=True)
class _Problem:
    """A node taken apart, with the memory of all that it reads and writes."""

    parts: Parts
    convolution: _Convolution
    a: _Memory
    b: _Memory
    operands: tuple[_Memory, ...]
    stores: tuple[_Memory, ...]
    any_size: bool

    @property
    def dtype(self) -> str:
        """What the factors are in memory."""
        return self.parts.of.inputs[0].dtype.name

    def epilogue(self, strides: Strides) -> Epilogue:
        """The epilogue with `strides(memory)` for each operand and store."""
        return Epilogue(
            tuple(
                (value, strides(m)) for value, m in zip(self.parts.stores, self.stores, strict=True)
            ),
            tuple(strides(m) for m in self.operands),
            self.parts.instructions,
            tuple(m.dtype.name for m in (*self.operands, *self.stores)),
        )

    def pointers(
        self, a: Pointer, b: Pointer, first: Callable[[_Memory], Pointer] = lambda m: m.start
    ) -> Pointers[Pointer]:
        return Pointers(a, b, tuple(map(first, self.operands)), tuple(map(first, self.stores)))


def is_convolution(node: Node[Var]) -> bool:
    """Whether `node` is a convolution or an adjoint of one, with or without what follows."""
    lowering = node.prim.lowering
    return isinstance(lowering, Kernel) and lowering.name == "convolution"


def flops_of(node: Node[Var]) -> int:
    """Floating-point operations of a convolution or adjoint, without what follows it."""
    return _Convolution.of(Parts.of_node(node).of).flops


def needs_copy(node: Node[Var], index: int, layout: Layout) -> bool:
    """Whether kernels cannot read this input where it lies: channels that are not side by side."""
    images = 2 if Parts.of_node(node).of.prim.name == "conv_filter" else 1
    return index < images and layout.strides[-1] != 1 and node.inputs[index].shape[-1] > 1


def lower(
    node: Node[Var],
    layouts: Mapping[Var, Layout],
    updated: Mapping[Var, Var],
    any_size: bool = False,
) -> list[Launch] | None:
    """The launches of a convolution; None if its patches take more stack than a thread has. With
    `any_size` by the code for images of all sizes, unless that for these is there already."""
    parts = Parts.of_node(node)
    name = parts.of.prim.name

    def read(v: Var, *, is_filter: bool) -> _Memory:
        layout = layouts[v]
        return _Memory.of(product.at(layout), layout.strides, v.dtype, is_filter=is_filter)

    whole = contiguous(node.outputs[0].shape)
    is_filter = name == "conv_filter"
    problem = _Problem(
        parts,
        _Convolution.of(parts.of),
        read(node.inputs[0], is_filter=False),
        read(node.inputs[1], is_filter=not is_filter),
        tuple(read(v, is_filter=is_filter) for v in parts.operands),
        tuple(
            _Memory.of(to, whole, v.dtype, is_filter=is_filter)
            for to, v in zip(product.outputs(node, updated), node.outputs, strict=True)
        ),
        any_size,
    )
    is_product = problem.convolution.is_pointwise and not is_filter
    if is_product and (found := _as_matrices(name, problem)):
        return found
    return {"conv": _convolve, "conv_input": _by_phases, "conv_filter": _filter}[name](problem)


# ---- forward


def _convolve(problem: _Problem) -> list[Launch] | None:
    g = problem.convolution
    z, y, x, c, o = problem.b.strides
    strides = (z, y, x, o) if g.is_diagonal else (g.columns * o, z, y, x, c, o)
    return _windows(problem, g, _Filters(problem.b.start, strides, 0))


@dataclass(frozen=True)
class _Filters:
    """Where filters start, their element strides as `window.packing_b` takes them, and which piece
    of scratch memory their panels go to."""

    start: Pointer
    strides: Ints
    scratch: int


def _windows(
    problem: _Problem,
    g: _Convolution,
    b: _Filters,
    *,
    steps: Triple = _ONES,
    phase: Triple = _ZEROS,
) -> list[Launch] | None:
    """The launches of the convolution `g` of `problem.a` with `b`, whose output fills the places
    `phase`, `phase + steps`, … along z, y, x."""

    def axes(group: int) -> Strides:
        def strides(m: _Memory) -> Ints:
            image, *along, column = m.strides
            spread = (s * step for s, step in zip(along, steps, strict=True))
            return (group * column, image, *spread, column)

        return strides

    def first(m: _Memory) -> Pointer:
        return m.moved(sum(s * p for s, p in zip(m.strides[1:4], phase, strict=True)))

    diagonal = g.is_diagonal
    plan = _planned(problem, g, problem.epilogue(axes(g.columns)))
    if plan is None:
        return None
    width = plan.width(host())
    shape = g.shape(problem.a, width if diagonal else g.channels)
    packing = window.packing_b(plan, b.strides)
    panels, pack = product.pack(packing, b.start, shape.columns, g.extents, b.scratch)
    arguments = window.arguments(
        *(plan, shape, problem.epilogue(axes(width if diagonal else g.columns))),
        problem.pointers(problem.a.start, panels, first),
    )
    items = window.items(plan, shape)
    code = product.code("windows", plan, windows.emit)
    return [pack, Launch(code, tuple(arguments), items, product.grain(items, g.flops))]


def _planned(problem: _Problem, g: _Convolution, epilogue: Epilogue) -> window.Window | None:
    """The code to use: for images of all sizes where that was asked for, unless there is some."""
    planned = functools.partial(
        window.plan,
        *(problem.dtype, g.geometry, g.channels, g.shape(problem.a, g.channels), epilogue),
        is_diagonal=g.is_diagonal,
        way=_way(problem, g),
    )
    plan = planned()
    if problem.any_size and plan and not cache.holds(product.code("windows", plan, windows.emit)):
        return planned(any_size=True)
    return plan


def _way(problem: _Problem, g: _Convolution) -> Way:
    """How to multiply, from what a tile of such a convolution would have."""
    if g.is_diagonal:
        return EXACT
    _, block = pairs_of(g.channels, g.geometry.taps[2])
    sizes = pairs.parts(max(1, g.out[2])), g.columns, block
    return pairs.way(problem.dtype, "float32", sizes, host())


# ---- adjoint in the images: a convolution for each phase of the strides


def _by_phases(problem: _Problem) -> list[Launch] | None:
    g = problem.convolution
    taps, strides, dilations = g.geometry.taps, g.geometry.strides, g.geometry.dilations
    axes = zip(g.size, taps, strides, dilations, g.before, strict=True)
    launches: list[Launch] = []
    for index, phases in enumerate(itertools.product(*(Phase.all_of(*axis) for axis in axes))):
        made = _phase(problem, phases, index)
        if made is None:
            return None
        launches += made
    return launches


def _phase(problem: _Problem, phases: Sequence[Phase], index: int) -> list[Launch] | None:
    g = problem.convolution
    *along, c, o = problem.b.strides
    last = sum(p.last * stride for p, stride in zip(phases, along, strict=True))
    back = [-p.step * stride for p, stride in zip(phases, along, strict=True)]
    before = triple([p.before for p in phases], 0)
    if not all(p.taps for p in phases):  # no output meets these places: all taps lie in front
        reach = phases[0].taps * phases[0].dilation
        before = (phases[0].count + max(1, reach), *before[1:])
    taps, dilations = [max(1, p.taps) for p in phases], [p.dilation for p in phases]
    here = _Convolution(
        *(g.images, g.out, triple([p.count for p in phases], 1)),
        Geometry(triple(taps, 1), _ONES, triple(dilations, 1)),
        before,
        *(g.groups, g.columns, g.channels),
    )
    strides = (*back, o) if g.is_diagonal else (g.columns * o, *back, o, c)
    b = _Filters(problem.b.moved(last), strides, index)
    first = triple([p.first for p in phases], 0)
    return _windows(problem, here, b, steps=g.geometry.strides, phase=first)


# ---- adjoint in the filters


def _filter(problem: _Problem) -> list[Launch] | None:
    g, diagonal = problem.convolution, problem.convolution.is_diagonal

    def axes(group: int) -> Strides:
        def strides(m: _Memory) -> Ints:
            z, y, x, c, o = m.strides
            return (group * o, z, y, 0, x, o) if diagonal else (group * o, z, y, x, c, o)

        return strides

    plan = gradient.plan(
        *(problem.dtype, g.geometry, g.channels, g.shape(problem.a, g.channels)),
        problem.epilogue(axes(g.columns)),
        is_diagonal=diagonal,
    )
    if plan is None:
        return None
    width = plan.columns(host())
    group = width if diagonal else g.columns
    shape = g.shape(problem.a, width if diagonal else g.channels)
    division = gradient.divide(plan, shape, g.channels)
    sums = Pointer(Scratch(0, gradient.scratch_bytes(plan, division)))
    of_sums = gradient.arguments(
        *(shape, division, g.channels, (group, *problem.b.strides[:4])),
        (problem.a.start, problem.b.start, sums),
    )
    of_finish = gradient.finish_arguments(
        *(shape, division, g.channels, problem.epilogue(axes(group))),
        problem.pointers(sums, sums),
    )
    first = product.code("sums", replace(plan, epilogue=Epilogue(())), filters.emit_sums)
    second = product.code("finish", plan.of_any_block(), filters.emit_finish_of_sums)
    count = gradient.finish_items(plan, division)
    return [
        Launch(first, tuple(of_sums), division.items, product.grain(division.items, g.flops)),
        Launch(second, tuple(of_finish), count, max(1, count // 64)),
    ]


# ---- windows of one cell: matrix products


def _as_matrices(name: str, problem: _Problem) -> list[Launch] | None:
    """The launches of one matrix product; None unless the places of all images are evenly apart."""
    g = problem.convolution
    extents = (g.images, *g.out)
    images = (problem.a, *problem.operands, *problem.stores)
    apart = {m: _evenly(m.strides[:4], extents) for m in images}
    if None in apart.values():
        return None
    c, o = problem.b.strides[3:]
    b, k, n = ((c, o), g.channels, g.columns) if name == "conv" else ((o, c), g.columns, g.channels)

    def rows(m: _Memory) -> Ints:
        return (apart[m] or 0, m.column)

    factors = rows(problem.a), b
    sizes = Extents(math.prod(extents), (k,)), n
    made = contract.of_factors(problem.dtype, factors, problem.epilogue(rows), sizes)
    places = problem.pointers(problem.a.start, problem.b.start)
    return contract.launches(made, sizes[0], places)


def _evenly(strides: Ints, extents: Ints) -> int | None:
    """The stride of all axes as one, where they are evenly apart."""
    axes = [(s, n) for s, n in zip(strides, extents, strict=True) if n != 1]
    for (outer, _), (inner, n) in itertools.pairwise(axes):
        if outer != inner * n:
            return None
    return axes[-1][0] if axes else 0
