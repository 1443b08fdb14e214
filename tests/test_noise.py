"""The random numbers that others are made of: known answers, tails, and kernels bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special

import tapeflow as tf
from tapeflow.jit import eager
from tapeflow.tensor import Tensor
from tapeflow_kernels import noise

KINDS = ["uniform", "normal", "truncated_normal", "exponential", "gumbel"]
DIGITS = {"float32": 24, "float64": 53}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_dtype = pytest.mark.parametrize("dtype", DIGITS)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers(counter: Any, key: Any, expected: Any) -> None:
    """Those that Salmon et al. publish with Random123, `philox4x32 10`."""
    words = noise.philox([np.array([c], np.uint64) for c in counter], key)
    assert tuple(int(w[0]) for w in words) == expected


def drawn(kind: str, dtype: str) -> Any:
    prim = getattr(tf.random.noise, f"standard_{kind}")
    digits = {"digits": DIGITS[dtype]} if kind == "uniform" else {}
    return lambda state, shape: prim(state, shape=shape, dtype=np.dtype(dtype), **digits)


STATES = {
    "seed 0": [0, 0, 0],
    "large": [2**64 - 1, 2**63 + 12345, 7],
    "many calls": [5, 3, 2**33 + 1],
}


@pytest.mark.parametrize("numbers", STATES.values(), ids=STATES)
@each_dtype
@each_kind
def test_kernels_give_the_bits_of_numpy(kind: str, dtype: str, numbers: Any) -> None:
    state, shape = np.array(numbers, np.uint64), (3, 1367)
    expected = noise.draw(kind, state, 3 * 1367, dtype, DIGITS[dtype]).reshape(shape)
    compiled = tf.jit(lambda s: drawn(kind, dtype)(s, shape))
    assert compiled.lower(Tensor(state)).kernels
    found = compiled(Tensor(state)).numpy()
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("count", [1, 700, 1025])
@each_dtype
@each_kind
def test_rows_of_numbers_have_a_state_each(kind: str, dtype: str, count: int) -> None:
    states = np.array([*STATES.values(), [1, 2, 3]], np.uint64).reshape(2, 2, 3)
    expected = [noise.draw(kind, s, count, dtype, DIGITS[dtype]) for s in states.reshape(4, 3)]
    draw = drawn(kind, dtype)
    for f in (draw, tf.jit(draw, static_argnames="shape")):
        found = f(Tensor(states), shape=(2, 2, count)).numpy()
        assert found.tobytes() == np.stack(expected).tobytes()


@each_dtype
@each_kind
def test_an_empty_draw_is_empty(kind: str, dtype: str) -> None:
    found = noise.draw(kind, np.array([1, 2, 3], np.uint64), 0, dtype, DIGITS[dtype])
    assert (found.shape, found.dtype) == ((0,), dtype)


@each_dtype
@each_kind
def test_eager_code_changes_to_kernels_without_a_trace(
    kind: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eager._ByKernel, "by_numpy", 0)
    draw, state = drawn(kind, dtype), Tensor(np.array([1, 2, 3], np.uint64))
    prim = getattr(tf.random.noise, f"standard_{kind}")
    monkeypatch.setattr(prim.eager, "_kernels", {})
    by_numpy = draw(state, (1500,)).numpy()
    assert not prim.eager._kernels
    monkeypatch.setattr(eager._ByKernel, "by_numpy", 1 << 30)
    assert draw(state, (1500,)).numpy().tobytes() == by_numpy.tobytes()
    assert prim.eager._kernels


def test_more_numbers_begin_with_the_same_ones() -> None:
    state = np.array([1, 2, 3], np.uint64)
    few, many = (noise.draw("normal", state, n, "float32", 24) for n in (1000, 5000))
    assert (many[:1000] == few).all()


@pytest.mark.parametrize(
    ("dtype", "least", "error"), [("float32", 33, 5e-7), ("float64", 65, 2e-15)]
)
def test_quantiles_are_exact_into_the_tails(dtype: str, least: int, error: float) -> None:
    p = np.exp2(-np.linspace(1, least, 20_000)).astype(dtype)
    expected = -special.ndtri(p.astype("f8"))
    np.testing.assert_allclose(noise._quantile(p), expected, rtol=error, atol=error)


@each_dtype
def test_small_exponential_numbers_are_exact(dtype: str) -> None:
    bits = 8 * np.dtype(dtype).itemsize
    words = np.array([2**bits - 1, 2**bits - 3, 1], np.uint64)
    found = noise._exponential(words, dtype).astype("f8")
    unit = 2.0 ** (1 - bits)
    expected = [unit / 2, 1.5 * unit, -np.log(unit / 2)]
    np.testing.assert_allclose(found, expected, rtol=4 * np.finfo(dtype).eps)


def test_a_compiled_draw_needs_no_host_step() -> None:
    generator = tf.random.Generator(3)

    @tf.jit
    def dropped(x: Any) -> Any:
        return tf.sum(tf.nn.dropout(tf.exp(x), 0.5, generator))

    assert dropped.lower(tf.ones((4, 5))).host_steps == []


def test_a_compiled_map_draws_in_kernels() -> None:
    @tf.jit
    @tf.vmap
    def dropped(x: Any) -> Any:
        return tf.sum(tf.nn.dropout(x, 0.5)) + tf.random.normal(())

    assert dropped.lower(tf.ones((4, 5))).host_steps == []
