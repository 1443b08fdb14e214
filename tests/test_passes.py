"""Passes: graph before, graph after."""
from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow.ops.conv  # noqa: F401   # whose primitives are registered by its first use
from tapeflow.graph import Graph, check, evaluate, parse
from tapeflow.jit.passes import PIPELINE, optimize
from tapeflow.jit.passes.cse import cse
from tapeflow.jit.passes.dce import dce
from tapeflow.jit.passes.flatten import flatten
from tapeflow.jit.passes.fold_constants import fold_constants
from tapeflow.jit.passes.fuse import fuse
from tapeflow.jit.passes.fused import Fused
from tapeflow.jit.passes.regroup import regroup
from tapeflow.jit.passes.simplify import simplify
from tapeflow.primitive import REGISTRY


def graph(text: str) -> Graph:
    parsed = parse(text, REGISTRY)
    check(parsed)
    return parsed


def check_same(after: Graph, text: str) -> None:
    check(after)
    assert str(after) == str(graph(text))


def bodies(after: Graph) -> list[str]:
    """The ops of each fused node."""
    check(after)
    return [" ".join(node.prim.name for node in fused.prim.body.nodes) for fused in after.nodes
            if isinstance(fused.prim, Fused)]


def test_dce_keeps_what_an_output_needs():
    check_same(dce(graph("graph f(x: f32[4]) { a: f32[4] = tanh(x)  b: f32[4] = exp(x)  "
                         "return a }")),
               "graph f(x: f32[4]) { a: f32[4] = tanh(x)  return a }")


def test_dce_drops_constants_that_nothing_reads():
    check_same(dce(graph("graph f(x: f32[4]) { c: f32[] = const 1.0  return x }")),
               "graph f(x: f32[4]) { return x }")


def test_cse_computes_equal_values_once():
    check_same(cse(graph("graph f(x: f32[4]) { a: f32[4] = tanh(x)  b: f32[4] = tanh(x)  "
                         "c: f32[4] = add(a, b)  return c }")),
               "graph f(x: f32[4]) { a: f32[4] = tanh(x)  c: f32[4] = add(a, a)  return c }")


def test_cse_sees_that_addition_commutes_and_subtraction_does_not():
    check_same(cse(graph("graph f(x: f32[4], y: f32[4]) { a: f32[4] = add(x, y)  "
                         "b: f32[4] = add(y, x)  c: f32[4] = subtract(x, y)  "
                         "d: f32[4] = subtract(y, x)  return a, b, c, d }")),
               "graph f(x: f32[4], y: f32[4]) { a: f32[4] = add(x, y)  c: f32[4] = subtract(x, y)  "
               "d: f32[4] = subtract(y, x)  return a, a, c, d }")


def test_cse_tells_attributes_and_the_signs_of_zeros_apart():
    text = ("graph f(x: f32[2,2]) { c: f32[] = const 0.0  d: f32[] = const -0.0  "
            "a: f32[2] = sum(x, axes=(0,))  b: f32[2] = sum(x, axes=(1,))  return a, b, c, d }")
    check_same(cse(graph(text)), text)


def test_cse_tells_the_outputs_of_one_op_from_what_comes_later():
    text = ("graph f(x: f32[2,2]) { l: f32[2,2], u: f32[2,2], p: i64[2] = lu(x)  "
            "a: f32[2,2] = exp(x)  b: f32[2,2] = exp(a)  c: i64[2] = square(p)  "
            "d: f32[2,2] = square(b)  return l, u, c, d }")
    check_same(cse(graph(text)), text)


def test_cse_merges_equal_constants():
    check_same(cse(graph("graph f() { c: f32[] = const 2.0  d: f32[] = const 2.0  return c, d }")),
               "graph f() { c: f32[] = const 2.0  return c, c }")


def test_a_chain_becomes_one_kernel_and_its_inner_values_are_not_stored():
    after = fuse(graph("graph f(x: f32[4], y: f32[4]) { a: f32[4] = multiply(x, y)  "
                       "b: f32[4] = tanh(a)  c: f32[4] = add(b, x)  return c }"))
    assert bodies(after) == ["multiply tanh add"]
    assert [v.name for v in after.nodes[0].outputs] == ["c"]


