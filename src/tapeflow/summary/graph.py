"""A graph in TensorBoard's form: a node an op, below the name scope it was made in."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapeflow import dtypes, scope
from tapeflow.graph import Graph, Var

# the numbers of TensorFlow's types.proto, which tensorboardX has in part
_TYPES = {dtypes.float32: 1, dtypes.float64: 2, dtypes.int32: 3, dtypes.uint8: 4, dtypes.int16: 5,
          dtypes.int8: 6, dtypes.int64: 9, dtypes.bool_: 10, dtypes.bfloat16: 14,
          dtypes.uint16: 17, dtypes.float16: 19, dtypes.uint32: 22, dtypes.uint64: 23}


def graph_def(graph: Graph, variables: Sequence[str]) -> Any:
    """The GraphDef of `graph`, whose last inputs are the variables of these names."""
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    written = _Nodes()
    arguments = len(graph.inputs) - len(variables)
    for v in graph.inputs[:arguments]:
        written.add(f"inputs/{v.name}", "Placeholder", (), (v,), {})
    for v, name in zip(graph.inputs[arguments:], variables, strict=True):
        written.add(name, "Variable", (), (v,), {})
    for node in graph.nodes:
        place = {"line": node.line} if node.line else {}
        written.add(_below(node.scope, node.prim.name), node.prim.name, node.inputs, node.outputs,
                    {**node.attrs, **place})
    written.add("return", "Return", graph.outputs, (), {})
    return GraphDef(node=written.nodes, versions=VersionDef(producer=22))


class _Nodes:
    """The nodes so far, and which of them gives each value."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self._of: dict[Var, str] = {}
        self._taken: set[str] = set()

    def add(self, name: str, op: str, inputs: Sequence[Var], outputs: Sequence[Var],
            attrs: Mapping[str, Any]) -> None:
        for v in inputs:
            if v not in self._of:   # a constant stands beside the op that uses it first
                self.add(_below(name.rpartition("/")[0], "constant"), "Const", (), (v,), {})
        free = scope.unused(name, self._taken)
        self._taken.add(free)
        for i, v in enumerate(outputs):
            self._of[v] = f"{free}:{i}" if i else free
        self.nodes.append(_node(free, op, [self._of[v] for v in inputs], outputs, attrs))


def _below(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _node(name: str, op: str, inputs: Sequence[str], outputs: Sequence[Var],
          attrs: Mapping[str, Any]) -> Any:
    from tensorboardX.proto.attr_value_pb2 import AttrValue
    from tensorboardX.proto.node_def_pb2 import NodeDef

    described = {key: AttrValue(s=str(value).encode()) for key, value in attrs.items()}
    if outputs:
        described["dtype"] = AttrValue(type=_TYPES[outputs[0].dtype])
        described["_output_shapes"] = AttrValue(
            list=AttrValue.ListValue(shape=[_shape(v) for v in outputs]))
    return NodeDef(name=name, op=op, input=inputs, attr=described)


def _shape(v: Var) -> Any:
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in v.shape])
