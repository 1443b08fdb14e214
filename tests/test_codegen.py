"""Generated kernels: against the array functions of the ops they are made of."""
from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from launches import evaluate, own, run
from tapeflow.dtypes import OF_SHORT
from tapeflow.graph import Node, Var, parse
from tapeflow.jit.codegen import cpu, loops
from tapeflow.jit.kernel import Code, Launch, Layout
from tapeflow.jit.passes.fuse import fuse
from tapeflow.jit.passes.fused import Fused
from tapeflow.ops.shape import contiguous
from tapeflow.primitive import REGISTRY
from tapeflow.tensor import Array
from tapeflow_kernels import machine

INTEGERS = [f"{kind}{bits}" for kind in "iu" for bits in (8, 16, 32, 64)]
CHAIN = "a: {t} = multiply(x, y)  b: {t} = add(a, x)"


def fused(text: str) -> Node[Var]:
    """The only fused node of a graph."""
    (node,) = (n for n in fuse(parse(text, REGISTRY)).nodes if isinstance(n.prim, Fused))
    return node


def numbers(v: Var, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    if v.dtype.kind == "b":
        return rng.integers(0, 2, v.shape).astype(bool)
    if v.dtype.kind in "iu":
        return rng.integers(1, 100, v.shape).astype(v.dtype)
    return rng.standard_normal(v.shape).astype(v.dtype)


def check_close(got: Array, want: Array) -> None:
    if got.dtype.kind == "f":
        size = 1e-6 if got.dtype == np.float32 else 1e-14
        atol = 10 * size * max(1, np.abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=10 * size, atol=atol)
    else:
        np.testing.assert_array_equal(got, want)


def check_agrees(text: str, share: int = 1 << 60) -> Node[Var]:
    """Machine code and array functions give the same for the only fused node of `text`."""
    node = fused(text)
    arrays = {v: numbers(v, i) for i, v in enumerate(node.inputs)}
    want = node.prim.array_fn(*arrays.values())
    found = evaluate(node, {v: own(v) for v in arrays}, arrays, share)
    for got, expected in zip(found, want, strict=True):
        check_close(got, expected)
    return node


# ---- maps

@pytest.mark.parametrize("shape", ["", "1", "7", "1000", "3,5", "2,3,4", "0", "3,0"])
def test_a_map_of_any_shape(shape: str):
    t = f"f32[{shape}]"
    check_agrees(f"graph f(x: {t}, y: {t}) {{ {CHAIN.format(t=t)}  return a, b }}")


@pytest.mark.parametrize("dtype", [*INTEGERS, "f32", "f64"])
def test_a_map_of_any_dtype_wraps_as_numpy(dtype: str):
    t = f"{dtype}[100]"
    check_agrees(f"graph f(x: {t}, y: {t}) {{ {CHAIN.format(t=t)}  c: {t} = negative(b)  "
                 f"d: bool[100] = greater(b, x)  e: {t} = where(d, c, y)  return b, c, d, e }}")


def test_bools_are_bytes():
    check_agrees("graph f(x: bool[9], y: bool[9]) { a: bool[9] = logical_and(x, y)  "
                 "b: bool[9] = logical_not(a)  c: f32[9] = cast(b, dtype=f32)  return a, b, c }")


def test_inputs_may_lie_in_any_way():
    t = "f32[4,6,5]"
    node = fused(f"graph f(x: {t}, y: {t}, z: {t}) {{ a: {t} = multiply(x, y)  "
                 f"b: {t} = subtract(a, z)  return b }}")
    memory = {v: np.resize(numbers(v, i), (200,)) for i, v in enumerate(node.inputs)}
    ways = [(3, (0, 5, 1)), (2, (1, 20, 4)), (0, (30, 0, 0))]
    layouts = {v: Layout(v, *way) for v, way in zip(node.inputs, ways, strict=True)}
    views = [as_strided(memory[v][way.offset:], v.shape, [4 * s for s in way.strides])
             for v, way in layouts.items()]
    (got,) = evaluate(node, layouts, memory)
    check_close(got, node.prim.array_fn(*views)[0])


@pytest.mark.parametrize("share", [1 << 60, 1], ids=["whole", "shared"])
@pytest.mark.parametrize("shape,order", [((50, 70), (1, 0)), ((3, 40, 50), (0, 2, 1)),
                                         ((20, 3, 40), (2, 1, 0)), ((3, 20, 2, 40), (3, 2, 0, 1))])
def test_transposed_inputs_are_walked_in_tiles(shape: tuple[int, ...], order: tuple[int, ...],
                                               share: int):
    turned = [shape[a] for a in order]
    t = f"f32{turned}".replace(" ", "")
    node = fused(f"graph f(x: {t}, y: {t}) {{ a: {t} = subtract(x, y)  return a }}")
    x, y = node.inputs
    memory = {x: np.random.default_rng(0).random(shape, np.float32), y: numbers(y)}
    layouts = {x: Layout(x, 0, tuple(contiguous(shape)[a] for a in order)), y: own(y)}
    (got,) = evaluate(node, layouts, memory, share)
    np.testing.assert_array_equal(got, memory[x].transpose(order) - memory[y])


def test_an_output_may_take_the_place_of_an_input():
    node = fused("graph f(x: f32[50], y: f32[50]) { a: f32[50] = multiply(x, y)  return a }")
    x, y = node.inputs
    memory = {v: numbers(v, i) for i, v in enumerate(node.inputs)}
    want = memory[x] * memory[y]
    launches = loops.lower(node, {v: own(v) for v in (x, y, *node.outputs)}, {node.outputs[0]: x})
    assert launches[0].code.parameters == ("f32*", "f32*")
    run(launches, memory)
    check_close(memory[x], want)


def test_a_copy_is_contiguous():
    x, y = Var("x", (6, 4), np.dtype(np.float32)), Var("y", (6, 4), np.dtype(np.float32))
    memory = {x: numbers(x), y: np.zeros((6, 4), np.float32)}
    run(loops.lower_copy(Layout(x, 0, (1, 6)), own(y), x.spec), memory)
    np.testing.assert_array_equal(memory[y], memory[x].reshape(4, 6).T)


EDGES = {"f": [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 0.5, 1.5, -7.0, 7.0, 3.0, np.inf, -np.inf, np.nan,
               1e-44, 1e30],
         "i": [0, 1, 2, 3, 7, 40, 100, -1, -2, -7, -100], "u": [0, 1, 2, 3, 7, 40, 100]}
UNARY = ["floor", "ceil", "trunc", "round", "sign", "abs", "isinf", "isfinite", "negative"]
BINARY = ["maximum", "minimum", "floor_divide", "remainder"]
OF_FLOATS = ["sqrt", "signbit", "copysign", "nextafter", "divide"]
OF_INTEGERS = ["bitwise_invert", "bitwise_left_shift", "bitwise_right_shift", "bitwise_xor"]


@pytest.mark.parametrize("dtype", ["f32", "f64", "i8", "i32", "i64", "u8", "u64"])
def test_functions_of_numbers_mean_what_numpy_means(dtype: str):
    """Each at every pair of edge cases, all in one kernel, bit by bit but for NaN."""
    kind = OF_SHORT[dtype]
    edges = np.array(EDGES[kind.kind] + ([] if kind.kind == "f" else
                                         [np.iinfo(kind).min, np.iinfo(kind).max]), kind)
    x, y = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(edges, edges))
    shape = f"[{x.size}]"
    lines = []
    for op in UNARY + BINARY + (OF_FLOATS if kind.kind == "f" else OF_INTEGERS):
        inputs = ", ".join("xy"[:len(REGISTRY[op].params)])
        result = "bool" if op in ("isinf", "isfinite", "signbit") else dtype
        lines.append(f"v_{op}: {result}{shape} = {op}({inputs})")
    names = ", ".join(line.split(":")[0] for line in lines)
    head = f"graph f(x: {dtype}{shape}, y: {dtype}{shape})"
    node = fused(f"{head} {{ {'  '.join(lines)}  return {names} }}")
    memory = dict(zip(node.inputs, (x, y), strict=True))
    with np.errstate(all="ignore"):
        want = node.prim.array_fn(x, y)
    found = evaluate(node, {v: own(v) for v in memory}, memory)
    for v, got, expected in zip(node.outputs, found, want, strict=True):
        np.testing.assert_array_equal(got, expected, err_msg=v.name)
        if got.dtype.kind == "f":
            there = ~np.isnan(got) & (v.name not in ("v_maximum", "v_minimum"))   # of 0 and -0
            signs = np.signbit(got[there]), np.signbit(expected[there])
            np.testing.assert_array_equal(*signs, err_msg=v.name)


