"""Graphs as text, and what tracing writes into them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import TapeflowError
from tapeflow.graph import check, parse
from tapeflow.jit.trace import interpret, trace
from tapeflow.primitive import REGISTRY
from tapeflow.tensor import Spec

TEXT = """graph f(x: f32[2,3], y: f32[3]) {
  c: f32[] = const 2.0
  a: f32[2,3] = broadcast_to(y, shape=(2, 3), axes=(0,))
  b: f32[2,3] = multiply(x, a)
  s: f32[2] = sum(b, axes=(1,))
  i: i64[2] = cast(s, dtype=i64)
  return s, i
}"""


def spec(*shape: int) -> Spec:
    return Spec(shape, tf.float32)


def test_a_graph_prints_as_it_was_parsed() -> None:
    assert str(parse(TEXT, REGISTRY)) == TEXT


def test_attributes_of_pairs_are_read_back() -> None:
    graph = trace(lambda x, w: tf.nn.conv2d(x, w, 2), spec(1, 5, 5, 1), spec(3, 3, 1, 2), name="f")
    again = parse(str(graph), REGISTRY)
    assert str(again) == str(graph)
    assert again.nodes[0].attrs["padding"] == ((1, 1), (1, 1))


def test_a_parsed_graph_runs() -> None:
    graph = parse(TEXT, REGISTRY)
    check(graph)
    s, i = interpret(graph, np.ones((2, 3), "f4"), np.array([1, 2, 3], "f4"))
    assert s.tolist() == [6.0, 6.0] and i.tolist() == [6, 6]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("a: f32[3] = exp(x)  return a", "the op gives"),
        ("a: f64[2] = exp(x)  return a", "the op gives"),
    ],
)
def test_check_finds_what_is_wrong(body: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check(parse(f"graph f(x: f32[2]) {{ {body} }}", REGISTRY))


def test_check_refuses_inputs_that_do_not_fit_their_op() -> None:
    graph = parse("graph f(x: f32[2], n: i32[2]) { a: f32[2] = add(x, n)  return a }", REGISTRY)
    with pytest.raises(TapeflowError, match="the dtypes differ"):
        check(graph)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[:, 1:] * 2.0,
        lambda x: x[[0, 1], [1, 0]],
        lambda x: tf.softmax(x),
        lambda x: tf.pad(x, 1),
        lambda x: tf.concat([x, x], axis=1),
        lambda x: tf.one_hot(tf.argmax(x, axis=1), 3),
        lambda x: tf.flip(x),
        lambda x: tf.grad(lambda x: tf.sum(tf.tanh(x) ** 2))(x),
        lambda x: tf.sort(x),
        lambda x: tf.cumsum(x),
    ],
)
def test_what_is_traced_checks_and_prints_and_parses(f: Any) -> None:
    graph = trace(f, spec(2, 3), name="f")
    check(graph)
    if "const ..." not in str(graph):
        assert str(parse(str(graph), REGISTRY)) == str(graph)


def test_broadcasting_is_a_node_of_its_own() -> None:
    graph = trace(lambda x, y: x + y, spec(2, 3), spec(3), name="f")
    assert [n.prim.name for n in graph.nodes] == ["broadcast_to", "add"]


def test_small_powers_are_products() -> None:
    graph = trace(lambda x: x**2 + x**3, spec(3), name="f")
    assert {n.prim.name for n in graph.nodes} == {"square", "multiply", "add"}


def test_a_composite_is_its_ops_in_a_graph() -> None:
    names = [n.prim.name for n in trace(tf.softmax, spec(2, 3), name="f").nodes]
    assert "max" in names and "exp" in names and "softmax" not in names


def test_the_gradient_of_a_cross_entropy_needs_no_gather() -> None:
    labels = np.array([0, 2])
    gradient = tf.grad(lambda x: tf.mean(tf.sparse_softmax_cross_entropy(labels, x)))
    names = {n.prim.name for n in trace(gradient, spec(2, 3), name="f").nodes}
    assert not names & {"take", "add_at", "argmax"}
    hosted = {name for name in names if REGISTRY[name].lowering is None}
    assert not hosted


def test_nodes_know_scope_and_line() -> None:
    def f(x: Any) -> Any:
        with tf.name_scope("loss"):
            return tf.exp(x)

    (node,) = trace(f, spec(2), name="f").nodes
    assert node.scope == "loss" and "test_graph.py" in node.line


def test_constants_that_are_infinite_or_no_number_parse_back() -> None:
    text = """graph f(x: f32[2]) {
  c: f32[3] = const [inf, -inf, nan]
  return x, c
}"""
    (constant,) = parse(text, REGISTRY).constants.values()
    assert str(parse(text, REGISTRY)) == text
    np.testing.assert_array_equal(constant, np.array([np.inf, -np.inf, np.nan], "f4"))
