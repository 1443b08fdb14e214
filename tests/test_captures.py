"""What functions use without being passed it: no derivative by that is left out silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf

Function = Callable[[Any], Any]
W = tf.Variable(3.0, name="steepness")
C = tf.asarray(2.0)
X = tf.asarray(5.0)

# Each calls f once, or twice along a loop or for two examples.
EAGER: dict[str, Callable[[Function], Function]] = {
    "plain": lambda f: f,
    "vmap": lambda f: lambda x: tf.sum(tf.vmap(f)(tf.stack([x, x]))),
    "scan": lambda f: lambda x: tf.scan(lambda c, _: (f(c), c), x, tf.ones(2))[0],
    "checkpoint": tf.checkpoint,
}
ANY = EAGER | {
    "jit": tf.jit,
    "jit of vmap": lambda f: tf.jit(EAGER["vmap"](f)),
    "jit of scan": lambda f: tf.jit(EAGER["scan"](f)),
    "jit of cond": lambda f: tf.jit(lambda x: tf.cond(x > 0.0, f, f, x)),
}
LEFT_OUT = r"(?s)custom_gradient: .* would be left out.*steep, which uses {}.*pass it as an arg"


@tf.custom_gradient
def steep(x: Any) -> Any:
    return x * W * C, lambda g: g * W * C


def gradient(f: Function, source: Any) -> Any:
    with tf.GradientTape() as tape:
        tape.watch([X, C])
        y = f(X)
    return tape.gradient(y, source)


@pytest.mark.parametrize("name", ANY)
def test_the_gradient_by_a_variable_that_was_not_passed_is_refused(name: str) -> None:
    with pytest.raises(tf.errors.ArgumentError, match=LEFT_OUT.format(r"steepness: f32\[\]")):
        gradient(ANY[name](steep), W)


@pytest.mark.parametrize("name", ANY)
def test_the_gradient_by_a_tensor_that_was_not_passed_is_refused(name: str) -> None:
    with pytest.raises(tf.errors.ArgumentError, match=LEFT_OUT.format(r"f32\[\]")):
        gradient(ANY[name](steep), C)


def test_a_compiled_gradient_by_what_was_not_passed_is_refused() -> None:
    def f(c: Any) -> Any:
        return tf.custom_gradient(lambda x: (x * c, lambda g: g * c))(2.0)

    with pytest.raises(tf.errors.ArgumentError, match="would be left out"):
        tf.jit(tf.grad(f))(C)


@pytest.mark.parametrize("has_rule", [False, True])
def test_the_tangent_of_what_was_not_passed_is_refused(has_rule: bool) -> None:
    def f(c: Any) -> Any:
        inner = tf.custom_gradient(lambda x: (x * c, lambda g: g * c))
        if has_rule:
            inner.defjvp(lambda primals, tangents: (primals[0] * c, tangents[0] * c))
        return inner(2.0)

    with pytest.raises(tf.errors.ArgumentError, match="would be left out"):
        tf.jvp(f, (C,), (C,))


@pytest.mark.parametrize("name", ANY)
def test_gradients_by_arguments_are_what_the_pull_gives(name: str) -> None:
    @tf.custom_gradient  # another slope than its own, to see whose it is
    def own(x: Any) -> Any:
        return x * W * C, lambda g: g * W * 10.0

    uses = {"vmap": 60.0, "jit of vmap": 60.0, "scan": 900.0, "jit of scan": 900.0}
    assert gradient(ANY[name](own), X).item() == uses.get(name, 30.0)


def test_second_derivatives_see_what_the_pull_uses() -> None:
    with tf.GradientTape() as outer:
        slope = gradient(steep, X)
    assert outer.gradient(slope, W).item() == 2.0


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x * tf.stop_gradient(W), lambda g: g),
        lambda x: (x + tf.cast(W > 0.0, x.dtype), lambda g: g),
        lambda x: (x * 2.0, lambda g: g * W),
        lambda x: (x * 2.0, (W * C, lambda g: g)[1]),
    ],
    ids=["stopped", "compared", "in the pull", "beside"],
)
def test_what_the_result_has_no_derivative_by_may_be_used(f: Any) -> None:
    def run(x: Any) -> Any:
        return tf.custom_gradient(f)(x) + W * 7.0

    assert gradient(run, W).item() == 7.0


def test_arguments_that_are_rebound_inside_are_still_arguments() -> None:
    @tf.custom_gradient
    def f(x: Any) -> Any:
        x[0] = 0.0
        y = x * 2.0
        y[1] = 1.0
        return y, lambda g: g * 3.0

    np.testing.assert_array_equal(tf.grad(lambda x: tf.sum(f(x)))(tf.ones(3)), [3.0, 3.0, 3.0])


def test_a_tensor_that_is_written_inside_counts_as_used() -> None:
    @tf.custom_gradient
    def f(x: Any) -> Any:
        y = x * 2.0
        y[1] = C
        return y, lambda g: g

    with pytest.raises(tf.errors.ArgumentError, match="would be left out"):
        gradient(lambda x: tf.sum(f(tf.stack([x, x]))), C)


# ---- closures of compiled functions


def curved(x: Any) -> Any:
    return tf.sin(x * C) * W * C


@pytest.mark.parametrize("name", ANY)
def test_gradients_flow_to_tensors_of_a_closure(name: str) -> None:
    plain = EAGER.get(name.removeprefix("jit of "), lambda f: f)
    sources = [X, C, W]
    for found, expected in zip(
        gradient(ANY[name](curved), sources), gradient(plain(curved), sources), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5)


def of_closure(c: Any) -> Any:
    return tf.jit(lambda x: tf.sin(x * c) * c)(X)


@pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize(
    "derive",
    [
        tf.grad,
        lambda f: tf.grad(tf.grad(f)),
        lambda f: lambda c: tf.jvp(f, (c,), (c,))[1],
        lambda f: lambda c: tf.jvp(tf.grad(f), (c,), (c,))[1],
    ],
    ids=["reverse", "second", "forward", "forward of reverse"],
)
def test_derivatives_of_any_order_reach_closures_of_compiled_functions(
    derive: Any, run: Any
) -> None:
    expected = derive(lambda c: tf.sin(X * c) * c)(C)
    np.testing.assert_allclose(run(derive(of_closure))(C).numpy(), expected.numpy(), rtol=1e-5)


def test_constants_that_a_function_makes_are_not_of_its_closure() -> None:
    f = tf.jit(lambda x: x * tf.asarray([1.0, 2.0]) + 0.5 * tf.cast(tf.arange(2), "float32"))
    f(X)
    (entry,) = f.programs.values()
    assert entry.compiled.trace.captured == ()


def test_checks_of_numerics_replay_a_function_with_a_closure() -> None:
    f = tf.jit(lambda x: tf.log(x - 5.0) * C)
    with tf.debug.check_numerics(), pytest.raises(tf.errors.NumericsError, match="log: "):
        f(X)