# ---- reductions

FOLDS = [("7", (0,)), ("30000", (0,)), ("5,7", (0,)), ("5,7", (1,)), ("5,7", (0, 1)),
         ("3,4,5", (0,)), ("3,4,5", (1,)), ("3,4,5", (2,)), ("3,4,5", (0, 2)), ("3,4,5", (0, 1)),
         ("3,4,5", (1, 2)), ("2,3,4,5", (0, 2)), ("2,3,4,5", (1, 3)), ("3000,40", (0,)),
         ("3,20000", (1,)), ("2,3000,3", (1,)), ("0", (0,)), ("3,0", (1,)), ("3,0", (0,)),
         ("0,3", (0,)), ("1,5", (0,)), ("5,1", (1,))]


def _kept(shape: str, axes: tuple[int, ...]) -> str:
    return ",".join(n for a, n in enumerate(shape.split(",")) if a not in axes)


@pytest.mark.parametrize("share", [1 << 60, 2], ids=["whole", "shared"])
@pytest.mark.parametrize("shape,axes", FOLDS)
def test_sums_over_any_axes(shape: str, axes: tuple[int, ...], share: int):
    t = f"f32[{shape}]"
    check_agrees(f"graph f(x: {t}, y: {t}) {{ {CHAIN.format(t=t)}  "
                 f"s: f32[{_kept(shape, axes)}] = sum(b, axes={axes})  return a, s }}", share)


