"""Narrow dtypes in products: errors within bounds that follow from the formats."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.gpu import DeviceProgram
from tapeflow.jit.plan import HostStep, plan
from tapeflow.ops.elementwise import Elementwise
from tapeflow.primitive import REGISTRY
from tapeflow_kernels.cpu.amx import has_tiles
from tapeflow_kernels.cpu.halves import multiplies_pairs
from tapeflow_kernels.machine import host

HALF_ULP = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
LEAST = {"bfloat16": 2.0**-134, "float16": 2.0**-25, "float32": 2.0**-150}
SUM = 2.0**-23  # of the magnitudes, for each addition in float32


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> tf.Tensor:
    """Normal numbers, exact in `dtype`."""
    return tf.cast(np.random.default_rng(seed).standard_normal(shape), dtype)


def exact(a: tf.Tensor, b: tf.Tensor) -> tuple[Any, Any]:
    """a @ b in float64, and the sums of the magnitudes."""
    x, y = a.numpy().astype(np.float64), b.numpy().astype(np.float64)
    return x @ y, np.abs(x) @ np.abs(y)


def host_steps(fn: Any, *args: Any) -> list[Any]:
    """What the program for these arguments leaves to NumPy."""
    steps = plan(fn.lower(*args).graph, {}).steps
    return [step.node.prim.name for step in steps if isinstance(step, HostStep)]


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(0, 70), st.integers(1, 70)),
    st.sampled_from(["bfloat16", "float16"]),
    st.booleans(),
)
def test_products_of_halves_are_summed_in_float32_and_rounded_once(
    sizes: tuple[int, int, int], dtype: str, transposed: bool
) -> None:
    m, k, n = sizes
    a = numbers((m, k), dtype, 0)
    b = numbers((n, k), dtype, 1).T if transposed else numbers((k, n), dtype, 1)
    found = tf.jit(tf.matmul)(a, b)
    wanted, magnitude = exact(a, b)
    assert found.dtype.name == dtype
    error = np.abs(found.numpy().astype(np.float64) - wanted)
    bound = HALF_ULP[dtype] * 1.01 * np.abs(wanted) + (k + 1) * SUM * magnitude + LEAST[dtype]
    assert (error <= bound).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_product_of_halves_is_no_host_step(dtype: str) -> None:
    fn = tf.jit(lambda a, b, c: tf.nn.relu(a @ b + c))
    a, b, c = numbers((5, 3), dtype, 0), numbers((3, 4), dtype, 1), numbers((5, 4), dtype, 2)
    assert host_steps(fn, a, b, c) == []
    wanted = np.maximum(exact(a, b)[0] + c.numpy().astype(np.float64), 0.0)
    found = fn(a, b, c).numpy().astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=2 * HALF_ULP[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_infinities_and_nan_pass_through_products_of_halves(dtype: str) -> None:
    a = tf.cast(np.array([[np.inf, 1.0], [np.nan, 1.0], [-np.inf, 2.0]]), dtype)
    found = tf.jit(tf.matmul)(a, tf.cast(np.array([[2.0], [1.0]]), dtype)).numpy()
    np.testing.assert_array_equal(found.astype(np.float64), [[np.inf], [np.nan], [-np.inf]])


PAIRS = pytest.mark.skipif(
    not multiplies_pairs(host()), reason="no instruction multiplies pairs here"
)


def rounded(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.cast(x, tf.bfloat16), tf.float32)


@PAIRS
def test_mode_bfloat16_rounds_both_factors_and_nothing_else() -> None:
    a, b = numbers((40, 65), "float32", 0), numbers((65, 50), "float32", 1)
    with tf.config.matmul_precision("bfloat16"):
        found = tf.jit(tf.matmul)(a, b).numpy()
    wanted, magnitude = exact(rounded(a), rounded(b))
    assert (np.abs(found - wanted) <= 66 * SUM * magnitude).all()


@pytest.mark.parametrize(
    ("mode", "bits"), [("float32", 24), ("bfloat16", 8), ("bfloat16_3x", 16), ("bfloat16_6x", 23)]
)
@pytest.mark.parametrize(("m", "n"), [(40, 50), (200, 180)])
def test_each_mode_is_as_exact_as_it_says(mode: str, bits: int, m: int, n: int) -> None:
    """Two factors of so many bits, and 65 additions in float32; of enough rows and columns that
    tiles, where there are some, multiply in all modes."""
    a, b = numbers((m, 65), "float32", 0), numbers((65, n), "float32", 1)
    with tf.config.matmul_precision(mode):
        found = tf.jit(tf.matmul)(a, b).numpy()
    wanted, magnitude = exact(a, b)
    assert (np.abs(found - wanted) <= (2.1 * 2.0**-bits + 66 * SUM) * magnitude).all()


def product_is_right() -> bool:
    a, b = numbers((96, 128), "bfloat16", 0), numbers((128, 96), "bfloat16", 1)
    wanted, magnitude = exact(a, b)
    found = tf.jit(tf.matmul)(a, b).numpy().astype(np.float64)
    bound = HALF_ULP["bfloat16"] * 1.01 * np.abs(wanted) + 129 * SUM * magnitude
    return bool((np.abs(found - wanted) <= bound).all())


def test_other_threads_and_new_processes_multiply_bfloat16_too() -> None:
    """Where there are tile registers, permission for them holds for all threads of a process, and
    a new one asks for it itself."""
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(product_is_right())) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found.append(pool.apply_async(product_is_right).get(timeout=120))
    assert found == [True] * 3


def test_a_mode_holds_inside_its_block_and_eager_products_ignore_it() -> None:
    a, b = numbers((40, 65), "float32", 0), numbers((65, 50), "float32", 1)
    plain = (a @ b).numpy()
    with tf.config.matmul_precision("bfloat16"):
        assert tf.config.matmul_precision() == "bfloat16"
        np.testing.assert_array_equal((a @ b).numpy(), plain)
    assert tf.config.matmul_precision() == "float32"


def test_another_mode_means_another_trace_that_says_so() -> None:
    fn = tf.jit(tf.matmul)
    a = numbers((32, 32), "float32", 0)
    plain = fn(a, a).numpy()
    with tf.config.matmul_precision("bfloat16"):
        fn(a, a)
        report = str(fn.explain(a, a))
    assert "tf.config.matmul_precision: float32 became bfloat16" in report
    assert "precision='bfloat16'" in report
    np.testing.assert_array_equal(fn(a, a).numpy(), plain)
    assert len(fn.programs) == 2


def test_gradients_are_computed_in_the_mode_of_their_trace() -> None:
    a = numbers((32, 32), "float32", 0)
    with tf.config.matmul_precision("bfloat16"):
        text = str(tf.jit(tf.grad(lambda x: tf.sum(x @ x))).lower(a).traced)
    assert text.count("matmul(") == text.count("precision='bfloat16'") == 3


@pytest.mark.parametrize("window", [3, 1])
def test_convolutions_and_their_gradients_round_in_mode_bfloat16_if_at_all(window: int) -> None:
    x, w = numbers((2, 14, 14, 32), "float32", 0), numbers((window, window, 32, 32), "float32", 1)
    g = numbers((2, 14, 14, 32), "float32", 2)

    def all_three(x: tf.Tensor, w: tf.Tensor, g: tf.Tensor) -> Any:
        y, pull = tf.vjp(tf.nn.conv2d, x, w)
        return y, *pull(g)

    exactly, fn = all_three(x, w, g), tf.jit(all_three)
    magnitudes = all_three(*(tf.abs(tf.cast(t, tf.float64)) for t in (x, w, g)))
    with tf.config.matmul_precision("bfloat16"):
        found = fn(x, w, g)
        assert str(fn.lower(x, w, g).traced).count("precision='bfloat16'") == 3
    pairs = has_tiles(host())
    for y, wanted, magnitude in zip(found, exactly, magnitudes, strict=True):
        error = np.abs(y.numpy() - wanted.numpy())
        assert (error <= (2.1 * 2.0**-8 + 400 * SUM) * magnitude.numpy()).all()
        assert (error.max() > 1e-3) == pairs


def test_float64_products_have_no_mode() -> None:
    a = numbers((32, 32), "float64", 0)
    with tf.config.matmul_precision("bfloat16"):
        found = tf.jit(tf.matmul)(a, a).numpy()
    np.testing.assert_allclose(found, a.numpy() @ a.numpy(), rtol=1e-12, atol=1e-12)


def test_an_unknown_mode_is_refused_with_those_that_are() -> None:
    with pytest.raises(tf.errors.ArgumentError, match="bfloat16_6x"):
        tf.config.matmul_precision("tf32")


def _rows() -> list[str]:
    """The primitives of one element, of floats."""
    return sorted(
        name
        for name, prim in REGISTRY.items()
        if isinstance(prim, Elementwise) and prim.lowering and "V" in prim.accepted.kinds
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", _rows())
def test_an_op_on_halves_is_compiled_to_what_numpy_gives(name: str, dtype: str) -> None:
    prim = REGISTRY[name]
    rng = np.random.default_rng(0)
    xs = [tf.cast(rng.uniform(0.1, 0.9, (3, 50)), dtype) for _ in prim.params]
    if name == "where":
        xs[0] = xs[0] > 0.5
    fn = tf.jit(lambda *xs: prim(*xs))
    found, wanted = fn(*xs).numpy(), prim(*xs).numpy()
    assert found.dtype == wanted.dtype
    assert host_steps(fn, *xs) == (["nextafter"] if name == "nextafter" else [])
    rtol = (
        0 if wanted.dtype == bool else 2 * HALF_ULP[dtype]
    )  # functions may differ before rounding
    np.testing.assert_allclose(found.astype(np.float64), wanted.astype(np.float64), rtol=rtol)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize(
    "op", [tf.sum, tf.prod, tf.max, tf.min, tf.mean], ids=lambda op: op.__name__
)
def test_reductions_of_halves_are_computed_in_float32(
    op: Any, axis: int | None, dtype: str
) -> None:
    x = tf.cast(np.random.default_rng(1).uniform(0.9, 1.1, (70, 300)), dtype)
    fn = tf.jit(lambda x: op(x, axis=axis))
    assert host_steps(fn, x) == []
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(
            fn(x).numpy().astype(np.float64),
            op(x, axis=axis).numpy().astype(np.float64),
            rtol=2 * HALF_ULP[dtype],
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("source", ["float32", "float64", "int64", "bool"])
def test_casts_to_halves_round_once(source: str, dtype: str) -> None:
    """Numbers beside ties, where two roundings would go another way than one."""
    ties = (1.0 + HALF_ULP[dtype]) * (1.0 + np.array([0.0, 1e-12, -1e-12, 1e-4, -1e-4]))
    x = (ties * (2**20 if source == "int64" else 1)).astype(source)
    with np.errstate(over="ignore"):
        wanted = tf.cast(x, dtype).numpy()
    np.testing.assert_array_equal(
        tf.jit(lambda x: tf.cast(x, dtype))(tf.asarray(x)).numpy(), wanted
    )


def test_a_cast_to_bfloat16_and_back_keeps_its_rounding() -> None:
    """By which a number is split into terms."""
    x = numbers((64,), "float32", 0)
    rest = tf.jit(lambda x: x - tf.cast(tf.cast(x, tf.bfloat16), tf.float32))(x)
    np.testing.assert_array_equal(rest.numpy(), (x - rounded(x)).numpy())


def test_halves_of_a_cuda_program_stay_on_the_host() -> None:
    x = Var("x", (4,), tf.bfloat16)
    y = Var("y", (4,), tf.bfloat16)
    program = DeviceProgram(Graph("f", (x,), (Node(REGISTRY["tanh"], (x,), {}, (y,)),), (y,)))
    assert [grids for _, grids in program.steps] == [()]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["conv", "max_pool", "avg_pool"])
def test_windows_over_halves_and_their_gradients_have_kernels(name: str, dtype: str) -> None:
    def of(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        y = tf.nn.conv2d(x, w) if name == "conv" else getattr(tf.nn, name)(x, 2)
        return tf.sum(y * y)

    x, w = numbers((2, 6, 6, 4), dtype, 0), numbers((3, 3, 4, 8), dtype, 1)
    fn = tf.jit(tf.value_and_grad(of, argnums=(0, 1) if name == "conv" else 0))
    assert host_steps(fn, x, w) == []
    loss, gradients = fn(x, w)
    wanted, exact_gradients = tf.value_and_grad(of, argnums=(0, 1))(
        tf.cast(x, tf.float64), tf.cast(w, tf.float64)
    )
    assert loss.dtype.name == dtype
    np.testing.assert_allclose(float(loss), float(wanted), rtol=8 * HALF_ULP[dtype])
    for g, e in zip(gradients if name == "conv" else [gradients], exact_gradients, strict=False):
        scale = np.abs(e.numpy()).max()
        np.testing.assert_allclose(
            g.numpy().astype(np.float64), e.numpy(), atol=8 * HALF_ULP[dtype] * scale
        )


def test_a_convolution_of_halves_and_what_follows_are_rounded_once() -> None:
    x, w = numbers((2, 5, 5, 4), "bfloat16", 0), numbers((3, 3, 4, 8), "bfloat16", 1)
    bias, rest = numbers((8,), "bfloat16", 2), numbers((2, 5, 5, 8), "float32", 3)
    block = lambda x, w, b, r: tf.cast(tf.nn.conv2d(x, w) + b, tf.float32) * r  # noqa: E731
    fn = tf.jit(block)
    names = [node.prim.name for node in fn.lower(x, w, bias, rest).graph.nodes]
    assert sorted(names) == ["broadcast_to", "product"]
    wide = [tf.cast(t, tf.float64) for t in (x, w, bias, rest)]
    np.testing.assert_allclose(
        fn(x, w, bias, rest).numpy(), block(*wide[:3], rest).numpy(), rtol=1e-4, atol=1e-4
    )
