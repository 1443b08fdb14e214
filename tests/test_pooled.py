"""What is done to the gradient that max pooling hands back is done before it is spread out."""

from __future__ import annotations

import numpy as np
import pytest

import tapeflow.ops.pool  # noqa: F401   # whose primitives are registered by its first use
from tapeflow.graph import Graph, check, evaluate, parse
from tapeflow.jit.passes.dce import dce
from tapeflow.jit.passes.pooled import pooled
from tapeflow.primitive import REGISTRY

WINDOWS = [
    "window=(2, 2), strides=(2, 2), padding=((0, 0), (0, 0))",
    "window=(3, 3), strides=(2, 2), padding=((1, 0), (1, 1))",
    "window=(3, 2), strides=(1, 1), padding=((0, 0), (0, 0))",
]


def gradient(windows: str, places: str, outputs: str, *, masked_by: str = "y") -> Graph:
    """That of max_pool(relu(x)), and its sums over all places and over the rows of them."""
    found = parse(
        f"""graph f(x: f64[2,6,6,3], g: f64[{places}]) {{
  zero: f64[] = const 0.0
  zeros: f64[2,6,6,3] = broadcast_to(zero, shape=(2, 6, 6, 3), axes=(0, 1, 2, 3))
  y: f64[2,6,6,3] = relu(x)
  p: f64[{places}], at: u8[{places}] = max_pool(y, {windows})
  dy: f64[2,6,6,3] = max_pool_input(g, at, size=(6, 6), {windows})
  mask: bool[2,6,6,3] = greater({masked_by}, zeros)
  dx: f64[2,6,6,3] = where(mask, dy, zeros)
  s: f64[3] = sum(dx, axes=(0, 1, 2))
  rows: f64[6,3] = sum(dy, axes=(0, 1))
  return {outputs}
}}""",
        REGISTRY,
    )
    check(found)
    return found


@pytest.mark.parametrize("windows", WINDOWS)
def test_mask_and_sum_are_those_of_the_windows(windows: str) -> None:
    places = {2: "2,3,3,3", 3: "2,3,3,3", 1: "2,4,5,3"}[int(windows.split("strides=(")[1][0])]
    before = dce(gradient(windows, places, "dx, s"))
    after = dce(pooled(before))
    check(after)
    spread = [node.prim.name for node in after.nodes].index("max_pool_input")
    of_cells = [n for n in after.nodes if n.outputs[0].shape == (2, 6, 6, 3)]
    assert [n.prim.name for n in of_cells] == ["relu", "max_pool_input"]
    assert after.nodes[spread].outputs == after.outputs[:1]
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(v.shape) for v in before.inputs]
    arrays[0][0, 0, 0] = np.nan
    (dx, s), (wanted, total) = evaluate(after, *arrays), evaluate(before, *arrays)
    np.testing.assert_array_equal(dx, wanted)
    np.testing.assert_allclose(s, total, rtol=1e-12)


def test_the_mask_of_another_value_stays() -> None:
    before = dce(gradient(WINDOWS[0], "2,3,3,3", "dx", masked_by="x"))
    assert str(pooled(before)) == str(before)


def test_a_sum_that_keeps_places_stays() -> None:
    before = dce(gradient(WINDOWS[0], "2,3,3,3", "rows"))
    assert str(pooled(before)) == str(before)


def test_what_others_read_too_is_spread_once() -> None:
    before = dce(gradient(WINDOWS[0], "2,3,3,3", "dx, dy"))
    assert str(dce(pooled(before))) == str(before)
