"""tf.jit: what a compiled function means, when it is traced again, what it keeps and tells."""

from __future__ import annotations

import dataclasses
import gc
import linecache
import os
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.jit import cache
from tapeflow.jit.kernel import Pointer
from tapeflow.jit.purity import TraceWarning
from tapeflow.jit.reasons import RetraceWarning


def floats(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.asarray(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


# ---- meaning


def test_trees_go_in_and_come_out() -> None:
    @dataclasses.dataclass
    class Pair:
        left: Any
        right: Any

    @tf.jit
    def f(tree: dict[str, Any], pair: Pair) -> dict[str, Any]:
        return {
            "sum": tree["a"] + tree["b"][0],
            "pair": Pair(pair.right, pair.left),
            "label": "kept",
            "none": None,
        }

    x, y = floats(3), floats(3, seed=1)
    result = f({"a": x, "b": [y]}, Pair(x, y))
    np.testing.assert_array_equal(result["sum"].numpy(), x.numpy() + y.numpy())
    np.testing.assert_array_equal(result["pair"].left.numpy(), y.numpy())
    assert (result["label"], result["none"]) == ("kept", None)


def test_variables_are_read_and_written() -> None:
    total, count = tf.Variable(tf.zeros(3)), tf.Variable(0)

    @tf.jit
    def add(x: tf.Tensor) -> tf.Tensor:
        total.assign_add(x)
        count.assign_add(1)
        return total / tf.cast(count, "float32")

    for i in range(1, 4):
        mean = add(tf.ones(3) * float(i))
    assert total.numpy().tolist() == [6.0] * 3
    assert int(count) == 3
    assert mean.numpy().tolist() == [2.0] * 3


def test_a_training_step_with_momentum_is_the_eager_one() -> None:
    x, y = floats(20, 30), floats(20, 5, seed=1)

    def train(compile_it: bool) -> tuple[list[float], np.ndarray]:
        w, m = tf.Variable(floats(30, 5, seed=2)), tf.Variable(tf.zeros((30, 5)))

        def step(x: tf.Tensor, y: tf.Tensor, rate: float) -> tf.Tensor:
            with tf.GradientTape() as tape:
                error = tf.nn.relu(x @ w) - y
                loss = tf.sum(error * error)
            m.assign(m * 0.9 + tape.gradient(loss, w))
            w.assign_sub(m * rate)
            return loss

        run = tf.jit(step) if compile_it else step
        return [run(x, y, 0.001).item() for _ in range(5)], w.numpy()

    eager, compiled = train(False), train(True)
    np.testing.assert_allclose(compiled[0], eager[0], rtol=1e-5)
    np.testing.assert_allclose(compiled[1], eager[1], rtol=1e-4, atol=1e-6)


def test_a_tensor_keeps_its_value_when_its_variable_is_updated_in_place() -> None:
    v = tf.Variable(floats(1000))

    @tf.jit
    def double() -> None:
        v.assign(v * 2.0)

    start = v.numpy()
    before, view = v.value, v.value.numpy()
    double()
    held = v.value
    double()
    np.testing.assert_array_equal(before.numpy(), start)
    np.testing.assert_array_equal(view, start)
    np.testing.assert_array_equal(held.numpy(), start * 2)
    np.testing.assert_array_equal(v.numpy(), start * 4)


def test_results_keep_their_values_over_later_calls() -> None:
    f = tf.jit(lambda x: x + 1.0)
    results = [f(tf.full(50_000, float(i))) for i in range(6)]
    assert [r[0].item() for r in results] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def test_an_argument_that_is_returned_is_not_changed_by_later_calls() -> None:
    f = tf.jit(lambda x: (x, x * 2.0))
    array = np.ones(4, np.float32)
    same, _ = f(array)
    array[0] = 7
    assert same.numpy().tolist() == [1.0] * 4


def test_views_and_broadcasts_may_be_arguments() -> None:
    f = tf.jit(lambda x: x * 2.0)
    x = floats(4, 6)
    np.testing.assert_array_equal(f(tf.transpose(x)).numpy(), x.numpy().T * 2)
    np.testing.assert_array_equal(
        f(tf.broadcast_to(x[0], (3, 6))).numpy(), np.tile(x.numpy()[0] * 2, (3, 1))
    )


def test_random_numbers_are_those_of_eager_code() -> None:
    def draw() -> tf.Tensor:
        return tf.random.normal((5,)) + tf.random.uniform((5,))

    compiled = tf.jit(draw)
    tf.random.seed(3)
    eager = [draw().numpy() for _ in range(3)]
    tf.random.seed(3)
    for want in eager:
        np.testing.assert_array_equal(compiled().numpy(), want)


def test_what_uses_a_repeated_constant_comes_after_it() -> None:
    for f, x in (
        (lambda x: tf.sin(tf.prod(x)), tf.asarray(2.0)),
        (lambda x: tf.sum(tf.sin(tf.prod(x, axis=()))), tf.ones(3)),
    ):
        np.testing.assert_allclose(tf.jit(tf.grad(f))(x).numpy(), tf.grad(f)(x).numpy(), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(
    "view", [lambda b: b[0], lambda b: b[:, ::2], lambda b: b.T, lambda b: tf.flip(b)]
)
def test_views_of_halves_are_copied_as_they_are(view: Any, dtype: str) -> None:
    x = tf.cast(floats(4, 6), dtype)
    np.testing.assert_array_equal(tf.jit(view)(x).numpy(), view(x).numpy())


def test_jit_inside_jit_is_part_of_the_outer_program() -> None:
    inner = tf.jit(lambda x: x * 2.0)
    outer = tf.jit(lambda x: inner(x) + 1.0)
    assert outer(tf.ones(2)).numpy().tolist() == [3.0, 3.0]
    assert not inner.programs


def test_a_method_compiles_for_its_instance() -> None:
    class Scale:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @tf.jit
        def apply(self, x: tf.Tensor) -> tf.Tensor:
            return x * self.factor

    assert [Scale(f).apply(tf.ones(1)).item() for f in (2.0, 3.0)] == [2.0, 3.0]


def test_an_instance_and_the_programs_of_its_methods_go_together() -> None:
    class Model:
        def __init__(self, factor: float) -> None:
            self.v = tf.Variable([factor])
            self.me = self  # only the garbage collector can tell

        @tf.jit
        def step(self, x: tf.Tensor) -> tf.Tensor:
            return self.v.assign_add(x).value

    models = [Model(1.0), Model(2.0)]
    assert [m.step(tf.ones(1)).item() for m in (*models, *models)] == [2.0, 3.0, 3.0, 4.0]
    gone = [weakref.ref(models[0]), weakref.ref(models[0].v), weakref.ref(models[0].step.function)]
    del models[0]
    for _ in range(2):  # the programs are garbage once the instance has been collected
        gc.collect()
    assert all(ref() is None for ref in gone)
    assert models[0].step(tf.ones(1)).item() == 5.0
    assert len(models[0].step.function.programs) == 1


@pytest.mark.parametrize("slots", [("v",), ("v", "__weakref__")])
def test_methods_of_instances_with_slots_that_compare_equal_are_their_own(slots: Any) -> None:
    class Model:
        __slots__ = slots

        def __init__(self, v: float) -> None:
            self.v = v

        def __eq__(self, other: object) -> bool:  # and so without a hash
            return True

        @tf.jit(static_argnames="times")
        def scaled(self, x: tf.Tensor, times: int = 1) -> tf.Tensor:
            return x * self.v * times

    models = [Model(2.0), Model(3.0)]
    assert [m.scaled(tf.ones(1), times=2).item() for m in models] == [4.0, 6.0]


# ---- derivatives


def test_gradients_flow_through_a_compiled_function() -> None:
    w = tf.Variable(floats(3, 2))
    f = tf.jit(lambda x: tf.tanh(x @ w))
    x = floats(4, 3, seed=1)
    grads = []
    for call in (f, f.fn):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.sum(call(x) ** 2)
        grads.append(tape.gradient(loss, [x, w]))
    for compiled, eager in zip(*grads, strict=True):
        np.testing.assert_allclose(compiled.numpy(), eager.numpy(), rtol=1e-4, atol=1e-6)


def test_second_derivatives_flow_through_a_compiled_function() -> None:
    f = tf.jit(lambda x: tf.sum(x**3))
    x = tf.asarray([1.0, 2.0])
    np.testing.assert_allclose(tf.hessian(f)(x).numpy(), np.diag([6.0, 12.0]), rtol=1e-6)
    np.testing.assert_allclose(tf.jvp(f, [x], [tf.ones(2)])[1].numpy(), 15.0, rtol=1e-6)


def test_custom_gradients_and_no_grad_hold_through_compiled_functions() -> None:
    @tf.custom_gradient
    def scaled(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
        return x * 1.0, lambda g: g * 7.0

    def partly(x: tf.Tensor) -> tf.Tensor:
        with tf.no_grad():
            weight = x * x
        return tf.sum(weight * x)

    x = tf.asarray([1.0, 2.0, 3.0])
    for f in (lambda x: tf.sum(scaled(x)), partly):
        want = tf.grad(f)(x).numpy()
        np.testing.assert_allclose(tf.grad(tf.jit(f))(x).numpy(), want)
        np.testing.assert_allclose(tf.jit(tf.grad(f))(x).numpy(), want)


def test_a_variable_that_a_compiled_function_writes_keeps_its_gradient() -> None:
    w, calls = tf.Variable(3.0), tf.Variable(0.0, trainable=False)

    @tf.jit
    def f(x: tf.Tensor) -> tf.Tensor:
        calls.assign_add(1.0)
        return x * w * w

    with tf.GradientTape() as tape:
        y = f(tf.asarray(2.0))
    assert tape.gradient(y, w).item() == 12.0
    assert calls.numpy() == 1.0


def test_transformations_compile() -> None:
    f = tf.jit(tf.hessian(lambda x: tf.sum(tf.tanh(x) * x)))
    x = floats(3)
    np.testing.assert_allclose(f(x).numpy(), f.fn(x).numpy(), rtol=1e-4, atol=1e-5)


# ---- when it is traced, and what is compiled


def test_numbers_never_cause_a_trace_and_static_values_do() -> None:
    traced: list[str] = []

    @tf.jit
    def f(x: tf.Tensor, rate: float, mode: str) -> tf.Tensor:
        traced.append(mode)
        return x * rate

    x = tf.ones(2)
    for rate in (0.1, 0.2, 5.0):
        np.testing.assert_allclose(f(x, rate, "a").numpy(), np.float32([rate, rate]))
    f(x, 0.1, "b")
    assert traced == ["a", "b"]


def test_a_number_takes_the_dtype_of_the_tensor_beside_it() -> None:
    f = tf.jit(lambda x, r: x * (r * 0.5))
    for dtype in ("float32", "float64", "bfloat16"):
        assert f(tf.ones(2, dtype=dtype), 3.0).dtype == dtype


def test_a_learning_rate_in_a_variable_never_causes_a_trace() -> None:
    rate = tf.Variable(0.5)
    f = tf.jit(lambda x: x * rate)
    results = []
    for value in (0.5, 0.25):
        rate.assign(value)
        results.append(f(tf.ones(())).item())
    assert results == [0.5, 0.25]
    assert len(f.programs) == 1


def test_static_argnames_are_compiled_in() -> None:
    @tf.jit(static_argnames=("n",))
    def repeat(x: tf.Tensor, n: int) -> tf.Tensor:
        return tf.reshape(tf.broadcast_to(x, (n, 2)), (n * 2,))

    assert repeat(tf.ones(2), 3).shape == (6,)
    assert repeat(tf.ones(2), n=2).shape == (4,)


def test_however_an_argument_is_given_the_trace_is_one() -> None:
    f = tf.jit(lambda x, y: x + y)
    x = tf.ones(2)
    for call in (lambda: f(x, x), lambda: f(x, y=x), lambda: f(x=x, y=x)):
        assert call().numpy().tolist() == [2.0, 2.0]
    assert len(f.programs) == 1


def test_a_static_name_that_is_no_parameter_is_refused() -> None:
    with pytest.raises(tf.errors.ArgumentError, match="no parameter training"):
        tf.jit(lambda x, n: x, static_argnames=("n", "training"))
    assert tf.jit(lambda x, n: tf.reshape(x, (n,)), "n")(tf.ones((2, 2)), 4).shape == (4,)


def test_a_jitted_method_can_be_looked_into() -> None:
    class Scale:
        @tf.jit
        def apply(self, x: tf.Tensor) -> tf.Tensor:
            return x * 2.0

    scale = Scale()
    assert scale.apply.lower(tf.ones(3)).kernels
    assert "1 traces" in str(scale.apply.explain(tf.ones(3)))


def test_an_input_signature_states_types_and_lets_sizes_vary() -> None:
    @tf.jit(input_signature=[tf.TensorSpec((None, 2), tf.float32, "x"), tf.TensorSpec(())])
    def f(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return tf.sum(x, axis=0) * y

    assert [f(tf.ones((n, 2)), 2.0)[0].item() for n in (3, 4)] == [6.0, 8.0]
    assert f([[1.0, 2.0]], 1).numpy().tolist() == [1.0, 2.0]
    with pytest.raises(tf.errors.ShapeError, match=r"f: its input_signature says f32\[\?,2\]"):
        f(tf.ones((2, 3)), 1.0)
    with pytest.raises(tf.errors.DTypeError, match="cast it"):
        f(tf.ones((2, 2), dtype="float64"), 1.0)
    with pytest.raises(tf.errors.ArgumentError, match="has 2"):
        f(tf.ones((2, 2)))


def test_fifty_batch_sizes_compile_no_element_wise_kernel_twice() -> None:
    f = tf.jit(lambda x, b: tf.mean(tf.exp(-(x * x)) + b, axis=0))
    bias = floats(17)
    codes = set()
    for n in range(2, 52):
        x = floats(n, 17, seed=n)
        with pytest.warns(RetraceWarning) if n == 18 else nullcontext():
            result = f(x, bias).numpy()
        expected = (np.exp(-(x.numpy() ** 2)) + bias.numpy()).mean(0)
        np.testing.assert_allclose(result, expected, rtol=1e-4)
        codes |= {launch.code for launch in f.lower(x, bias).kernels}
    assert len(codes) <= len(f.lower(x, bias).kernels)


def test_explain_says_why_each_trace_happened() -> None:
    f = tf.jit(lambda x, flag: x + 1.0 if flag else x)
    f(tf.ones(3), True)
    f(tf.ones(4), True)
    text = str(f.explain(tf.ones(4), False))
    assert "first call" in text
    assert "argument x: f32[3] became f32[4]" in text
    assert "argument flag: the static True became the static False" in text


def test_explain_says_how_long_traces_and_kernels_took() -> None:
    f = tf.jit(lambda x: x + 1.0)
    f(tf.ones(3))
    entry = next(iter(f.programs.values()))
    entry.trace_seconds = 12.5
    entry.compiled.form.program.compile_seconds = 0.25
    text = str(f.explain(tf.ones(3)))
    assert "1. first call, traced in 12.500 s" in text
    assert "compiled or loaded in 0.250 s" in text


def test_lower_shows_graph_kernels_source_and_memory() -> None:
    f = tf.jit(lambda x: tf.sum(x * 2.0))
    lowered = f.lower(floats(100))
    assert "x0" in str(lowered.graph)
    assert lowered.kernels
    assert "for " in lowered.source
    assert lowered.memory.inputs == 400
    assert not lowered.host_steps


def test_a_training_step_has_no_host_step() -> None:
    model = tf.nn.Sequential([tf.nn.Dense(16, "relu"), tf.nn.Dense(4)])
    optimizer = tf.optim.Adam(0.01)
    x, y = floats(8, 5), tf.asarray(np.arange(8) % 4)

    @tf.jit
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.mean(tf.nn.sparse_softmax_cross_entropy(y, model(x)))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    losses = [step(x, y).item() for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    assert step.lower(x, y).host_steps == []


# ---- mistakes


def test_control_flow_on_a_traced_value_names_the_line_and_the_fix() -> None:
    @tf.jit
    def f(x: tf.Tensor) -> tf.Tensor:
        if tf.sum(x) > 0.0:
            return x
        return -x

    with pytest.raises(
        tf.errors.TraceError, match=r"(?s)bool.*tf\.where.*test_jit\.py:\d+ in f: if tf\.sum"
    ):
        f(tf.ones(2))


def test_a_leaked_traced_value_is_an_error_with_the_fix() -> None:
    kept: list[tf.Tensor] = []
    tf.jit(lambda x: kept.append(x) or x)(tf.ones(2))
    for use in (lambda t: t + 1.0, lambda t: t + t, lambda t: t.numpy(), lambda t: tf.exp(t)):
        with pytest.raises(tf.errors.TraceError, match=r"ended(?s:.)*return it"):
            use(kept[0])
    with pytest.raises(tf.errors.TraceError, match="trace that has ended"):
        tf.jit(lambda x: x + kept[0])(tf.ones(2))


def test_a_value_of_a_suspended_trace_has_not_ended() -> None:
    made: list[tf.Variable] = []
    with pytest.raises(tf.errors.TraceError, match="inside a compiled function"):
        tf.jit(lambda x: made.append(tf.Variable(lambda: x + 1.0)))(tf.ones(2))


def test_what_is_formatted_must_be_one_number_that_is_known() -> None:
    with pytest.raises(tf.errors.TraceError, match="format: inside a compiled function"):
        tf.jit(lambda x: f"{x:.3f}")(1.0)
    with pytest.raises(tf.errors.ArgumentError, match="format: there are 2 elements, not one"):
        f"{tf.ones(2):.3f}"


def test_a_mistake_reads_the_same_inside_and_outside() -> None:
    def f(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return a @ b

    messages = []
    for call in (f, tf.jit(f)):
        with pytest.raises(tf.errors.ShapeError) as caught:
            call(tf.ones((2, 3)), tf.ones((4, 5)))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_a_clock_read_in_a_trace_is_warned_of() -> None:
    with pytest.warns(TraceWarning, match="every later call gets this result") as caught:
        tf.jit(lambda x: x * float(time.time()))(tf.ones(1))
    assert Path(caught[0].filename).name == "test_jit.py"
    assert "time.time()" in linecache.getline(caught[0].filename, caught[0].lineno)


@pytest.mark.parametrize("impure", [np.random.rand, random.random, lambda: random.randint(1, 9)])
def test_a_host_random_call_in_a_trace_is_refused_at_each_call(impure: Any) -> None:
    f = tf.jit(lambda x: x * float(impure()))
    for _ in range(2):
        with pytest.raises(tf.errors.TraceError, match=r"(?s)random.* was used.*use tf.random"):
            f(tf.ones(1))


def of_python(x: Any) -> Any:
    x = x * 2.0
    return x * random.random()


def of_numpy(x: Any) -> Any:
    x = x * 2.0
    return x * np.random.rand()


def of_generator(x: Any) -> Any:
    x = x * 2.0
    return x * RNG.random()


@pytest.mark.parametrize("f", [of_python, of_numpy, of_generator])
def test_the_error_about_a_host_random_call_has_its_line(f: Any) -> None:
    with pytest.raises(tf.errors.TraceError) as caught:
        tf.jit(lambda x: f(x))(tf.ones(1))
    assert f"in {f.__name__}: return x * " in caught.value.at


def hidden(draws: Any = [np.random.rand]) -> Any:  # noqa: B006
    return draws[0]()


@pytest.fixture
def another_thread() -> Iterator[None]:
    """A thread that lives meanwhile."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.usefixtures("another_thread")
def test_numbers_that_another_thread_may_have_drawn_are_warned_of() -> None:
    with pytest.warns(TraceWarning, match=r"numpy\.random was used"):
        y = tf.jit(lambda x: x * hidden())(tf.ones(1))
    assert 0.0 <= y.item() < 1.0


@pytest.mark.usefixtures("another_thread")
@pytest.mark.parametrize(
    "draw", [np.random.rand, lambda: np.random.rand()], ids=["closure", "name"]
)
def test_numbers_that_the_function_surely_draws_are_refused_beside_other_threads(draw: Any) -> None:
    with pytest.raises(tf.errors.TraceError) as caught:
        tf.jit(lambda x: x * draw())(tf.ones(1))
    assert "numpy.random was used" in str(caught.value)


def test_a_profiler_of_the_user_sees_all_of_a_trace() -> None:
    seen: set[str] = set()
    sys.setprofile(lambda frame, event, called: seen.add(frame.f_code.co_name))
    try:
        tf.jit(lambda x: x * 2.0)(tf.ones(1))
    finally:
        sys.setprofile(None)
    assert {"emit", "user_line"} <= seen


def test_a_library_may_read_the_clock_for_itself_wherever_it_is_installed() -> None:
    hook: dict[str, Any] = {"time": time}
    exec(compile("def read(): time.time()", "/elsewhere/site-packages/hook.py", "exec"), hook)

    def f(x: tf.Tensor) -> tf.Tensor:
        hook["read"]()
        return x * 2.0

    assert tf.jit(f)(tf.ones(1)).item() == 2.0


RNG = np.random.default_rng(0)


class Holder:
    def __init__(self) -> None:
        self.rng = np.random.RandomState(0)

    def noisy(self, x: tf.Tensor) -> tf.Tensor:
        return x * self.rng.normal()


def closing(rng: np.random.Generator) -> Any:
    return lambda x: x + rng.normal()


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda x: x + RNG.normal(), "the NumPy generator RNG"),
        (closing(np.random.default_rng(0)), "the NumPy generator rng"),
        (Holder().noisy, "the NumPy generator self.rng"),
        (lambda x: x + np.random.default_rng().normal(), "a random seed of the system"),
    ],
)
def test_generators_of_numpy_in_a_trace_are_refused(function: Any, what: str) -> None:
    with pytest.raises(tf.errors.TraceError, match=f"{what}.* was used while") as caught:
        tf.jit(function)(tf.ones(1))
    assert "test_jit.py" in caught.value.at


def test_generators_that_give_the_same_each_call_may_be_used() -> None:
    @tf.jit
    def f(x: tf.Tensor) -> tf.Tensor:
        return x + np.random.default_rng(3).normal() + float(RNG.bit_generator is None)

    assert f(0.0).item() == np.float32(np.random.default_rng(3).normal())


def test_a_number_that_does_not_fit_fails_compiled_as_it_does_eagerly() -> None:
    def f(x: Any, n: Any) -> Any:
        return x + n

    for x, n in ((tf.ones(2, "int8"), 300), (tf.ones(2, "uint64"), -1)):
        said = []
        for call in (f, tf.jit(f)):
            with pytest.raises(tf.errors.DTypeError, match="is not between") as caught:
                call(x, n)
            said.append(str(caught.value).partition("at:")[0])
        assert said[0] == said[1]
    assert tf.jit(f)(tf.ones(2, "int8"), 126).tolist() == [127, 127]


def test_an_unhashable_argument_is_refused_with_its_type() -> None:
    with pytest.raises(tf.errors.ArgumentError, match="a set"):
        tf.jit(lambda x, s: x)(tf.ones(1), {1})


def test_a_failed_trace_leaves_no_trace_open() -> None:
    with pytest.raises(ZeroDivisionError):
        tf.jit(lambda x: x / (1 // 0))(tf.ones(1))
    assert (tf.ones(1) + 1.0).item() == 2.0


# ---- threads


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    f = tf.jit(tf.value_and_grad(lambda x, w: tf.sum(tf.tanh(x @ w)), argnums=(0, 1)))
    x, w = floats(300, 200), floats(200, 100, seed=1)
    results = []
    try:
        for n in (1, 2, 3):
            tf.config.set_num_threads(n)
            value, grads = f(x, w)
            results.append([value.numpy(), *(g.numpy() for g in grads)])
    finally:
        tf.config.set_num_threads(None)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_threads_may_call_one_function_at_once() -> None:
    f = tf.jit(lambda x: tf.sum(x * x, axis=1))
    arrays = [floats(200, 300, seed=i) for i in range(4)]
    f(arrays[0])
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(50):
            if not np.allclose(f(arrays[i]).numpy(), (arrays[i].numpy() ** 2).sum(1), rtol=1e-4):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- the cache on disk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAPEFLOW_CACHE_DIR", str(tmp_path / "code"))
    monkeypatch.setattr(cache, "_addresses", {})
    return tmp_path / "code"


def compiled_by(call: Any) -> int:
    before = cache.statistics.compiled
    call()
    return cache.statistics.compiled - before


def test_a_second_process_compiles_nothing_and_imports_no_numba(folder: Path) -> None:
    code = (
        "import sys, tapeflow as tf; from tapeflow.jit import cache;"
        "f = tf.jit(lambda x: tf.sum(x @ x + 1.0));"
        "f(tf.ones((4, 4))); print(cache.statistics.compiled, 'numba' in sys.modules)"
    )
    env = {**os.environ, "TAPEFLOW_CACHE_DIR": str(folder)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    )
    assert int(first[0]) > 0
    assert second == ["0", "False"]


def test_compiling_on_several_threads_makes_the_program_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of eight different kernels, generated and products, in three folders."""

    def step(x: tf.Tensor) -> tf.Tensor:
        for n in (8, 5, 3):
            x = (
                tf.tanh(tf.exp(x) @ tf.ones((x.shape[-1], n)))
                - tf.sum(x, axis=0, keepdims=True)[:, :n]
            )
        return x

    made: list[tuple[set[str], bytes]] = []
    for threads in (1, 2, 5):
        monkeypatch.setenv("TAPEFLOW_CACHE_DIR", str(tmp_path / str(threads)))
        monkeypatch.setattr(cache, "_addresses", {})
        tf.config.set_num_threads(threads)
        try:
            result = tf.jit(step)(tf.ones((4, 9))).numpy()
        finally:
            tf.config.set_num_threads(None)
        entries = {path.name for path in (tmp_path / str(threads)).rglob("*.o")}
        made.append((entries, result.tobytes()))
    assert len(made[0][0]) > 4 and made[0] == made[1] == made[2]


def test_a_kernel_that_does_not_compile_leaves_no_thread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(code: Any) -> Any:
        raise RuntimeError("no code")

    before = threading.enumerate()
    monkeypatch.setattr(cache.cpu, "begin", fails)
    tf.config.set_num_threads(4)
    try:
        with pytest.raises(RuntimeError, match="no code"):
            tf.jit(lambda x: tf.exp(x @ x) - tf.sum(x, axis=0))(tf.ones((4, 4)))
    finally:
        tf.config.set_num_threads(None)
    assert [t for t in threading.enumerate() if t not in before and "compiler" in t.name] == []


def test_a_damaged_entry_is_compiled_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = tf.ones(3)
    assert compiled_by(lambda: tf.jit(lambda x: x * 3.0 + 2.0)(x)) == 1
    for entry in folder.rglob("*.o"):
        entry.write_bytes(entry.read_bytes()[:-5])
    monkeypatch.setattr(cache, "_addresses", {})
    assert compiled_by(lambda: tf.jit(lambda x: x * 3.0 + 2.0)(x)) == 1
    monkeypatch.setattr(cache, "_addresses", {})
    assert compiled_by(lambda: tf.jit(lambda x: x * 3.0 + 2.0)(x)) == 0


def test_an_entry_under_the_name_of_another_is_compiled_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = (lambda x: x * 3.0 + 2.0, lambda x: tf.exp(x) - 1.0)
    for fn in functions:
        assert compiled_by(lambda fn=fn: tf.jit(fn)(tf.ones(3))) == 1
    before = {path: path.read_bytes() for path in folder.rglob("*.o")}
    for path, other in zip(before, [*before][1:] + [*before][:1], strict=True):
        path.write_bytes(before[other])
    monkeypatch.setattr(cache, "_addresses", {})
    results = [tf.jit(fn)(tf.ones(3)).numpy()[0] for fn in functions]
    np.testing.assert_allclose(results, [5.0, np.e - 1.0], rtol=1e-6)
    restored = {path: path.read_bytes() for path in folder.rglob("*.o")}
    assert {p: before[p] for p in restored} == before and restored.keys() == before.keys()


def test_a_folder_that_cannot_be_written_is_warned_of_and_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TAPEFLOW_CACHE_DIR", str(tmp_path / "file" / "code"))
    monkeypatch.setattr(cache, "_addresses", {})
    with pytest.warns(cache.CacheWarning, match="TAPEFLOW_CACHE_DIR") as said:
        result = tf.jit(lambda x: x * 3.0 - 2.0)(tf.ones(3))
    assert said[0].filename == __file__
    assert result.numpy().tolist() == [1.0] * 3


def test_a_folder_that_cannot_be_written_is_warned_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TAPEFLOW_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setattr(cache, "_addresses", {})
    with pytest.warns(cache.CacheWarning) as said:  # each entry fails in words of its own
        tf.jit(lambda x: (tf.tanh(x) @ tf.ones((3, 2)), tf.sum(x)))(tf.ones((2, 3)))
        tf.jit(lambda x: tf.exp(x) + 7.0)(tf.ones(3))
    assert len(said) == 1


def test_a_call_with_an_argument_missing_names_the_function() -> None:
    @tf.jit
    def loss(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return x + y

    with pytest.raises(TypeError, match=r"loss\(\) missing a required argument: 'y'"):
        loss(tf.ones(3))  # type: ignore[call-arg]


def test_clear_empties_the_folder(folder: Path) -> None:
    tf.jit(lambda x: x * 5.0 - 2.0)(tf.ones(3))
    assert cache.clear() >= 1
    assert not list(cache.entries())


def test_programs_can_be_interpreted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEFLOW_JIT", "0")
    v = tf.Variable(1.0)
    f = tf.jit(lambda x: v.assign_add(tf.sum(x)).value)
    assert [f(tf.ones(3)).item() for _ in range(2)] == [4.0, 7.0]
    assert not list(cache.entries())


def test_a_comparison_of_traced_numbers_is_a_condition() -> None:
    absolute = tf.jit(lambda x, s: tf.where(s > 0, x, -x))
    assert absolute(tf.asarray([1.0]), -2.0).tolist() == [-1.0]


def test_new_sizes_of_attention_compile_its_products_once_more_at_most() -> None:
    def attend(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        scores = tf.matmul(q, tf.matrix_transpose(k)) * 0.25
        return tf.matmul(tf.nn.softmax(scores), v)

    random = np.random.default_rng(0)

    def inputs(length: int) -> list[tf.Tensor]:
        return [
            tf.asarray(random.standard_normal((2, 3, length, 16)).astype("f4")) for _ in range(3)
        ]

    compiled = tf.jit(tf.value_and_grad(lambda *a: tf.sum(attend(*a) ** 2), argnums=(0, 1, 2)))
    seen: list[set[str]] = []
    for length in (9, 21, 34, 50):
        given = inputs(length)
        value, gradients = compiled(*given)
        wanted, expected = tf.value_and_grad(
            lambda *a: tf.sum(attend(*a) ** 2), argnums=(0, 1, 2)
        )(*given)
        np.testing.assert_allclose(value, wanted, rtol=1e-4)
        for a, b in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        seen.append({launch.code.symbol for launch in compiled.lower(*given).kernels})
    assert seen[2] <= seen[0] | seen[1]
    assert seen[3] <= seen[0] | seen[1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_one_row_by_a_transposed_matrix_reads_the_matrix_as_it_lies(
    dtype: str, batch: tuple[int, ...]
) -> None:
    """With what joins the product: a bias of columns and another row."""
    rng = np.random.default_rng(0)
    shapes = ((*batch, 1, 64), (*batch, 50, 64), (50,), (*batch, 1, 50))
    x, w, bias, factor = (tf.cast(rng.standard_normal(shape), dtype) for shape in shapes)
    fn = tf.jit(lambda x, w, b, c: tf.nn.relu(x @ w.mT + b) * c)
    a, b, c, d = (t.numpy().astype(np.float64) for t in (x, w, bias, factor))
    wanted = np.maximum(a @ np.swapaxes(b, -1, -2) + c, 0.0) * d
    bound = {"float32": 1e-5, "float64": 1e-13, "bfloat16": 2.0**-7}[dtype]
    found = fn(x, w, bias, factor).numpy().astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=bound, atol=10 * bound)
    lowered = fn.lower(x, w, bias, factor)
    left = [k.arguments[0] for k in lowered.kernels if k.code.symbol.startswith("product")]
    assert left == [Pointer(lowered.graph.inputs[1])]