def test_a_value_that_is_read_outside_is_an_output_of_its_kernel():
    after = fuse(graph("graph f(x: f32[4,4]) { a: f32[4,4] = tanh(x)  b: f32[4,4] = exp(a)  "
                       "c: f32[4,4] = matmul(a, b)  return c }"))
    assert [v.name for v in after.nodes[0].outputs] == ["a", "b"]


def test_a_reduction_is_fused_with_what_it_reduces():
    after = fuse(graph("graph f(x: f32[4,8]) { a: f32[4,8] = exp(x)  "
                       "s: f32[4] = sum(a, axes=(1,))  return s }"))
    assert bodies(after) == ["exp sum"]


def test_reductions_over_different_axes_are_different_kernels():
    after = fuse(graph("graph f(x: f32[4,8]) { s: f32[4] = sum(x, axes=(1,))  "
                       "t: f32[8] = sum(x, axes=(0,))  return s, t }"))
    assert bodies(after) == ["sum", "sum"]


def test_readers_of_one_value_share_a_kernel():
    after = fuse(graph("graph f(x: f32[4], y: f32[4]) { a: f32[4] = tanh(x)  b: f32[4] = exp(x)  "
                       "c: f32[4] = exp(y)  return a, b, c }"))
    assert bodies(after) == ["tanh exp", "exp"]


def test_a_cheap_value_is_computed_again_where_its_inputs_are_read_anyway():
    after = fuse(graph("graph f(x: f32[4,4], y: f32[4,4]) { a: f32[4,4] = multiply(x, y)  "
                       "b: f32[4,4] = tanh(a)  p: f32[4,4] = matmul(b, b)  "
                       "c: f32[4,4] = add(a, p)  d: f32[4,4] = multiply(c, x)  "
                       "e: f32[4,4] = multiply(d, y)  return e }"))
    assert bodies(after) == ["multiply tanh", "multiply add multiply multiply"]
    assert [v.name for v in after.nodes[0].outputs] == ["b"]


def test_cheap_values_of_one_input_are_computed_again_rather_than_stored():
    """b is computed from x in both loops; x is read where b would be."""
    after = fuse(graph("graph f(x: f32[4,8]) { a: f32[4,8] = negative(x)  "
                       "b: f32[4,8] = multiply(a, a)  s: f32[8] = sum(b, axes=(0,))  "
                       "t: f32[4,8] = broadcast_to(s, shape=(4, 8), axes=(0,))  "
                       "c: f32[4,8] = divide(b, t)  return c }"))
    assert bodies(after) == ["negative multiply sum", "negative multiply divide"]
    assert [v.name for v in after.nodes[0].outputs] == ["s"]


def test_a_cheap_value_that_is_returned_is_read_again():
    after = fuse(graph("graph f(x: f32[4,8]) { b: f32[4,8] = negative(x)  "
                       "s: f32[8] = sum(b, axes=(0,))  "
                       "t: f32[4,8] = broadcast_to(s, shape=(4, 8), axes=(0,))  "
                       "c: f32[4,8] = divide(b, t)  return b, c }"))
    assert bodies(after) == ["negative sum", "divide"]


def test_a_reduction_joins_the_loop_before_the_one_that_waits_for_it():
    """u reads y, as the last loop does; joined to that, it would put c into a loop more."""
    after = fuse(graph("graph f(x: f32[4,8], y: f32[4,8]) { s: f32[8] = sum(x, axes=(0,))  "
                       "t: f32[4,8] = broadcast_to(s, shape=(4, 8), axes=(0,))  "
                       "u: f32[8] = sum(y, axes=(0,))  a: f32[4,8] = divide(y, t)  "
                       "w: f32[4,8] = broadcast_to(u, shape=(4, 8), axes=(0,))  "
                       "p: f32[4,8] = multiply(x, y)  q: f32[8] = sum(p, axes=(0,))  "
                       "b: f32[4,8] = add(a, w)  return b, q }"))
    assert bodies(after) == ["sum sum multiply sum", "divide add"]


