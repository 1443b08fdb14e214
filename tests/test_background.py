"""Programs compiled in the background: interpreted first, then machine code, with one meaning."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.jit import background, cache


@contextmanager
def compiler_held() -> Iterator[Callable[[], None]]:
    """Inside, nothing is compiled in the background until the function given is called."""
    gate = threading.Event()
    background.submit(gate.wait)
    try:
        yield gate.set
    finally:
        gate.set()


def is_compiled(f: Any, *, after: bool = False) -> bool:
    (entry,) = f.programs.values()
    return (entry.compiled.settled() if after else entry.compiled.form).program is not None


def test_calls_are_interpreted_until_the_program_is_there() -> None:
    f = tf.jit(lambda x: tf.tanh(x @ x) + 1.0, background=True)
    x = tf.asarray(np.linspace(-1, 1, 9, dtype=np.float32).reshape(3, 3))
    with compiler_held() as let_go:
        before = f(x).numpy()
        assert not is_compiled(f)
        let_go()
        assert is_compiled(f, after=True)
    np.testing.assert_allclose(f(x).numpy(), before, rtol=1e-6)
    np.testing.assert_allclose(before, np.tanh(x.numpy() @ x.numpy()) + 1, rtol=1e-6)


@pytest.mark.parametrize("switch", [0, 1, 3])
def test_a_training_step_goes_on_where_it_was_when_its_program_takes_over(switch: int) -> None:
    """Variables, slots of the optimizer and random numbers, against a step that never switches."""

    def losses(background: bool) -> list[float]:
        tf.random.seed(7)
        w = tf.Variable(np.ones((4, 2), np.float32))
        optimizer = tf.optim.Adam(0.1)

        @tf.jit(background=background)
        def step(x: tf.Tensor) -> tf.Tensor:
            noisy = x + tf.random.normal(x.shape)
            return optimizer.minimize(lambda: tf.mean((noisy @ w - 1.0) ** 2), [w])

        x = tf.ones((3, 4))
        found = []
        with compiler_held() as let_go:
            for i in range(5):
                if i == switch:
                    let_go()
                    if i:
                        assert is_compiled(step, after=True)
                found.append(step(x).item())
            let_go()
        return [*found, *w.numpy().ravel().tolist()]

    np.testing.assert_allclose(losses(True), losses(False), rtol=2e-5)


def test_a_value_kept_from_a_variable_outlives_the_switch() -> None:
    """The program writes in place, but not over what was handed out while it was interpreted."""
    v = tf.Variable(np.zeros(100_000, np.float32))

    @tf.jit(background=True)
    def step() -> tf.Tensor:
        return v.assign_add(tf.ones(100_000)).value

    with compiler_held() as let_go:
        first = step()
        kept = v.value
        let_go()
        assert is_compiled(step, after=True)
    second = step()
    assert [float(t[0].item()) for t in (first, kept, second, v.value)] == [1.0, 1.0, 2.0, 2.0]


def test_a_tape_outside_differentiates_either_form() -> None:
    f = tf.jit(lambda x: tf.sum(x**3.0), background=True)
    x = tf.asarray([1.0, 2.0])
    with compiler_held() as let_go:
        before = tf.grad(f)(x).numpy()
        let_go()
        assert is_compiled(f, after=True)
    np.testing.assert_allclose(before, [3.0, 12.0], rtol=1e-6)
    np.testing.assert_allclose(tf.grad(f)(x).numpy(), before, rtol=1e-6)


def test_looking_inside_waits_for_the_program() -> None:
    f = tf.jit(lambda x: tf.exp(x) + 1.0, background=True)
    assert f.lower(tf.ones(3)).kernels


def test_a_failure_to_compile_is_said_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(codes: Any) -> Any:
        raise RuntimeError("no code today")

    f = tf.jit(lambda x: tf.exp(x) - 2.0, background=True)
    monkeypatch.setattr(cache, "addresses", fails)
    with compiler_held() as let_go:
        f(tf.ones(2))
        let_go()
        (entry,) = f.programs.values()
        with pytest.raises(tf.errors.StateError, match="no code today"):
            entry.compiled.settled()
    for _ in range(2):
        with pytest.raises(tf.errors.StateError, match="could not be compiled in the background"):
            f(tf.ones(2))


def test_an_error_of_the_trace_comes_at_once() -> None:
    f = tf.jit(lambda x: 1.0 if x > 0 else 2.0, background=True)
    with pytest.raises(tf.errors.TraceError):
        f(tf.ones(()))


def test_a_method_compiles_in_the_background() -> None:
    class Scale:
        @tf.jit(background=True)
        def apply(self, x: tf.Tensor) -> tf.Tensor:
            return x * 2.0

    scale = Scale()
    with compiler_held():
        assert scale.apply(tf.ones(2)).numpy().tolist() == [2.0, 2.0]
        assert not is_compiled(scale.apply.function)


PROGRAM = """
import tapeflow as tf
f = tf.jit(lambda x: tf.tanh(x @ x) + tf.sum(tf.exp(x), axis=0), background=True)
print(f(tf.zeros((2, 2))).numpy().tolist())
"""


def test_the_interpreter_ends_while_a_program_is_compiled(tmp_path: Path) -> None:
    """With nothing in the cache: the import of Numba is under way when the main thread is done."""
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "TAPEFLOW_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == "[[2.0, 2.0], [2.0, 2.0]]\n"


def test_threads_that_call_while_it_switches_lose_no_update() -> None:
    v = tf.Variable(0.0)

    @tf.jit(background=True)
    def step() -> None:
        v.assign_add(1.0)

    def work() -> None:
        for _ in range(300):
            step()

    with compiler_held() as let_go:
        step()
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        let_go()
        for thread in threads:
            thread.join()
    assert is_compiled(step, after=True)
    assert v.numpy() == 901.0
