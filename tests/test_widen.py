"""Reductions and repetitions of a few neighbours, and of much else, in two steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.graph import Graph, check, evaluate, parse
from tapeflow.jit.passes.widen import widen
from tapeflow.primitive import REGISTRY

RNG = np.random.default_rng(0)


def folded(op: str, shape: str, axes: str, result: str, dtype: str = "f32") -> Graph:
    return parse(
        f"""graph f(x: {dtype}[{shape}]) {{
  y: {dtype}[{result}] = {op}(x, axes=({axes},))
  return y
}}""",
        REGISTRY,
    )


def names(graph: Graph) -> list[str]:
    return [node.prim.name for node in graph.nodes]


@pytest.mark.parametrize("op", ["sum", "max", "min", "prod"])
def test_a_few_neighbours_are_reduced_last(op: str) -> None:
    before = folded(op, "2,5,7,3,4", "1, 2, 4", "2,3")
    after = widen(before)
    check(after)
    assert names(after) == [op, op]
    assert [node.outputs[0].shape for node in after.nodes] == [(2, 3, 4), (2, 3)]
    x = RNG.standard_normal((2, 5, 7, 3, 4)).astype("f4")
    np.testing.assert_allclose(evaluate(after, x)[0], evaluate(before, x)[0], rtol=2e-5)


@pytest.mark.parametrize(
    "shape, axes, result, dtype",
    [
        ("2,5,7,3,200", "1, 2, 4", "2,3", "f32"),  # which fill vectors
        ("2,3,4", "2", "2,3", "f32"),  # nothing else is reduced
        ("2,5,3,4", "1, 3", "2,3", "f32"),  # little else is
        ("5,7,4", "0, 1, 2", "", "f32"),  # nothing stays
        ("2,5,7,3,4", "1, 2, 4", "2,3", "f16"),  # would be rounded in between
    ],
)
def test_other_reductions_stay(shape: str, axes: str, result: str, dtype: str) -> None:
    before = folded("sum", shape, axes, result, dtype)
    assert str(widen(before)) == str(before)


def test_what_is_repeated_for_a_few_neighbours_is_so_once() -> None:
    before = parse(
        """graph f(x: f32[2,3]) {
  y: f32[2,5,7,3,4] = broadcast_to(x, shape=(2, 5, 7, 3, 4), axes=(1, 2, 4))
  return y
}""",
        REGISTRY,
    )
    after = widen(before)
    check(after)
    assert names(after) == ["broadcast_to", "concat", "broadcast_to"]
    assert after.nodes[1].outputs[0].shape == (2, 3, 4)
    x = RNG.standard_normal((2, 3)).astype("f4")
    np.testing.assert_array_equal(evaluate(after, x)[0], evaluate(before, x)[0])


def group_norm(x: Any, groups: int, np_like: Any, mean: Any) -> Any:
    apart = np_like.reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))
    center = mean(apart, axis=(1, 2, 4), keepdims=True)
    spread = mean((apart - center) ** 2, axis=(1, 2, 4), keepdims=True)
    return np_like.reshape((apart - center) / np_like.sqrt(spread + 1e-5), x.shape)


def test_a_group_norm_and_its_gradient_are_what_they_were() -> None:
    x = RNG.standard_normal((2, 6, 5, 12))
    w = RNG.standard_normal(x.shape)

    def loss(x: Any) -> Any:
        return tf.sum(group_norm(x, 3, tf, tf.mean) * w)

    value, gradient = tf.jit(tf.value_and_grad(loss))(x)
    np.testing.assert_allclose(value.numpy(), np.sum(group_norm(x, 3, np, np.mean) * w), rtol=1e-9)
    t = RNG.standard_normal(x.shape)
    ahead, behind = (np.sum(group_norm(x + h * t, 3, np, np.mean) * w) for h in (1e-6, -1e-6))
    np.testing.assert_allclose(np.sum(gradient.numpy() * t), (ahead - behind) / 2e-6, rtol=1e-5)


def test_dear_functions_are_shared_out_for_fewer_elements() -> None:
    x = RNG.standard_normal(20_000).astype("f4")
    cheap, dear = (tf.jit(f).lower(x).kernels for f in (lambda x: x + 1.0, tf.tanh))
    assert cheap[0].grain > x.size > dear[0].grain
