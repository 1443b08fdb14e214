"""Convolutions, their two adjoints, and what follows them element by element, as kernels."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from tapeflow.graph import Node, Var
from tapeflow.jit import cache, pointwise, product
from tapeflow.jit.conv_problem import ONES, ZEROS, Convolution, Ints, Memory, Problem, Strides
from tapeflow.jit.kernel import Code, Launch, Layout, Pointer, Scratch
from tapeflow.jit.phase import Phase
from tapeflow.jit.product import Parts, triple
from tapeflow.ops.shape import contiguous
from tapeflow.primitive import Kernel
from tapeflow_kernels.cpu import filter as gradient
from tapeflow_kernels.cpu import filter_code, window, window_code
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.cpu.geometry import Geometry, Triple
from tapeflow_kernels.cpu.pairs import EXACT, Way
from tapeflow_kernels.machine import host


def is_convolution(node: Node[Var]) -> bool:
    """Whether `node` is a convolution or an adjoint of one, with or without what follows."""
    lowering = node.prim.lowering
    return isinstance(lowering, Kernel) and lowering.name == "convolution"


def flops_of(node: Node[Var]) -> int:
    """Floating-point operations of a convolution or adjoint, without what follows it."""
    return Convolution.of(Parts.of_node(node).of).flops


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

    def read(v: Var, *, is_filter: bool) -> Memory:
        layout = layouts[v]
        return Memory.of(product.at(layout), layout.strides, v.dtype, is_filter=is_filter)

    whole = contiguous(node.outputs[0].shape)
    is_filter = name == "conv_filter"
    problem = Problem(
        parts,
        Convolution.of(parts.of),
        read(node.inputs[0], is_filter=False),
        read(node.inputs[1], is_filter=not is_filter),
        tuple(read(v, is_filter=is_filter) for v in parts.operands),
        tuple(
            Memory.of(to, whole, v.dtype, is_filter=is_filter)
            for to, v in zip(product.outputs(node, updated), node.outputs, strict=True)
        ),
        any_size,
    )
    if problem.convolution.is_pointwise and (found := pointwise.lower(name, problem)):
        return found
    return {"conv": _convolve, "conv_input": _by_phases, "conv_filter": _filter}[name](problem)


# ---- forward


def _convolve(problem: Problem) -> list[Launch] | None:
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
    problem: Problem,
    g: Convolution,
    b: _Filters,
    *,
    steps: Triple = ONES,
    phase: Triple = ZEROS,
) -> list[Launch] | None:
    """The launches of the convolution `g` of `problem.a` with `b`, whose output fills the places
    `phase`, `phase + steps`, … along z, y, x."""

    def axes(group: int) -> Strides:
        def strides(m: Memory) -> Ints:
            image, *along, column = m.strides
            spread = (s * step for s, step in zip(along, steps, strict=True))
            return (group * column, image, *spread, column)

        return strides

    def first(m: Memory) -> Pointer:
        return m.moved(sum(s * p for s, p in zip(m.strides[1:4], phase, strict=True)))

    diagonal = g.is_diagonal
    plan = _planned(_WINDOWS, problem, g, problem.epilogue(axes(g.columns)))
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
    return [pack, Launch(_code(plan), tuple(arguments), items, product.grain(items, g.flops))]


def _code(plan: window.Window) -> Code:
    return product.code("windows", plan, window_code.emit)


def _code_of_sums(plan: gradient.Filter) -> Code:
    return product.code("sums", replace(plan, epilogue=Epilogue(())), filter_code.emit_sums)


P = TypeVar("P")


@dataclass(frozen=True)
class _Kind(Generic[P]):
    """How kernels of one kind are planned, how exactly they multiply, and their code."""

    plan: Callable[..., P | None]
    way: Callable[..., Way]
    code: Callable[[P], Code]


_WINDOWS = _Kind(window.plan, window.way, _code)
_SUMS = _Kind(gradient.plan, gradient.way, _code_of_sums)


def _planned(kind: _Kind[P], problem: Problem, g: Convolution, epilogue: Epilogue) -> P | None:
    """The code to use: for images of all sizes where that was asked for, unless there is some."""
    planned = functools.partial(
        kind.plan,
        *(problem.dtype, g.geometry, g.channels, g.shape(problem.a, g.channels), epilogue),
        is_diagonal=g.is_diagonal,
        way=EXACT if g.is_diagonal else kind.way(problem.factors(g), g.out, g.columns),
    )
    plan = planned()
    if problem.any_size and plan and not cache.holds(kind.code(plan)):
        return planned(any_size=True)
    return plan


# ---- adjoint in the images: a convolution for each phase of the strides


def _by_phases(problem: Problem) -> list[Launch] | None:
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


def _phase(problem: Problem, phases: Sequence[Phase], index: int) -> list[Launch] | None:
    g = problem.convolution
    *along, c, o = problem.b.strides
    last = sum(p.last * stride for p, stride in zip(phases, along, strict=True))
    back = [-p.step * stride for p, stride in zip(phases, along, strict=True)]
    before = triple([p.before for p in phases], 0)
    if not all(p.taps for p in phases):  # no output meets these places: all taps lie in front
        reach = phases[0].taps * phases[0].dilation
        before = (phases[0].count + max(1, reach), *before[1:])
    taps, dilations = [max(1, p.taps) for p in phases], [p.dilation for p in phases]
    here = Convolution(
        *(g.images, g.out, triple([p.count for p in phases], 1)),
        Geometry(triple(taps, 1), ONES, triple(dilations, 1)),
        before,
        *(g.groups, g.columns, g.channels),
    )
    strides = (*back, o) if g.is_diagonal else (g.columns * o, *back, o, c)
    b = _Filters(problem.b.moved(last), strides, index)
    first = triple([p.first for p in phases], 0)
    return _windows(problem, here, b, steps=g.geometry.strides, phase=first)


# ---- adjoint in the filters


def _filter(problem: Problem) -> list[Launch] | None:
    g, diagonal = problem.convolution, problem.convolution.is_diagonal

    def axes(group: int) -> Strides:
        def strides(m: Memory) -> Ints:
            z, y, x, c, o = m.strides
            return (group * o, z, y, 0, x, o) if diagonal else (group * o, z, y, x, c, o)

        return strides

    plan = _planned(_SUMS, problem, g, problem.epilogue(axes(g.columns)))
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
    first = _code_of_sums(plan)
    second = product.code("finish", plan.of_any_block(), filter_code.emit_finish_of_sums)
    count = gradient.finish_items(plan, division)
    return [
        Launch(first, tuple(of_sums), division.items, product.grain(division.items, g.flops)),
        Launch(second, tuple(of_finish), count, max(1, count // 64)),
    ]
