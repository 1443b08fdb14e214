"""Errors: the tree of them, what they say, and that compiled functions say the same."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import errors
from tapeflow.errors import ShapeError, TapeflowError

BUILTIN = {
    "ShapeError": ValueError,
    "DTypeError": TypeError,
    "ArgumentError": ValueError,
    "OutOfRangeError": IndexError,
    "LinAlgError": np.linalg.LinAlgError,
    "TraceError": TypeError,
    "StateError": RuntimeError,
    "CheckpointError": ValueError,
    "MissingExtraError": ImportError,
    "DistributedError": RuntimeError,
}


@pytest.mark.parametrize("name", BUILTIN)
def test_each_error_is_also_the_builtin_one(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, TapeflowError) and issubclass(error, BUILTIN[name])


def wrong(x: Any) -> Any:
    return tf.matmul(x, tf.ones((4, 2)))  # the line that the tests below look for


def message(call: Any) -> str:
    with pytest.raises(ShapeError) as caught:
        call()
    return str(caught.value)


def test_an_error_says_op_types_cause_fix_and_line() -> None:
    text = message(lambda: wrong(tf.ones((2, 3))))
    first, got, fix, at = text.splitlines()
    assert first == "matmul: a has 3 columns and b has 4 rows"
    assert got == "  got: a f32[2,3], b f32[4,2]"
    assert fix.startswith("  fix: ")
    assert "test_errors.py" in at and "in wrong: return tf.matmul(x, tf.ones((4, 2)))" in at


def test_an_error_reaches_other_processes_whole() -> None:
    with pytest.raises(ShapeError) as raised:
        tf.ones(3) + tf.ones(4)
    raised.value.add_note("in worker 3")
    arrived = pickle.loads(pickle.dumps(raised.value))
    assert (type(arrived), str(arrived)) == (ShapeError, str(raised.value))
    assert (arrived.op, arrived.got) == ("add", "f32[3], f32[4]")
    assert arrived.__notes__ == ["in worker 3"]


def test_a_compiled_function_says_the_same() -> None:
    eager = message(lambda: wrong(tf.ones((2, 3))))
    assert message(lambda: tf.jit(wrong)(tf.ones((2, 3)))) == eager


def test_an_error_names_its_scope() -> None:
    def call() -> None:
        with tf.name_scope("layer"):
            wrong(tf.ones((2, 3)))

    assert "scope layer" in message(call)


def test_an_error_in_the_backward_pass_names_the_users_line() -> None:
    with pytest.raises(TapeflowError) as caught:
        tf.grad(lambda x: x.item())(tf.ones(3))
    assert "test_errors.py" in caught.value.at


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x[np.array([9])],
        lambda x: tf.take(x, np.array([9])),
        lambda x: tf.scatter_add(x, np.array([9]), [1.0]),
    ],
)
def test_an_index_out_of_range_is_found_when_compiled_code_runs(call: Any) -> None:
    x = tf.asarray([1.0, 2.0])
    with pytest.raises(errors.OutOfRangeError, match="index 9 on an axis of size 2"):
        call(x)
    with pytest.raises(errors.OutOfRangeError, match="index 9 on an axis of size 2"):
        tf.jit(call)(x)


@pytest.mark.parametrize("jit", ["0", "1"])
def test_an_error_of_compiled_code_names_scope_function_and_text_of_its_line(
    jit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPEFLOW_JIT", jit)

    @tf.jit
    def outer(x: tf.Tensor, i: tf.Tensor) -> tf.Tensor:
        with tf.name_scope("layer"):
            return tf.take(x, i)

    @tf.jit
    def turns(x: tf.Tensor, i: tf.Tensor) -> Any:
        def inner(carry: tf.Tensor, j: tf.Tensor) -> Any:
            return carry + x[j], j

        return tf.scan(inner, tf.asarray(0.0), i)

    for call, said in (
        (outer, "in outer, scope layer: return tf.take(x, i)"),
        (turns, "in inner: return carry + x[j], j"),
    ):
        with pytest.raises(errors.OutOfRangeError) as caught:
            call(tf.ones(2), np.array([1, 9]))
        assert caught.value.at.endswith(said) and str(caught.value).endswith(said)


def test_memory_that_cannot_be_had_says_how_much_and_for_what() -> None:
    huge = tf.broadcast_to(tf.asarray(np.float32(1)), (1 << 30, 1))
    with pytest.raises(errors.OutOfMemoryError, match=r"f32\[1073741824,1048576\], .* bytes") as it:
        huge + tf.ones((1, 1 << 20))
    assert "test_errors.py" in it.value.at
    with pytest.raises(errors.OutOfMemoryError, match="bytes cannot be had"):
        tf.zeros((1 << 30, 1 << 20))


def test_a_program_without_memory_names_its_largest_values_and_their_lines() -> None:
    @tf.jit
    def outer(x: tf.Tensor) -> tf.Tensor:
        wide = tf.expand_dims(x, 0) * tf.ones((1 << 34, 1))
        return tf.sum(tf.exp(wide), axis=0) + tf.sort(wide, axis=0)[0]

    with pytest.raises(errors.OutOfMemoryError, match="for intermediate values") as it:
        outer(tf.ones(1 << 12))
    assert "f32[17179869184,4096]" in str(it.value)
    assert "test_errors.py" in it.value.got
