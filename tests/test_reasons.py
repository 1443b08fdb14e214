"""Why functions are traced again: what is said of it, logged, and warned of."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pytest

import tapeflow as tf
from tapeflow.jit.reasons import RetraceWarning


def reasons_of(f: Any, *calls: tuple[Any, ...]) -> list[str]:
    for args in calls:
        f(*args)
    return [str(entry.reason) for entry in f.programs.values()]


@pytest.mark.parametrize(
    "first,second,said",
    [
        (tf.ones(3), tf.ones(4), "x: f32[3] became f32[4] (to avoid it, give it one shape"),
        (tf.ones(3), tf.ones(3, dtype="float64"), "x: f32[3] became f64[3] (to avoid it, cast"),
        (tf.ones(()), 2.0, "x: f32[] became a number f64[] (to avoid it, pass either always a"),
        (True, False, "x: the static True became the static False (to avoid it, pass it as a"),
        ("a", "b", "x: the static 'a' became the static 'b' (to avoid it, pass the same object"),
        ("a", tf.ones(1), "x: the static 'a' became f32[1] (to avoid it, pass either always a"),
    ],
)
def test_a_trace_names_the_argument_its_change_and_the_way_round_it(
    first: Any, second: Any, said: str
) -> None:
    f = tf.jit(lambda x: tf.ones(2))
    traced = reasons_of(f, (first,), (second,))
    assert traced[0] == "first call"
    assert traced[1].startswith(f"argument {said}")


def test_leaves_are_named_by_parameter_and_path() -> None:
    @tf.jit
    def f(state: Any, *rest: Any, **named: Any) -> tf.Tensor:
        return tf.ones(1)

    f({"w": [tf.ones(1), tf.ones(2)]}, tf.ones(1), tf.ones(1), other=tf.ones(1))
    f({"w": [tf.ones(1), tf.ones(3)]}, tf.ones(1), tf.ones(1), other=tf.ones(1))
    f({"w": [tf.ones(1), tf.ones(3)]}, tf.ones(1), tf.ones(9), other=tf.ones(7))
    _, second, third = (entry.reason for entry in f.programs.values())
    assert [c.argument for c in second.changes] == ["argument state['w'][1]"]
    assert [c.argument for c in third.changes] == ["argument rest[1]", "argument other"]


def test_a_static_keyword_behind_more_positional_arguments_is_compiled_in() -> None:
    @tf.jit(static_argnames="times")
    def f(*xs: tf.Tensor, times: int) -> tf.Tensor:
        for _ in range(times):
            xs = (xs[0] + xs[1],) * 2
        return xs[0]

    assert f(tf.ones(1), tf.ones(1), tf.ones(1), times=3).numpy().tolist() == [8.0]


def test_another_structure_is_said_to_be_one() -> None:
    f = tf.jit(lambda x: tf.ones(2))
    assert "another structure" in reasons_of(f, (tf.ones(1),), ([tf.ones(1)],))[1]


def test_a_trace_is_compared_with_the_one_most_like_it() -> None:
    f = tf.jit(lambda x, y: tf.ones(2))
    a, b = tf.ones(1), tf.ones(2)
    last = reasons_of(f, (a, "one"), (b, "two"), (a, "three"))[-1]
    assert last.startswith("argument y: the static 'one' became the static 'three'")


def test_the_seventeenth_trace_warns_once_of_the_argument_that_keeps_changing() -> None:
    f = tf.jit(lambda x, y, label: x)
    for i in range(1, 17):
        f(tf.ones(3), tf.ones(2 if i > 8 else 1), f"step {i}")
    with pytest.warns(RetraceWarning, match="argument label changed.*pass the same object") as seen:
        f(tf.ones(3), tf.ones(2), "step 17")
    assert [w.filename for w in seen] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        f(tf.ones(3), tf.ones(2), "step 18")


def test_sizes_that_a_signature_lets_vary_are_not_warned_of() -> None:
    f = tf.jit(lambda x: x + 1.0, input_signature=[tf.TensorSpec((None,))])
    for n in range(1, 20):
        assert f(tf.ones(n)).shape == (n,)
    assert len(f.programs) == 19


def test_traces_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    @tf.jit
    def grow(x: tf.Tensor) -> tf.Tensor:
        return x + 1.0

    with caplog.at_level(logging.INFO, "tapeflow.jit"):
        grow(tf.ones(3))
        grow(tf.ones(3))
        grow(tf.ones(4))
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "grow: trace 1: first call"
    assert second.startswith("grow: trace 2: argument x: f32[3] became f32[4]")
