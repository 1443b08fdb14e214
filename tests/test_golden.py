"""Graphs after the passes and kernels as text, as they were last accepted.

`python tests/test_golden.py` writes the files anew; a commit that changes one does only that.
"""
from __future__ import annotations

from pathlib import Path

import pytest

from launches import own
from tapeflow.graph import parse
from tapeflow.jit.codegen import loops
from tapeflow.jit.kernel import Layout
from tapeflow.jit.passes import optimize
from tapeflow.jit.passes.fused import Fused
from tapeflow.primitive import REGISTRY, View

FOLDER = Path(__file__).parent / "golden"
GRAPHS = {
    "activation": """graph activation(x: f32[64,256], b: f32[256]) {
      s: f32[64,256] = broadcast_to(b, shape=(64,256), axes=(0,))
      y: f32[64,256] = add(x, s)
      z: f32[] = const 0.0
      o: f32[64,256] = broadcast_to(z, shape=(64,256), axes=(0,1))
      r: f32[64,256] = maximum(y, o)
      return r
    }""",
    "bias_gradient": """graph bias_gradient(g: f32[64,256], y: f32[64,256]) {
      z: f32[] = const 0.0
      o: f32[64,256] = broadcast_to(z, shape=(64,256), axes=(0,1))
      m: bool[64,256] = greater(y, o)
      c: f32[64,256] = cast(m, dtype=f32)
      d: f32[64,256] = multiply(g, c)
      s: f32[256] = sum(d, axes=(0,))
      return d, s
    }""",
    "row_maximum": """graph row_maximum(x: f64[64,256]) {
      m: f64[64] = max(x, axes=(1,))
      return m
    }""",
    "squared_norm": """graph squared_norm(x: f32[5000]) {
      y: f32[5000] = multiply(x, x)
      s: f32[] = sum(y, axes=(0,))
      return s
    }""",
    "transposed_sum": """graph transposed_sum(x: i32[30,40], y: i32[40,30]) {
      t: i32[40,30] = transpose(x, axes=(1,0))
      a: i32[40,30] = add(t, y)
      return a
    }""",
}


def rendered(text: str) -> str:
    """The graph after all passes, the body of each fused node, and its kernels."""
    graph = optimize(parse(text, REGISTRY))
    parts = [str(graph)]
    layouts = {v: own(v) for v in (*graph.inputs, *graph.constants)}
    for node in graph.nodes:
        layouts.update((v, own(v)) for v in node.outputs)
        if isinstance(node.prim.lowering, View):
            (x,), (y,) = node.inputs, node.outputs
            before = layouts[x]
            found = node.prim.lowering.layout(x.shape, before.offset, before.strides, **node.attrs)
            assert found, "a golden graph has no view that must be copied"
            layouts[y] = Layout(before.base, *found)
        elif isinstance(node.prim, Fused):
            parts.append(str(node.prim.body))
            parts += [launch.code.text for launch in loops.lower(node, layouts, {})]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_and_kernels_are_as_accepted(name: str):
    assert rendered(GRAPHS[name]) == (FOLDER / f"{name}.txt").read_text()


if __name__ == "__main__":
    for name, text in GRAPHS.items():
        (FOLDER / f"{name}.txt").write_text(rendered(text))
