"""Values and gradients at infinities, at 0 and of huge numbers: the limits, where there are any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as sp

import tapeflow as tf

INF = np.inf
HALF = float(np.sqrt(0.5))
ERFCX_6 = float(sp.erfcx(6.0))
Row = tuple[Callable[..., Any], list[list[float]], Any, list[list[float]]]

# function, arguments, values, and the gradient of their sum to each argument
EDGES: dict[str, Row] = {
    "logsumexp of nothing": (tf.logsumexp, [[-INF, -INF]], -INF, [[0, 0]]),
    "logsumexp of infinity": (tf.logsumexp, [[INF, 5]], INF, [[1, 0]]),
    "logsumexp beside -inf": (tf.logsumexp, [[-INF, 1]], 1, [[0, 1]]),
    "logsumexp of huge": (tf.logsumexp, [[1e38, 1e38]], 1e38, [[0.5, 0.5]]),
    "softplus": (tf.softplus, [[-INF, INF, -800, 800]], [0, INF, 0, 800], [[0, 1, 0, 1]]),
    "expm1": (tf.expm1, [[-INF, INF, 0, 1e-30]], [-1, INF, 0, 1e-30], [[0, INF, 1, 1]]),
    "log1p": (tf.log1p, [[-1, INF, 0, 1e-30]], [-INF, INF, 0, 1e-30], [[INF, 0, 1, 1]]),
    "sigmoid": (tf.sigmoid, [[-INF, INF, 0]], [0, 1, 0.5], [[0, 0, 0.25]]),
    "tanh": (tf.tanh, [[-INF, INF, 0]], [-1, 1, 0], [[0, 0, 1]]),
    "silu": (tf.nn.silu, [[-INF, INF, 0]], [0, INF, 0], [[0, 1, 0.5]]),
    "gelu": (tf.nn.gelu, [[-INF, INF, -1e20, 1e20]], [0, INF, 0, 1e20], [[0, 1, 0, 1]]),
    "gelu by tanh": (
        lambda x: tf.nn.gelu(x, approximate=True),
        [[-INF, INF, -1e20, 1e20]], [0, INF, 0, 1e20], [[0, 1, 0, 1]],
    ),
    "elu": (tf.nn.elu, [[-INF, INF]], [-1, INF], [[0, 1]]),
    "hypot": (
        tf.hypot, [[0, INF, 1e38, -INF, 1e-38], [0, 1, 1e38, 2, 1e-38]],
        [0, INF, 1e38 / HALF, INF, 1e-38 / HALF],
        [[0, 1, HALF, -1, HALF], [0, 0, HALF, 0, HALF]],
    ),
    "logaddexp": (
        tf.logaddexp, [[-INF, INF, -INF, 1e38], [-INF, INF, 0, 1e38]], [-INF, INF, 0, 1e38],
        [[0.5, 0.5, 0, 0.5], [0.5, 0.5, 1, 0.5]],
    ),
    "logaddexp2": (
        tf.logaddexp2, [[-INF, INF, -INF, 1e38], [-INF, INF, 0, 1e38]], [-INF, INF, 0, 1e38],
        [[0.5, 0.5, 0, 0.5], [0.5, 0.5, 1, 0.5]],
    ),
    "softmax beside -inf": (lambda x: tf.nn.softmax(x)[1], [[-INF, 0]], 1, [[0, 0]]),
    "norm of huge": (tf.linalg.vector_norm, [[3e30, 4e30]], 5e30, [[0.6, 0.8]]),
    "norm of tiny": (tf.linalg.vector_norm, [[3e-30, 4e-30]], 5e-30, [[0.6, 0.8]]),
    "norm of nothing": (tf.linalg.vector_norm, [[0, 0]], 0, [[0, 0]]),
    "norm of several": (
        lambda x, y: tf.global_norm([x, y]), [[3e30], [4e30]], 5e30, [[0.6], [0.8]]),
    "direction of huge": (
        lambda x: tf.nn.l2_normalize(x)[0], [[3e30, 4e30]], 0.6, [[1.28e-31, -9.6e-32]]),
    "direction of tiny": (
        lambda x: tf.nn.l2_normalize(x, epsilon=0)[0], [[3e-30, 4e-30]], 0.6, [[1.28e29, -9.6e28]]),
    "xlogy": (tf.xlogy, [[0, 0, 2], [0, INF, 1]], [0, 0, 0], [[-INF, INF, 0], [0, 0, 2]]),
    "digamma": (tf.digamma, [[INF, 1]], [INF, -np.euler_gamma], [[0, np.pi**2 / 6]]),
    "i1": (tf.i1, [[0, INF, -INF, 1e4]], [0, INF, -INF, INF], [[0.5, INF, INF, INF]]),
    "sinc": (tf.sinc, [[0, INF, 2**20, 2**20 + 1, 3e38]], [1, 0, 0, 0, 0],
             [[0, 0, 2**-20, -1 / (2**20 + 1), 1 / 3e38]]),
    "erfcx": (
        tf.erfcx, [[INF, 1e8, 1e4, 6, -INF]], [0, 5.641895835e-9, 5.64189581e-5, ERFCX_6, INF],
        [[0, -5.641895835e-17, -5.641895751e-9, 12 * ERFCX_6 - 2 / np.sqrt(np.pi), -INF]],
    ),
    "sigmoid_cross_entropy": (
        lambda x: tf.sigmoid_cross_entropy(np.array([1, 0, 1, 0, 0.5, 0.5], x.dtype), x),
        [[INF, -INF, -INF, INF, INF, -INF]], [0, 0, INF, INF, INF, INF],
        [[0, 0, -1, 1, 0.5, -0.5]],
    ),
    "erfc": (tf.erfc, [[-INF, INF, 0]], [2, 0, 1], [[0, 0, -2 / np.sqrt(np.pi)]]),
    "erfinv": (tf.erfinv, [[-1, 1, 0]], [-INF, INF, 0], [[INF, INF, np.sqrt(np.pi) / 2]]),
    "std of alike": (tf.std, [[2, 2]], 0, [[0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", EDGES.values(), ids=EDGES.keys())
def test_values_and_gradients_are_the_limits(row: Row, dtype: str, run: Any) -> None:
    fn, arguments, value, gradients = row
    xs = [tf.asarray(x, dtype=dtype) for x in arguments]
    found = run(fn)(*xs)
    slopes = run(tf.grad(lambda *a: tf.sum(fn(*a)), tuple(range(len(xs)))))(*xs)
    np.testing.assert_allclose(found.numpy(), np.asarray(value, dtype), rtol=1e-6)
    for slope, expected in zip(slopes, gradients, strict=True):
        np.testing.assert_allclose(slope.numpy(), np.asarray(expected, dtype), rtol=1e-6)


@pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize("x", [[INF, 0.0], [-INF, -INF]], ids=str)
def test_softmax_of_what_has_no_shares_is_nan(x: list[float], run: Any) -> None:
    for f in (tf.nn.softmax, tf.nn.log_softmax):
        assert np.isnan(run(f)(tf.asarray(x))[0].numpy())


def test_gradients_of_logsumexp_keep_their_digits_for_large_numbers() -> None:
    x = np.array([1e6, 1e6 + 1, 1e6 + 2])
    found = tf.grad(tf.logsumexp)(tf.asarray(x, dtype="float32")).numpy()
    e = np.exp(x - x.max())
    np.testing.assert_allclose(found, e / e.sum(), rtol=1e-6)


def test_clipping_by_a_norm_that_would_overflow() -> None:
    clipped = tf.clip_by_norm(tf.asarray([3e30, 4e30]), 1.0)
    np.testing.assert_allclose(clipped.numpy(), [0.6, 0.8], rtol=1e-6)


BEYOND: dict[str, Callable[[], Any]] = {
    "a number": lambda: tf.asarray(1e300),
    "a list": lambda: tf.asarray([1e300]),
    "a complex number": lambda: tf.real(tf.asarray(complex(1e300, 1.0))),
    "full": lambda: tf.full((2,), 1e300),
    "full_like": lambda: tf.full_like(tf.ones(2), 1e300),
    "arange": lambda: tf.arange(1e39, 3e39, 1e39),
    "linspace": lambda: tf.linspace(0, INF, 3)[1:],
    "an operand": lambda: tf.ones(2) * 1e300,
    "a half": lambda: tf.asarray(70000.0, tf.float16),
    "a gradient": lambda: tf.grad(lambda x: x * 1e300)(1.0),
    "a reflected gradient": lambda: tf.grad(lambda x: 1e300 * x)(1.0),
    "a variable": lambda: tf.Variable(1.0).assign(1e300),
}


@pytest.mark.parametrize("make", BEYOND.values(), ids=BEYOND)
def test_what_is_too_large_for_a_dtype_is_infinite_without_a_warning(make: Any) -> None:
    assert np.isposinf(make().numpy()).all()