def test_a_dear_value_or_one_of_other_inputs_is_stored():
    after = fuse(graph("graph f(x: f32[4,4], y: f32[4,4]) { a: f32[4,4] = multiply(x, y)  "
                       "b: f32[4,4] = tanh(x)  p: f32[4,4] = matmul(b, a)  "
                       "c: f32[4,4] = add(a, p)  d: f32[4,4] = multiply(c, x)  "
                       "e: f32[4,4] = multiply(d, b)  return e }"))
    assert bodies(after) == ["multiply tanh", "add multiply multiply"]


def test_a_chain_of_numbers_is_one_kernel():
    """The bias corrections of Adam, from the number of steps."""
    after = fuse(graph("graph f(t: f32[], p: f32[], q: f32[]) { a: f32[] = pow(p, t)  "
                       "b: f32[] = pow(q, t)  c: f32[] = negative(a)  d: f32[] = negative(b)  "
                       "return c, d }"))
    assert bodies(after) == ["pow pow negative negative"]


def test_fusion_never_makes_a_cycle():
    after = fuse(graph("graph f(x: f32[4,4]) { a: f32[4,4] = tanh(x)  b: f32[4,4] = matmul(a, a)  "
                       "c: f32[4,4] = add(a, b)  return c }"))
    assert bodies(after) == ["tanh", "add"]


def test_fusion_sees_a_cycle_through_a_group_that_has_members_on_both_sides():
    """k reads x before the product and its exp after it; h reads k, so h must not join a."""
    after = fuse(graph("graph f(x: f32[4,4], y: f32[4,4]) { a: f32[4,4] = tanh(x)  "
                       "p: f32[4,4] = matmul(a, a)  k: f32[4,4] = exp(y)  "
                       "l: f32[4,4] = add(y, p)  m: f32[4,4] = matmul(k, l)  "
                       "h: f32[4,4] = add(m, x)  return h, l }"))
    check(after)
    assert bodies(after) == ["tanh", "exp add", "add"]


def test_a_constant_that_two_read_does_not_bring_them_together():
    """b can run at once, and must not wait for what a waits for."""
    after = fuse(graph("graph f(x: f32[], y: f32[], z: f32[4]) { c: f32[] = const 0.5  "
                       "s: f32[] = sum(z, axes=(0,))  a: f32[] = multiply(s, c)  "
                       "b: f32[] = multiply(y, c)  return a, b }"))
    assert bodies(after) == ["sum", "multiply", "multiply"]


def test_small_whole_numbers_are_literals_of_the_body():
    after = dce(fuse(graph("graph f(x: f32[4]) { c: f32[] = const 2.0  "
                           "d: f32[4] = broadcast_to(c, shape=(4,), axes=(0,))  "
                           "a: f32[4] = multiply(x, d)  return a }")))
    assert bodies(after) == ["broadcast_to multiply"]
    assert not after.constants


def test_value_and_gradients_of_an_activation_are_one_kernel():
    """forward and backward of sum(tanh(x * a + b))."""
    after = optimize(graph("""graph f(x: f32[9], a: f32[9], b: f32[9]) {
      m: f32[9] = multiply(x, a)
      z: f32[9] = add(m, b)
      t: f32[9] = tanh(z)
      s: f32[] = sum(t, axes=(0,))
      one: f32[] = const 1.0
      g: f32[9] = broadcast_to(one, shape=(9,), axes=(0,))
      q: f32[9] = multiply(t, t)
      d: f32[9] = subtract(g, q)
      gx: f32[9] = multiply(d, a)
      ga: f32[9] = multiply(d, x)
      return s, gx, ga, d
    }"""))
    (node,) = after.nodes
    assert sorted(v.name for v in node.inputs) == ["a", "b", "x"]
    assert sorted(v.name for v in node.outputs) == ["d", "ga", "gx", "s"]


@pytest.mark.parametrize("text", [
    "graph f(x: bf16[4]) { a: bf16[4] = nextafter(x, x)  return a }",
    "graph f(x: f64[4]) { a: f16[4] = cast(x, dtype=f16)  return a }",
])
def test_what_float32_would_round_otherwise_is_left_alone(text: str):
    assert re.sub(r"\s+", " ", str(fuse(graph(text)))) == re.sub(r"\s+", " ", str(graph(text)))


