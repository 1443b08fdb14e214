"""What a step of a program costs: floating-point operations, and bytes that must be moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit import contract, convolve, places, pool, product
from tapeflow.jit.kernel import Layout
from tapeflow.jit.nest import Nest
from tapeflow.jit.passes.fused import Fused
from tapeflow.jit.plan import Plan, Step
from tapeflow.primitive import Fold, Scalar


@dataclass(frozen=True)
class Cost:
    """`flops`: an op on one element counts as one, a multiply-add as two. `nbytes`: each value that
    goes in read once, each that comes out written once."""

    flops: int
    nbytes: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.nbytes + other.nbytes)

    def times(self, count: int) -> Cost:
        return Cost(count * self.flops, count * self.nbytes)


NOTHING = Cost(0, 0)


def of_step(step: Step, plan: Plan) -> Cost:
    """The cost of one run of a step. Of a branch it is that of its dearer side; of a loop without a
    known number of turns, that of one."""
    if not isinstance(step, Nest):
        return _of_node(step.node, plan.layouts)
    parts = [of_plan(part.plan) for part in step.parts]
    if step.is_branch:
        return max(parts, key=lambda cost: (cost.flops, cost.nbytes))
    return sum((part.times(max(step.turns, 1)) for part in parts), NOTHING)


def of_plan(plan: Plan) -> Cost:
    """The cost of all steps."""
    return sum((of_step(step, plan) for step in plan.steps), NOTHING)


def _of_node(node: Node[Var], layouts: Mapping[Var, Layout]) -> Cost:
    if places.is_question(node):
        return NOTHING  # two numbers are compared
    read = [_read(v, layouts[v]) for v in dict.fromkeys(node.inputs)]
    written = sum(v.spec.nbytes for v in node.outputs)
    if node.prim.name == "take":
        read[0] = min(read[0], written)
    return Cost(_flops(node), sum(read) + written)


def _read(v: Var, layout: Layout) -> int:
    """The bytes of a value that differ in place: what is broadcast lies in memory once."""
    places = math.prod(n for n, s in zip(v.shape, layout.strides, strict=True) if s)
    return (places if v.spec.size else 0) * v.dtype.itemsize


def _flops(node: Node[Var]) -> int:
    prim = node.prim
    if isinstance(prim, Fused):
        return _of_body(prim.body)
    if isinstance(prim, product.Product):
        return _flops(prim.of) + _of_body(prim.body)
    if product.fits(node):
        return convolve.flops_of(node) if convolve.is_convolution(node) else contract.flops_of(node)
    if pool.fits(node):
        places = min(node.inputs[0].spec.size, node.outputs[0].spec.size)
        return places * int(math.prod(node.attrs["window"]))
    return _of_scalar(node)


def _of_body(body: Graph) -> int:
    return sum(map(_of_scalar, body.nodes))


def _of_scalar(node: Node[Var]) -> int:
    """One for each element that an op computes or a reduction takes in; copies and casts are
    none."""
    lowering = node.prim.lowering
    if isinstance(lowering, Fold):
        return node.inputs[0].spec.size
    is_free = not isinstance(lowering, Scalar) or node.prim.name in _FREE
    return 0 if is_free else node.outputs[0].spec.size


_FREE = ("positive", "cast", "broadcast_to")
