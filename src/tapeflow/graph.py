"""Node: one application of a primitive. A tape is a list of them, and so is a graph.

A graph prints as text, and the text parses back:

    graph f(x: f32[4]) {
      a: f32[4] = tanh(x)
      return a
    }
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from textwrap import indent
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from tapeflow.dtypes import OF_SHORT, SHORT, DType
from tapeflow.errors import TapeflowError
from tapeflow.tensor import Array, Spec

if TYPE_CHECKING:
    from tapeflow.primitive import Primitive

V = TypeVar("V")
_SHOWN = 8  # constants of more elements print as `...`


@dataclass(frozen=True, eq=False, slots=True)
class Node(Generic[V]):
    """`outputs = prim(*inputs, **attrs)`; V is Tensor on a tape and Var in a graph."""

    prim: Primitive
    inputs: tuple[V, ...]
    attrs: Mapping[str, Any]
    outputs: tuple[V, ...]
    scope: str = ""  # the name scope it was made in
    line: str = ""  # the user's line that made it, as errors.user_line() gives it

    def reading(self, same: Mapping[V, V]) -> Node[V]:
        """This node with inputs replaced by what is the `same`."""
        if same.keys().isdisjoint(self.inputs):
            return self
        inputs = tuple(same.get(v, v) for v in self.inputs)
        return Node(self.prim, inputs, self.attrs, self.outputs, self.scope, self.line)


@dataclass(frozen=True, eq=False, slots=True)
class Var:
    """A value of a graph, assigned once."""

    valueless: ClassVar[str] = "inside a compiled function a tensor has no value yet"
    fixes: ClassVar[Mapping[str, str]] = {  # by what would need the value
        "bool": "use tf.where or tf.cond instead of `if`, tf.while_loop instead of `while`, or "
        "make the condition static",
        "index": "pass the number in static_argnames of tf.jit, or use tf.take",
        "int": "pass the number in static_argnames of tf.jit",
        "float": "keep it a tensor, or return it from the compiled function",
        "kept": "return it from the compiled function that made it; do not keep it in a global, a "
        "closure or an attribute",
    }
    unknown: ClassVar[str] = "this value belongs to a trace that has ended"

    name: str
    shape: tuple[int, ...]
    dtype: DType

    @property
    def spec(self) -> Spec:
        return Spec(self.shape, self.dtype)

    def __repr__(self) -> str:
        return f"{self.name}: {self.spec}"


@dataclass(frozen=True, eq=False, slots=True)
class Graph:
    """A pure function: inputs and constants in, outputs out, nodes in order."""

    name: str
    inputs: tuple[Var, ...]
    nodes: tuple[Node[Var], ...]
    outputs: tuple[Var, ...]
    constants: Mapping[Var, Array] = field(default_factory=dict)

    def __str__(self) -> str:
        params = ", ".join(map(repr, self.inputs))
        consts = "".join(f"  {v!r} = {_constant(a)}\n" for v, a in self.constants.items())
        body = "".join(f"  {_line(node)}{_held(node)}\n" for node in self.nodes)
        returned = ", ".join(v.name for v in self.outputs)
        return f"graph {self.name}({params}) {{\n{consts}{body}  return {returned}\n}}"


def _constant(array: Array) -> str:
    return f"const {array.tolist()}" if array.size <= _SHOWN else "const ..."


def _line(node: Node[Var]) -> str:
    attrs = [f"{k}={_attr(v)}" for k, v in node.attrs.items()]
    args = ", ".join([v.name for v in node.inputs] + attrs)
    return f"{', '.join(map(repr, node.outputs))} = {node.prim.name}({args})"


def _held(node: Node[Var]) -> str:
    """The graphs that a loop or branch holds, below its line."""
    return "".join("\n" + indent(str(graph), "    ") for graph in node.prim.graphs)


def _attr(value: Any) -> str:
    return SHORT[value] if isinstance(value, np.dtype) else repr(value)


def check(graph: Graph) -> None:
    """Raise AssertionError unless each value is assigned once, before use, in its op's type."""
    known = {*graph.inputs, *graph.constants}
    for node in graph.nodes:
        for v in node.inputs:
            assert v in known, f"{v} is used by {_line(node)} before it is assigned"
        specs = node.prim.output_specs(tuple(v.spec for v in node.inputs), node.attrs)
        assert specs == tuple(v.spec for v in node.outputs), (
            f"{_line(node)}: the op gives {list(map(str, specs))}"
        )
        for v in node.outputs:
            assert v not in known, f"{v} is assigned twice"
            known.add(v)
    for v in graph.outputs:
        assert v in known, f"{v} is returned but never assigned"
    for v, array in graph.constants.items():
        assert (v.shape, v.dtype) == (array.shape, array.dtype), (
            f"{v} is a constant of another type"
        )


