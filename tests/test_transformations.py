"""Transformations in any order: each beside what it means, written out by loops and choices."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf

Function = Callable[[Any], Any]

X = tf.asarray([0.3, -0.4, 1.2], tf.float64)
SCALES = tf.asarray([1.0, 0.5], tf.float64)
V = tf.Variable(np.array([0.9, 1.1, 1.3]))


def base(x: Any) -> Any:
    return tf.sin(x) * V + x * x * 0.3


def total_grad(f: Function) -> Function:
    return tf.grad(lambda x: tf.sum(f(x)))


def of_scaled(f: Function) -> Function:
    """vmap of a function of the examples alone, which reads x from its closure."""
    return lambda x: tf.sum(tf.vmap(lambda s: f(x * s))(SCALES), 0) * 0.5


def of_rows(f: Function) -> Function:
    def g(x: Any) -> Any:
        rows = tf.vmap(f)(tf.stack([x, x * 0.7]))
        return rows[0] + rows[1] * x

    return g


def in_scan(f: Function) -> Function:
    def g(x: Any) -> Any:
        end, sums = tf.scan(lambda c, s: (f(c) * 0.4 * s, tf.sum(c)), x, SCALES)
        return end + tf.sum(sums) * 0.1

    return g


def by_loop(f: Function) -> Function:
    def g(x: Any) -> Any:
        sums = []
        for s in SCALES:
            sums.append(tf.sum(x))
            x = f(x) * 0.4 * s
        return x + tf.add_n(sums) * 0.1

    return g


def along_cosine(f: Function) -> Function:
    return lambda x: tf.jvp(f, (x,), (tf.cos(x),))[1]


# each transformation, and what it means by nothing but tapes and forward mode
PAIRS: dict[str, tuple[Callable[[Function], Function], Callable[[Function], Function]]] = {
    "grad": (total_grad, total_grad),
    "jvp": (along_cosine, along_cosine),
    "jacobian": (lambda f: lambda x: tf.sum(tf.jacobian(f)(x), 0), total_grad),
    "jit": (tf.jit, lambda f: f),
    "checkpoint": (tf.checkpoint, lambda f: f),
    "closure": (of_scaled, lambda f: lambda x: tf.add_n([f(x * s) for s in SCALES]) * 0.5),
    "rows": (of_rows, lambda f: lambda x: f(x) + f(x * 0.7) * x),
    "scan": (in_scan, by_loop),
    "cond": (
        lambda f: lambda x: tf.cond(tf.sum(x) > 1.0, lambda: f(x), lambda: x * 2.0),
        lambda f: lambda x: tf.where(tf.sum(x) > 1.0, f(x), x * 2.0),
    ),
}
CHAINS = list(itertools.product(PAIRS, repeat=2))
CHAINS += random.Random(0).sample(list(itertools.product(PAIRS, repeat=3)), 60)


def value_and_gradients(f: Function) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(X)
        y = f(X)
    grads = tape.gradient(y, [X, V], unconnected_gradients="zero")
    return [y.numpy(), *(g.numpy() for g in grads)]


@tf.custom_gradient
def log1pexp(x: Any) -> Any:
    e = tf.exp(x)
    return tf.log1p(e), lambda g: g * (1.0 - 1.0 / (1.0 + e))


def total(x: Any) -> Any:
    return tf.sum(log1pexp(x))


SECOND: dict[str, Function] = {
    "reverse over reverse": tf.grad(lambda x: tf.sum(tf.grad(total)(x))),
    "forward over reverse": lambda x: tf.jvp(tf.grad(total), (x,), (tf.ones_like(x),))[1],
    "forward over forward": lambda x: tf.jvp(
        lambda x: tf.jvp(log1pexp, (x,), (tf.ones_like(x),))[1], (x,), (tf.ones_like(x),)
    )[1],
    "hessian": lambda x: tf.sum(tf.hessian(total)(x), 0),
    "inside a map": tf.vmap(tf.grad(tf.grad(log1pexp))),
    "around a map": tf.grad(lambda x: tf.sum(tf.grad(lambda x: tf.sum(tf.vmap(log1pexp)(x)))(x))),
}


@pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_pass_what_a_custom_pull_holds(name: str, run: Any) -> None:
    slope = 1.0 / (1.0 + np.exp(-X.numpy()))
    np.testing.assert_allclose(run(SECOND[name])(X).numpy(), slope * (1.0 - slope), rtol=1e-10)


def test_what_has_no_derivative_may_be_used_by_a_function_with_its_own() -> None:
    @tf.custom_gradient
    def largest(x: Any) -> Any:
        q, r = tf.linalg.qr(x, mode="complete")  # which refuses to be differentiated
        return tf.max(tf.abs(q @ r)), lambda g: g * tf.cast(tf.abs(x) == tf.max(tf.abs(x)), x.dtype)

    x = tf.asarray([[1.0], [-3.0]])
    assert tf.grad(largest)(x).tolist() == [[0.0], [1.0]]
    assert tf.jvp(largest, (x,), (x,))[1].item() == -3.0


@pytest.mark.parametrize("chain", CHAINS, ids="-".join)
def test_values_and_gradients_are_those_of_plain_tapes(chain: tuple[str, ...]) -> None:
    f = plain = base
    for name in chain:
        f, plain = PAIRS[name][0](f), PAIRS[name][1](plain)
    for a, b in zip(value_and_gradients(f), value_and_gradients(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
