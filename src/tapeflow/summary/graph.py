"""A graph in TensorBoard's form: a node an op, below the name scope it was made in."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tapeflow import scope
from tapeflow.dtypes import DType
from tapeflow.graph import Graph, Var

_TYPES = {"bool": "BOOL", "float16": "HALF", "float32": "FLOAT", "float64": "DOUBLE"}


def graph_def(graph: Graph, variables: Sequence[str]) -> Any:
    """The GraphDef of `graph`, whose last inputs are the variables of these names."""
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    names: dict[Var, str] = {}
    taken: set[str] = set()
    nodes = []

    def add(name: str, op: str, inputs: Sequence[Var], outputs: Sequence[Var],
            attrs: Mapping[str, Any]) -> None:
        free = scope.unused(name, taken)
        taken.add(free)
        for i, v in enumerate(outputs):
            names[v] = f"{free}:{i}" if i else free
        nodes.append(_node(free, op, [names[v] for v in inputs], outputs, attrs))

    arguments = len(graph.inputs) - len(variables)
    for v in graph.inputs[:arguments]:
        add(f"inputs/{v.name}", "Placeholder", (), (v,), {})
    for v, name in zip(graph.inputs[arguments:], variables, strict=True):
        add(name, "Variable", (), (v,), {})
    for v in graph.constants:
        add(f"constants/{v.name}", "Const", (), (v,), {})
    for node in graph.nodes:
        where = {"line": node.line} if node.line else {}
        add(f"{node.scope}/{node.prim.name}".lstrip("/"), node.prim.name, node.inputs, node.outputs,
            {**node.attrs, **where})
    add("return", "Return", graph.outputs, (), {})
    return GraphDef(node=nodes, versions=VersionDef(producer=22))


def _node(name: str, op: str, inputs: Sequence[str], outputs: Sequence[Var],
          attrs: Mapping[str, Any]) -> Any:
    from tensorboardX.proto.attr_value_pb2 import AttrValue
    from tensorboardX.proto.node_def_pb2 import NodeDef

    described = {key: AttrValue(s=str(value).encode()) for key, value in attrs.items()}
    if outputs:
        described["dtype"] = AttrValue(type=_type(outputs[0].dtype))
        described["_output_shapes"] = AttrValue(
            list=AttrValue.ListValue(shape=[_shape(v) for v in outputs]))
    return NodeDef(name=name, op=op, input=inputs, attr=described)


def _shape(v: Var) -> Any:
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in v.shape])


def _type(dtype: DType) -> int:
    from tensorboardX.proto.types_pb2 import DataType

    return int(DataType.Value("DT_" + _TYPES.get(dtype.name, dtype.name.upper())))