SQUARE = [("multiply({a}, {b})", ""), ("subtract({a}, {b})", ""), ("tanh({a})", ""),
          ("negative({a})", ""), ("matmul({a}, {b})", ""), ("transpose({a}, axes=(1,0))", ""),
          ("reshape({a}, shape=(3,3))", ""), ("sum({a}, axes=(0,))", "[3]"),
          ("sum({a}, axes=(1,))", "[3]")]
ROW = [("broadcast_to({a}, shape=(3,3), axes=(0,))", "[3,3]"), ("tanh({a})", ""),
       ("add({a}, {b})", ""), ("broadcast_to({a}, shape=(3,3), axes=(1,))", "[3,3]")]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph of matrices f32[3,3] and rows f32[3]."""
    values = {"[3,3]": ["x", "y"], "[3]": ["r"]}
    lines = []
    for i in range(draw(st.integers(1, 30))):
        shape = draw(st.sampled_from(["[3,3]", "[3,3]", "[3]"]))
        call, result = draw(st.sampled_from(SQUARE if shape == "[3,3]" else ROW))
        a, b = (draw(st.sampled_from(values[shape])) for _ in range(2))
        lines.append(f"v{i}: f32{result or shape} = {call.format(a=a, b=b)}")
        values[result or shape].append(f"v{i}")
    given = [line.split(":")[0] for line in lines]
    outputs = draw(st.lists(st.sampled_from(given), min_size=1, max_size=4))
    return graph(f"graph f(x: f32[3,3], y: f32[3,3], r: f32[3]) {{ {'  '.join(lines)}  "
                 f"return {', '.join(outputs)} }}")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(graphs())
def test_passes_keep_what_a_graph_means(before: Graph):
    rng = np.random.default_rng(0)
    inputs = [rng.uniform(-1, 1, v.shape).astype(np.float32) for v in before.inputs]
    after = before
    for run in PIPELINE:
        after = run(after)
        check(after)
    for got, want in zip(evaluate(after, *inputs), evaluate(before, *inputs), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_a_long_graph_is_fused_in_reasonable_time():
    """2,000 nodes: two chains that meet at every second step, with products in between."""
    lines = ["a0: f32[4,4] = tanh(x)", "b0: f32[4,4] = exp(x)"]
    for i in range(500):
        lines += [f"p{i}: f32[4,4] = matmul(a{i}, b{i})", f"q{i}: f32[4,4] = add(p{i}, a{i})",
                  f"a{i + 1}: f32[4,4] = tanh(q{i})", f"b{i + 1}: f32[4,4] = multiply(b{i}, x)"]
    start = time.process_time()
    after = fuse(graph(f"graph f(x: f32[4,4]) {{ {'  '.join(lines)}  return a500, b500 }}"))
    assert time.process_time() - start < 10
    assert len(after.nodes) < 1600


# ---- algebra

def _constant(value: str) -> str:
    return f"c: f32[] = const {value}  k: f32[4] = broadcast_to(c, shape=(4,), axes=(0,))  "


@pytest.mark.parametrize("line,value", [
    ("y: f32[4] = multiply(x, k)", "1.0"), ("y: f32[4] = multiply(k, x)", "1.0"),
    ("y: f32[4] = divide(x, k)", "1.0"), ("y: f32[4] = add(x, k)", "-0.0"),
    ("y: f32[4] = subtract(x, k)", "0.0"), ("y: f32[4] = pow(x, k)", "1.0"),
])
def test_neutral_numbers_go(line: str, value: str):
    after = dce(simplify(graph(f"graph f(x: f32[4]) {{ {_constant(value)}{line}  return y }}")))
    check_same(after, "graph f(x: f32[4]) { return x }")


@pytest.mark.parametrize("line,value", [
    ("y: f32[4] = add(x, k)", "0.0"), ("y: f32[4] = subtract(x, k)", "-0.0"),
    ("y: f32[4] = multiply(x, k)", "0.0"), ("y: f32[4] = pow(x, k)", "0.5"),
    ("y: f32[4] = divide(x, k)", "3.0"), ("y: f32[4] = subtract(x, x)", "1.0"),
    ("y: f32[4] = divide(x, x)", "1.0"),
])
def test_what_differs_for_nan_infinity_or_minus_zero_stays(line: str, value: str):
    text = f"graph f(x: f32[4]) {{ {_constant(value)}{line}  return y, k }}"
    check_same(simplify(graph(text)), text)


@pytest.mark.parametrize("before,after", [
    ("a: f32[4] = negative(x)  y: f32[4] = negative(a)  return y", "return x"),
    ("a: f32[4] = negative(x)  y: f32[4] = add(x, a)  return y",
     "y: f32[4] = subtract(x, x)  return y"),
    ("a: f32[4] = negative(x)  y: f32[4] = subtract(x, a)  return y",
     "y: f32[4] = add(x, x)  return y"),
    ("y: f32[4] = cast(x, dtype=f32)  return y", "return x"),
    ("a: f64[4] = cast(x, dtype=f64)  y: f32[4] = cast(a, dtype=f32)  return y", "return x"),
    ("y: f32[4] = stop_gradient(x)  return y", "return x"),
    ("a: bool[4] = greater(x, x)  b: bool[4] = logical_not(a)  y: bool[4] = logical_not(b)  "
     "return y", "a: bool[4] = greater(x, x)  return a"),
    ("a: bool[4] = greater(x, x)  y: f32[4] = where(a, x, x)  return y", "return x"),
    ("a: f32[2,2] = reshape(x, shape=(2,2))  y: f32[4] = reshape(a, shape=(4,))  return y",
     "return x"),
    ("a: f32[2,2] = reshape(x, shape=(2,2))  y: f32[1,4] = reshape(a, shape=(1,4))  return y",
     "y: f32[1,4] = reshape(x, shape=(1,4))  return y"),
    ("a: f32[1,4] = reshape(x, shape=(1,4))  y: f32[4] = sum(a, axes=(0,))  return y",
     "return x"),
    ("a: f32[3,4] = broadcast_to(x, shape=(3,4), axes=(0,))  "
     "y: f32[3,4,2] = broadcast_to(a, shape=(3,4,2), axes=(2,))  return y",
     "y: f32[3,4,2] = broadcast_to(x, shape=(3,4,2), axes=(0,2))  return y"),
    ("a: f32[4,3] = broadcast_to(x, shape=(4,3), axes=(1,))  "
     "b: f32[3,4] = transpose(a, axes=(1,0))  y: f32[4,3] = transpose(b, axes=(1,0))  return y",
     "a: f32[4,3] = broadcast_to(x, shape=(4,3), axes=(1,))  return a"),
    ("a: f32[3,4] = broadcast_to(x, shape=(3,4), axes=(0,))  y: f32[4] = sum(a, axes=(0,))  "
     "return y",
     "k0: f32[] = const 3.0  k1: f32[4] = broadcast_to(k0, shape=(4,), axes=(0,))  "
     "y: f32[4] = multiply(x, k1)  return y"),
])
def test_ops_that_undo_each_other_go(before: str, after: str):
    found = dce(simplify(graph(f"graph f(x: f32[4]) {{ {before} }}")))
    check_same(found, f"graph f(x: f32[4]) {{ {after} }}")


def test_a_division_by_a_power_of_two_is_a_multiplication():
    after = dce(simplify(graph(f"graph f(x: f32[4]) {{ {_constant('4.0')}"
                               "y: f32[4] = divide(x, k)  return y }")))
    assert [node.prim.name for node in after.nodes] == ["broadcast_to", "multiply"]
    assert [float(a) for a in after.constants.values()] == [0.25]


def test_casts_that_lose_something_stay():
    text = ("graph f(x: i64[4]) { a: f64[4] = cast(x, dtype=f64)  y: i64[4] = cast(a, dtype=i64)  "
            "return y }")
    check_same(simplify(graph(text)), text)


def test_integers_have_one_zero():
    after = dce(simplify(graph("graph f(x: i32[4]) { c: i32[] = const 0  "
                               "k: i32[4] = broadcast_to(c, shape=(4,), axes=(0,))  "
                               "y: i32[4] = add(x, k)  return y }")))
    check_same(after, "graph f(x: i32[4]) { return x }")


def test_small_constants_are_folded():
    after = dce(fold_constants(graph("graph f() { c: f32[2] = const [1.0, 4.0]  "
                                     "y: f32[2] = sqrt(c)  return y }")))
    check_same(after, "graph f() { k0: f32[2] = const [1.0, 2.0]  return k0 }")


def test_a_number_that_is_repeated_is_folded_without_its_repetition():
    after = dce(fold_constants(graph(f"graph f() {{ {_constant('4.0')}"
                                     "y: f32[4] = sqrt(k)  return y }")))
    check_same(after, "graph f() { k0: f32[] = const 2.0  "
                      "k1: f32[4] = broadcast_to(k0, shape=(4,), axes=(0,))  return k1 }")


def test_large_constants_are_not_made():
    text = ("graph f() { c: f32[2] = const [1.0, 2.0]  "
            "k: f32[3000,2] = broadcast_to(c, shape=(3000,2), axes=(0,))  "
            "y: f32[3000,2] = exp(k)  return y }")
    check_same(fold_constants(graph(text)), text)


AXES = st.tuples(st.integers(1, 7), st.integers(1, 4), st.integers(0, 5), st.integers(0, 5))


@settings(deadline=None)
@given(st.lists(AXES, min_size=1, max_size=2), st.integers(1, 2), st.integers(0, 2))
def test_gradients_of_images_with_few_channels_are_regrouped_without_a_change(
    axes: list[tuple[int, int, int, int]], channels: int, more: int
) -> None:
    taps, strides, *_ = zip(*axes, strict=True)
    pads = tuple((before, after) for *_, before, after in axes)
    sizes = tuple(s * (more + -(-max(k - b - a, 1) // s)) for k, s, b, a in axes)
    places = [(n + b + a - k) // s + 1 for n, (k, s, b, a) in zip(sizes, axes, strict=True)]
    g, w, x = (",".join(map(str, shape)) for shape in (
        (2, *places, 5), (*taps, channels, 5), (2, *sizes, channels)))  # fmt: skip
    before = graph(f"""graph f(g: f64[{g}], w: f64[{w}]) {{
  x: f64[{x}] = conv_input(g, w, size={sizes}, strides={strides}, padding={pads}, \
dilations={(1,) * len(axes)}, groups=1)
  return x
}}""")
    after = regroup(before)
    check(after)
    assert (len(after.nodes) > 1) == (max(strides) > 1)
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(v.shape) for v in before.inputs]
    (found,), (wanted,) = evaluate(after, *arrays), evaluate(before, *arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_what_follows_a_product_of_flattened_rows_joins_it() -> None:
    before = graph("""graph f(x: f32[2,3,4], w: f32[4,5], b: f32[5], r: f32[2,3,5]) {
  zero: f32[] = const 0.0
  rows: f32[6,4] = reshape(x, shape=(6, 4))
  y: f32[6,5] = matmul(rows, w)
  z: f32[2,3,5] = reshape(y, shape=(2, 3, 5))
  bias: f32[2,3,5] = broadcast_to(b, shape=(2, 3, 5), axes=(0, 1))
  a: f32[2,3,5] = add(z, bias)
  o: f32[2,3,5] = broadcast_to(zero, shape=(2, 3, 5), axes=(0, 1, 2))
  c: f32[2,3,5] = maximum(a, o)
  d: f32[2,3,5] = add(c, r)
  return d
}""")
    after = optimize(before)
    assert [node.prim.name for node in after.nodes if "reshape" not in node.prim.name] == [
        "broadcast_to", "product"
    ]  # fmt: skip
    random = np.random.default_rng(0)
    arrays = [random.standard_normal(v.shape).astype("f4") for v in before.inputs]
    (found,), (wanted,) = evaluate(after, *arrays), evaluate(before, *arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_what_a_product_of_flattened_rows_cannot_take_in_keeps_its_axes() -> None:
    text = """graph f(x: f32[2,3,4], w: f32[4,4], t: f32[2,4,3]) {
  rows: f32[6,4] = reshape(x, shape=(6, 4))
  y: f32[6,4] = matmul(rows, w)
  z: f32[2,3,4] = reshape(y, shape=(2, 3, 4))
  e: f32[2,3,4] = erf(z)
  turned: f32[2,3,4] = transpose(t, axes=(0, 2, 1))
  a: f32[2,3,4] = multiply(z, e)
  b: f32[2,3,4] = add(z, turned)
  return a, b
}"""
    check_same(flatten(graph(text)), text)
