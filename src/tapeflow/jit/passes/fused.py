"""Fused: the primitive of a group of nodes that becomes one kernel."""
from __future__ import annotations

import re
from collections.abc import Callable

from tapeflow.dtypes import COMPLEX, DType, bfloat16, float16, float64, is_complex
from tapeflow.graph import Graph, Node, Var, evaluate
from tapeflow.primitive import Fold, Primitive, Scalar
from tapeflow.tensor import Array, Spec
from tapeflow_kernels.cpu.halves import converts
from tapeflow_kernels.machine import host

Shape = tuple[int, ...]

_HALVES = (float16, bfloat16)


class Fused(Primitive):
    """Elementwise ops and reductions over one iteration space, made for the graph they stand in.

    `body` holds Scalar nodes of the shape `space`, Fold nodes that reduce such values over `axes`,
    constants without axes, and `broadcast_to` of these. All its inputs have the shape `space`.
    """

    def __init__(self, body: Graph, space: Shape, axes: Shape | None) -> None:
        super().__init__(lambda *xs: tuple(evaluate(body, *xs)), _typed(body), name=_name(body),
                         multiple=True)
        self.body = body
        self.space = space
        self.axes = axes

    def is_elementwise(self, output: int, operand: int) -> bool:
        """Whether element i of the output is written after all reads of element i of the input."""
        v = self.body.outputs[output]
        return v.shape == self.body.inputs[operand].shape and v not in self.folded

    @property
    def folded(self) -> dict[Var, Node[Var]]:
        """The results of reductions, and the nodes that give them."""
        return {v: node for node in self.body.nodes if isinstance(node.prim.lowering, Fold)
                for v in node.outputs}


def is_literal(array: Array) -> bool:
    """Whether a constant stands in the text of kernels. Others are read from memory, so that a
    number that follows from a shape, such as the 1/n of a mean, makes no new kernel."""
    if is_complex(array.dtype):
        return False
    return array.ndim == 0 and abs(float(array)) <= 8 and float(array).is_integer()


def iteration_space(node: Node[Var]) -> tuple[Shape, Shape | None] | None:
    """The shape that a node loops over, and the axes it reduces; None where it cannot be fused."""
    dtypes = _dtypes(node)
    if not dtypes.isdisjoint(COMPLEX) and not _fits_complex(node):
        return None
    if not dtypes.isdisjoint(_HALVES) and not _fits_halves(node):
        return None
    lowering = node.prim.lowering
    if isinstance(lowering, Scalar):
        (y,) = node.outputs
        return (y.shape, None) if all(x.shape == y.shape for x in node.inputs) else None
    if isinstance(lowering, Fold) and len(node.inputs) == 1 and node.attrs.get("axes"):
        return node.inputs[0].shape, tuple(node.attrs["axes"])
    return None


def has_complex(node: Node[Var]) -> bool:
    """Whether a node reads or gives complex numbers."""
    return not _dtypes(node).isdisjoint(COMPLEX)


def _fits_complex(node: Node[Var]) -> bool:
    """Whether there is text of a node for complex numbers."""
    lowering = node.prim.lowering
    if isinstance(lowering, Fold):
        return lowering.takes_complex
    return isinstance(lowering, Scalar) and lowering.of_complex is not None


def has_halves(node: Node[Var]) -> bool:
    """Whether a node reads or gives numbers of 16 bits."""
    return not _dtypes(node).isdisjoint(_HALVES)


def _dtypes(node: Node[Var]) -> set[DType]:
    return {v.dtype for v in (*node.inputs, *node.outputs)}


def _fits_halves(node: Node[Var]) -> bool:
    """Whether a node means the same if it is computed in float32 and rounded. A neighbour does not,
    nor does a float64 rounded to float16, which would be rounded twice."""
    dtypes = _dtypes(node)
    twice = node.outputs[0].dtype == float16 and float64 in dtypes
    there = float16 not in dtypes or converts("float16", host())
    return there and not twice and node.prim.name != "nextafter"


def _typed(body: Graph) -> Callable[..., tuple[Spec, ...]]:
    def spec(*specs: Spec) -> tuple[Spec, ...]:
        assert specs == tuple(v.spec for v in body.inputs), f"{body.name} is made for other inputs"
        return tuple(v.spec for v in body.outputs)
    return spec


def _name(body: Graph) -> str:
    """`multiply_add_tanh`, or `multiply_add_and_7_more`."""
    names = [node.prim.name for node in body.nodes if node.prim.name != "broadcast_to"]
    if len(names) > 3:
        names = [*names[:2], f"and_{len(names) - 2}_more"]
    return re.sub(r"\W", "_", "_".join(names)) or "copy"

