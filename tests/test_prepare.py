"""What loops are spared: weights are packed once, and parts of a gradient are put side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.graph import check, evaluate, parse
from tapeflow.jit.passes.assemble import assemble
from tapeflow.jit.passes.dce import dce
from tapeflow.jit.plan import Kernels, Plan
from tapeflow.primitive import REGISTRY

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype("f4") / 12


def names(plan: Plan) -> list[str]:
    steps = [s for s in plan.steps if isinstance(s, Kernels)]
    return [launch.code.symbol.split("_")[0] for s in steps for launch in s.launches]


def programs(compiled: Any, *args: Any) -> tuple[Plan, list[Plan]]:
    """The plan of a compiled function, and those of the bodies of its loops."""
    plan = compiled.lower(*args)._form.program.plan
    return plan, [part.plan for s in plan.steps if hasattr(s, "parts") for part in s.parts]


def unrolled(w: Any, x: Any, turns: int) -> np.ndarray:
    for _ in range(turns):
        x = np.tanh(x @ w)
    return x


@pytest.mark.parametrize("turned", [False, True])
def test_weights_are_packed_once_for_all_turns(turned: bool) -> None:
    def loop(w: Any, x: Any) -> Any:
        w = w.mT if turned else w
        return tf.scan(lambda c, _: (tf.tanh(c @ w), None), x, tf.zeros(40))[0]

    w, x, run = floats(96, 96), floats(20, 96), tf.jit(loop)
    wanted = unrolled(w.T if turned else w, x, 40)
    np.testing.assert_allclose(run(w, x).numpy(), wanted, atol=1e-5)
    np.testing.assert_allclose(run(-w, x).numpy(), wanted, atol=1e-5)  # 40 is even
    plan, (body,) = programs(run, w, x)
    assert "pack" in names(plan) and "pack" not in names(body)
    assert len(body.prepared) == 1


def test_what_changes_from_turn_to_turn_is_packed_in_each() -> None:
    def loop(w: Any, x: Any) -> Any:
        def turn(carry: Any, _: Any) -> Any:
            x, w = carry
            return (tf.tanh(x @ w.mT), w * 1.01), None

        return tf.scan(turn, (x, w), tf.zeros(5))[0][0]

    w, x, run = floats(96, 96), floats(20, 96), tf.jit(loop)
    wanted, u = x, w
    for _ in range(5):
        wanted, u = np.tanh(wanted @ u.T), u * np.float32(1.01)
    np.testing.assert_allclose(run(w, x).numpy(), wanted, atol=1e-5)
    _, (body,) = programs(run, w, x)
    assert not body.prepared


def test_loops_in_loops_and_loops_that_do_not_turn_prepare_too() -> None:
    def loop(w: Any, x: Any, turns: Any) -> Any:
        def inner(c: Any, _: Any) -> Any:
            return tf.tanh(c @ w.mT), None

        def outer(carry: Any) -> Any:
            i, c = carry
            return i + 1, tf.scan(inner, c, tf.zeros(3))[0]

        return tf.while_loop(lambda carry: carry[0] < turns, outer, (0, x))[1]

    w, x, run = floats(96, 96), floats(20, 96), tf.jit(loop)
    for turns in (0, 1, 3):
        found = run(w, x, np.int64(turns)).numpy()
        np.testing.assert_allclose(found, unrolled(w.T, x, 3 * turns), atol=1e-5)


def test_gradients_through_prepared_loops_are_those_of_unrolled_ones() -> None:
    def scanned(w: Any, x: Any) -> Any:
        return tf.sum(tf.scan(lambda c, _: (tf.tanh(c @ w), None), x, tf.zeros(12))[0] ** 2)

    def plain(w: Any, x: Any) -> Any:
        for _ in range(12):
            x = tf.tanh(x @ w)
        return tf.sum(x**2)

    w, x = floats(64, 64), floats(24, 64)
    for found, wanted in zip(
        tf.jit(tf.grad(scanned, (0, 1)))(w, x), tf.grad(plain, (0, 1))(w, x), strict=True
    ):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-5)


def of_parts(starts: str, steps: int = 1) -> Any:
    places = [f"shape=(3, 8), starts=(0, {start}), steps=(1, {steps})" for start in starts.split()]
    return parse(
        f"""graph f(a: f32[3,2], b: f32[3,4], c: f32[3,2]) {{
  x: f32[3,8] = place(a, {places[0]})
  y: f32[3,8] = place(b, {places[1]})
  z: f32[3,8] = place(c, {places[2]})
  s: f32[3,8] = add(y, x)
  t: f32[3,8] = add(z, s)
  return t
}}""",
        REGISTRY,
    )


@pytest.mark.parametrize(
    "starts, is_joined", [("0 2 6", True), ("4 0 6", True), ("0 2 5", False), ("0 0 6", False)]
)
def test_parts_that_fill_an_axis_are_put_side_by_side(starts: str, is_joined: bool) -> None:
    before = of_parts(starts)
    after = dce(assemble(before))
    check(after)
    assert [n.prim.name for n in after.nodes].count("concat") == is_joined
    assert not is_joined or len(after.nodes) == 1
    arrays = floats(3, 2), floats(3, 4), floats(3, 2)
    np.testing.assert_array_equal(evaluate(after, *arrays)[0], evaluate(before, *arrays)[0])


def test_a_sum_that_is_read_elsewhere_stays() -> None:
    graph = parse(
        """graph f(a: f32[2], b: f32[2], c: f32[4]) {
  x: f32[4] = place(a, shape=(4,), starts=(0,), steps=(1,))
  y: f32[4] = place(b, shape=(4,), starts=(2,), steps=(1,))
  s: f32[4] = add(x, c)
  t: f32[4] = add(s, y)
  return s, t
}""",
        REGISTRY,
    )
    assert str(assemble(graph)) == str(graph)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_repeating_is_compiled_with_its_gradient(axis: int | None) -> None:
    x = floats(3, 4)
    w = np.repeat(floats(3, 4), 3, axis)
    run = tf.jit(tf.value_and_grad(lambda x: tf.sum(tf.repeat(x, 3, axis) * w)))
    value, gradient = run(x)
    np.testing.assert_allclose(value.numpy(), np.sum(np.repeat(x, 3, axis) * w), rtol=1e-5)
    wanted = 3 * (w.reshape(3, 3, 4)[:, 0] if axis == 0 else w.reshape(3, 4, 3)[..., 0])
    np.testing.assert_allclose(gradient.numpy(), wanted, rtol=1e-5)
    assert not run.lower(x).host_steps