def evaluate(graph: Graph, *arrays: Array) -> list[Array]:
    """What a graph means: its nodes run one by one on arrays."""
    env = {**graph.constants, **dict(zip(graph.inputs, arrays, strict=True))}
    for node in graph.nodes:
        values = run_node(node, [env[v] for v in node.inputs])
        env.update(zip(node.outputs, values, strict=True))
    return [env[v] for v in graph.outputs]


def run_node(node: Node[Var], arrays: Iterable[Array]) -> list[Array]:
    """What a node means: its outputs, by its array function."""
    try:
        value = node.prim.array_fn(*arrays, **node.attrs)
    except TapeflowError as error:  # it names the line of the call; the node knows its own
        error.move(node.line)
        raise
    return [np.asarray(a) for a in (value if node.prim.multiple else (value,))]


_TYPED = r"(\w+): (\w+)\[([\d,]*)\]"


class _Parser:
    """The values read so far, by name."""

    def __init__(self, primitives: Mapping[str, Primitive]):
        self.primitives = primitives
        self.vars: dict[str, Var] = {}

    def declare(self, text: str) -> tuple[Var, ...]:
        made = [
            Var(name, tuple(int(n) for n in shape.split(",") if n), OF_SHORT[dtype])
            for name, dtype, shape in re.findall(_TYPED, text)
        ]
        self.vars.update((v.name, v) for v in made)
        return tuple(made)

    def node(self, outputs: str, call: str) -> Node[Var]:
        name, arguments = call.removesuffix(")").split("(", 1)
        items = [item.strip() for item in _split(arguments)]
        inputs = tuple(self.vars[item] for item in items if "=" not in item)
        attrs = dict(item.split("=", 1) for item in items if "=" in item)
        return Node(
            self.primitives[name],
            inputs,
            {k: _value(v) for k, v in attrs.items()},
            self.declare(outputs),
        )


def _value(text: str) -> Any:
    return OF_SHORT[text] if text in OF_SHORT else _literal(text)


class _Unbounded(ast.NodeTransformer):
    """Makes numbers of `inf` and `nan`, for which Python has no literals."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ("inf", "nan") else node


def _literal(text: str) -> Any:
    return ast.literal_eval(_Unbounded().visit(ast.parse(text, mode="eval")))


def _split(text: str) -> Iterable[str]:
    """The parts of `text` between commas that stand outside brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [part for part in parts if part.strip()]


def parse(text: str, primitives: Mapping[str, Primitive]) -> Graph:
    """The graph that prints as `text`; two spaces may stand for a line feed."""
    matched = re.fullmatch(r"\s*graph (\w+)\((.*?)\)\s*\{(.*)\}\s*", text, re.DOTALL)
    assert matched, f"not the text of a graph: {text[:60]}"
    name, params, body = matched.groups()
    parser = _Parser(primitives)
    inputs, nodes, constants = parser.declare(params), [], {}
    *lines, last = [line.strip() for line in re.split(r"\n|  +", body) if line.strip()]
    for line in lines:
        left, right = line.split(" = ", 1)
        if right.startswith("const "):
            (v,) = parser.declare(left)
            constants[v] = np.array(_literal(right.removeprefix("const ")), v.dtype).reshape(
                v.shape
            )
        else:
            nodes.append(parser.node(left, right))
    returned = (part.strip() for part in last.removeprefix("return").split(","))
    outputs = tuple(parser.vars[part] for part in returned if part)
    return Graph(name, inputs, tuple(nodes), outputs, constants)