@pytest.mark.parametrize("dtype", ["f32", "f64", "i8", "i32", "u64"])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("op", ["sum", "prod", "max", "min"])
def test_reductions_of_any_dtype(op: str, axes: tuple[int, ...], dtype: str):
    kept = _kept("20,33", axes)
    check_agrees(
        f"graph f(x: {dtype}[20,33]) {{ s: {dtype}[{kept}] = {op}(x, axes={axes})  return s }}")


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_truth_of_all_and_any(axes: tuple[int, ...]):
    kept = _kept("3,40", axes)
    check_agrees(f"graph f(x: bool[3,40]) {{ s: bool[{kept}] = all(x, axes={axes})  "
                 f"t: bool[{kept}] = any(x, axes={axes})  return s, t }}")


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("op", ["max", "min"])
def test_extrema_carry_nan(op: str, axes: tuple[int, ...]):
    kept = _kept("9,70", axes)
    node = fused(f"graph f(x: f32[9,70]) {{ s: f32[{kept}] = {op}(x, axes={axes})  return s }}")
    x = numbers(node.inputs[0])
    x[4, 33] = np.nan
    (got,) = evaluate(node, {v: own(v) for v in node.inputs}, {node.inputs[0]: x})
    np.testing.assert_array_equal(got, node.prim.array_fn(x)[0])


@pytest.mark.parametrize("shape,axes", [((10_000_000,), (0,)), ((10_000, 1000), (0, 1)),
                                        ((1_000_000, 8), (0,)), ((2, 4_000_000), (1,))])
def test_long_sums_are_accurate(shape: tuple[int, ...], axes: tuple[int, ...]):
    text = ",".join(map(str, shape))
    node = fused(f"graph f(x: f32[{text}]) {{ s: f32[{_kept(text, axes)}] = sum(x, axes={axes})  "
                 "return s }")
    x = np.random.default_rng(0).random(shape, np.float32)
    (got,) = evaluate(node, {v: own(v) for v in node.inputs}, {node.inputs[0]: x})
    np.testing.assert_allclose(got, x.sum(axes, np.float64), rtol=1e-6)


# ---- text

def _launches(text: str) -> list[Launch]:
    node = fused(text)
    return loops.lower(node, {v: own(v) for v in (*node.inputs, *node.outputs)}, {})


@pytest.mark.parametrize("axes", [None, (0,), (1,), (0, 1)])
def test_another_batch_size_needs_no_other_code(axes: tuple[int, ...] | None):
    def codes(rows: int) -> list[Code]:
        t = f"f32[{rows},64]"
        last = f"s: {t} = exp(b)"
        if axes:
            last = f"s: f32[{_kept(f'{rows},64', axes)}] = sum(b, axes={axes})"
        text = f"graph f(x: {t}, y: {t}) {{ {CHAIN.format(t=t)}  {last}  return s }}"
        return [launch.code for launch in _launches(text)]
    assert codes(32) == codes(50) == codes(3000)


def test_names_of_values_do_not_matter():
    one = _launches("graph f(x: f32[9], y: f32[9]) { a: f32[9] = add(x, y)  return a }")
    other = _launches("graph g(p: f32[7], q: f32[7]) { r: f32[7] = add(p, q)  return r }")
    assert one[0].code == other[0].code


def test_text_is_readable():
    (launch,) = _launches("graph f(x: f32[9], y: f32[9]) { a: f32[9] = multiply(x, y)  "
                          "b: f32[9] = tanh(a)  return b }")
    assert launch.code.text == f"""def {launch.code.symbol}(start, stop, x0, x1, y0):
    for i in range(start, stop):
        v0 = x0[i]
        v1 = x1[i]
        v2 = v0 * v1
        v3 = tanh(v2)
        y0[i] = v3
"""


@pytest.mark.parametrize("text", [
    "graph f(x: f32[999]) { a: f32[999] = multiply(x, x)  b: f32[999] = maximum(a, x)  return b }",
    "graph f(x: f32[999]) { b: f32[] = sum(x, axes=(0,))  return b }",
    "graph f(x: f32[999]) { b: f32[] = max(x, axes=(0,))  return b }",
    "graph f(x: f32[99,99]) { b: f32[99] = sum(x, axes=(0,))  return b }",
    "graph f(x: f32[99,99]) { b: f32[99] = sum(x, axes=(1,))  return b }",
])
def test_loops_use_whole_vectors_and_no_doubles(text: str):
    assembly = machine.assembly(cpu.lower_to_ir(_launches(text)[0].code))
    assert not re.search(r"cvt[ps]s2[ps]d", assembly)
    register = {64: "zmm", 32: "ymm", 16: "xmm"}.get(machine.host().vector_bytes)
    if re.search(r"\bxmm\d", assembly):   # x86
        assert re.search(rf"(add|mul|max|min)ps\b.*%?{register}", assembly)


