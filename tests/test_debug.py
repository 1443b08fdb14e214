"""Hunting errors: the first NaN or infinity, and float64 that nobody asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.config import Float64Warning
from tapeflow.errors import NumericsError
from tapeflow.primitive import ByExample, discrete

X = np.array([1.0, 0.0, 4.0], np.float32)


def rooted(x: Any) -> Any:
    with tf.name_scope("rooted"):
        y = tf.sqrt(x)  # whose derivative at 0 is infinite
        return tf.sum(y)


def caught(call: Any, *args: Any) -> NumericsError:
    with tf.debug.check_numerics(), pytest.raises(NumericsError) as found:
        call(*args)
    return found.value


both = pytest.mark.parametrize("wrap", [lambda f: f, tf.jit], ids=["eager", "compiled"])


@both
def test_the_error_names_the_op_its_line_and_its_scope(wrap: Any) -> None:
    def f(x: Any) -> Any:
        with tf.name_scope("inner"):
            return tf.log(x - 1.0) + 1.0

    error = caught(wrap(f), tf.asarray(X))
    assert (error.op, error.why) == (
        "log",
        "1 of 3 elements is NaN and 1 of 3 elements is infinite",
    )
    assert "test_debug.py" in error.at
    assert "scope inner: return tf.log(x - 1.0) + 1.0" in error.at


@both
def test_the_error_says_what_the_inputs_were_like_and_who_made_them(wrap: Any) -> None:
    def f(x: Any, y: Any) -> Any:
        return (x * 2.0) / y

    error = caught(wrap(f), tf.asarray(X), tf.asarray(np.float32([1.0, 0.0, np.nan])))
    first, second = error.got.split("\n")
    assert first.startswith("x f32[3], finite, from 0 to 8, mean 3.33333, of multiply at ")
    assert second.strip() == "y f32[3], 1 NaN, finite, from 0 to 1, mean 0.5"


@both
def test_a_gradient_names_the_op_that_it_is_of(wrap: Any) -> None:
    error = caught(wrap(tf.grad(rooted)), tf.asarray(X))
    assert error.op == "divide" and "call(*args)" in error.at
    assert "of sqrt at " in error.got and "y = tf.sqrt(x)" in error.got


def test_the_gradient_of_a_compiled_function_is_looked_into() -> None:
    compiled = tf.jit(rooted)
    error = caught(tf.grad(compiled), tf.asarray(X))
    assert error.op == "divide" and "y = tf.sqrt(x)" in error.got


def test_variables_and_random_numbers_stay_as_they_were() -> None:
    v, g = tf.Variable([1.0, 2.0]), tf.random.Generator(3)

    @tf.jit
    def step() -> Any:
        noise = g.uniform(2)
        v.assign(v * 3.0)
        return tf.log(v - v) + noise

    before = g.state.numpy().tolist()
    assert caught(step).op == "log"
    assert v.numpy().tolist() == [1.0, 2.0] and g.state.numpy().tolist() == before


def test_what_a_variable_would_be_is_checked_too() -> None:
    v = tf.Variable([3e38])

    @tf.jit
    def step() -> Any:
        v.assign(v * 2.0)
        return tf.asarray(1.0)

    assert caught(step).op == "multiply"
    assert v.numpy()[0] < np.inf


def test_the_replay_draws_the_same_random_numbers() -> None:
    g = tf.random.Generator(3)
    error = caught(tf.jit(lambda: 1.0 / tf.floor(g.uniform(()))))
    assert error.got.splitlines()[1].strip().startswith("y f32[] = 0")
    error = caught(tf.jit(lambda: tf.exp(1000.0 + g.uniform(()))))
    expected = tf.random.Generator(3).uniform(()).item() + 1000.0  # no call came through
    assert error.got.startswith(f"x f32[] = {expected:.6g}")


def test_bodies_of_loops_and_branches_are_looked_into() -> None:
    def f(x: Any) -> Any:
        c = tf.cond(x[0] > 0, lambda x: x - 4.0, lambda x: x, x)
        return tf.scan(lambda total, y: (total + y, 1.0 / y), tf.asarray(0.0), c)[1]

    error = caught(tf.jit(f), tf.asarray(X))
    assert error.op == "divide" and "lambda total, y" in error.at


HAPPENED: list[float] = []


@discrete(
    name="happens_in_tests",
    spec=lambda x: x,
    has_effect=True,
    batching=ByExample("each happens"),
)
def happens(x: Any) -> Any:
    HAPPENED.append(float(x))
    return x


def test_an_effect_happens_once_and_ends_the_replay_where_it_gives_values() -> None:
    HAPPENED.clear()

    @tf.jit
    def after(x: Any) -> Any:
        return tf.log(happens(x))

    assert caught(after, tf.asarray(0.0)).op == "after"
    assert HAPPENED == [0.0]


def test_what_is_finite_passes_and_gives_the_same() -> None:
    x = tf.asarray(X + 1.0)
    expected = tf.grad(rooted)(x).tolist()
    with tf.debug.check_numerics():
        assert tf.grad(rooted)(x).tolist() == expected
        assert tf.jit(tf.grad(rooted))(x).tolist() == expected
        assert tf.cast(x, "int32").dtype == tf.int32


def test_the_check_ends_with_its_block_and_can_be_turned_off_inside() -> None:
    with tf.debug.check_numerics():
        with tf.debug.check_numerics(False):
            tf.log(X)
        with pytest.raises(NumericsError):
            tf.log(X)
    tf.log(X)


def test_the_check_holds_while_nothing_is_recorded() -> None:
    with tf.no_grad():
        assert caught(tf.log, X).op == "log"


def test_threads_that_start_inside_are_checked() -> None:
    found: list[type] = []

    def work() -> None:
        try:
            tf.log(X)
        except NumericsError as error:
            found.append(type(error))

    with tf.debug.check_numerics():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert found == [NumericsError]


def test_an_environment_name_checks_from_the_start() -> None:
    env = {**os.environ, "TAPEFLOW_CHECK_NUMERICS": "1"}
    program = "import tapeflow as tf\ntf.exp(tf.asarray(1000.0))"
    run = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60
    )
    assert "NumericsError: exp: 1 of 1 elements is infinite" in run.stderr


# ---- float64


def test_float64_warns_at_the_line_where_it_comes_in_and_once_a_line() -> None:
    def take(x: Any) -> Any:
        return tf.asarray(x)

    with tf.config.warn_on_float64(), warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(3):
            take(np.zeros(2))
        tf.asarray([1.0]) * np.float64(2.0)
    assert [w.category for w in found] == [Float64Warning] * 2
    assert all(w.filename == __file__ for w in found)
    assert [w.lineno - take.__code__.co_firstlineno for w in found] == [1, 7]


def test_a_promotion_to_float64_warns() -> None:
    x, wide = tf.zeros(2), tf.zeros(2, dtype="float64")
    with tf.config.warn_on_float64(), pytest.warns(Float64Warning, match="float32 beside float64"):
        x + wide


def test_float64_warns_where_a_compiled_function_takes_it() -> None:
    with tf.config.warn_on_float64(), pytest.warns(Float64Warning, match="NumPy array"):
        tf.jit(lambda x: x)(np.zeros(2))


def test_what_is_asked_for_by_name_does_not_warn() -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        with tf.config.warn_on_float64():
            x = tf.zeros(2, dtype="float64")
            (x + x) * 2.0
            tf.cast(tf.ones(2), tf.float64)
            tf.result_type(tf.float32, tf.float64)
            with tf.config.warn_on_float64(False):
                tf.asarray(np.zeros(2))
        tf.asarray(np.zeros(2))
    assert found == []
