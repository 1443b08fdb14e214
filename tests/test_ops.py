"""Every operation, driven by the rows of op_cases.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from op_case import Bad, Case, sample
from op_cases import CASES
from tapeflow.errors import TapeflowError
from tapeflow.jit.trace import interpret, trace
from tapeflow.ops.collective import Group
from tapeflow.primitive import REGISTRY
from tapeflow.tensor import Spec, Tensor

FLOATS = [np.dtype("f4"), np.dtype("f8")]
# relative and absolute errors: of functions that differ from NumPy by a few units, and of compiled
# sums and products, whose order differs from NumPy's
CLOSE = {"f2": 2e-3, "f4": 3e-6, "c8": 3e-6, "f8": 1e-13, "c16": 1e-13}
COMPILED = {"f4": 1e-5, "c8": 1e-5, "f8": 1e-12, "c16": 1e-12}

BY_ID = {f"{i}-{case}": case for i, case in enumerate(CASES)}
every_case = pytest.mark.parametrize("case", BY_ID.values(), ids=BY_ID.keys())
SMOOTH = {
    i: c
    for i, c in BY_ID.items()
    if c.smooth
    and any(
        (isinstance(x, str) and x[0] in "fc")
        or (isinstance(x, np.ndarray) and x.dtype.kind in "fc")
        for x in c.inputs
    )
}
smooth_case = pytest.mark.parametrize("case", SMOOTH.values(), ids=SMOOTH.keys())
TRACEABLE = {i: c for i, c in BY_ID.items() if c.traceable}
traceable_case = pytest.mark.parametrize("case", TRACEABLE.values(), ids=TRACEABLE.keys())
REFUSED = {
    f"{i}-{bad.error.__name__}-{n}": (case, bad)
    for i, case in BY_ID.items()
    for n, bad in enumerate(case.bad)
}
refused = pytest.mark.parametrize(("case", "bad"), REFUSED.values(), ids=REFUSED.keys())


def inputs_of(case: Case | Bad, dtype: Any = np.float64, seed: int = 0) -> list[Any]:
    random = np.random.default_rng(seed)
    return [sample(x, dtype, random) for x in case.inputs]


def tensors(arrays: list[Any]) -> list[Any]:
    return [Tensor(np.array(x)) if isinstance(x, np.ndarray) else x for x in arrays]


def check_close(got: Tensor, expected: Any, tolerance: dict[str, float]) -> None:
    expected = np.asarray(expected)
    assert got.shape == expected.shape
    if got.dtype.kind in "fc":
        assert got.dtype == expected.dtype
        limit = tolerance[got.dtype.str[1:]]
        np.testing.assert_allclose(got.numpy(), expected, rtol=limit, atol=limit)
    else:
        np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@every_case
def test_the_result_is_that_of_numpy(case: Case, dtype: Any) -> None:
    arrays = inputs_of(case, dtype)
    check_close(case.fn(*tensors(arrays), **case.kwargs), case.ref(*arrays, **case.kwargs), CLOSE)


@every_case
def test_strided_inputs_give_the_same(case: Case) -> None:
    arrays = inputs_of(case)
    strided = [apart(x) if isinstance(x, np.ndarray) else x for x in arrays]
    check_close(case.fn(*strided, **case.kwargs), case.ref(*arrays, **case.kwargs), CLOSE)


def apart(x: np.ndarray) -> Tensor:
    """x with gaps between its elements, and its axes in memory the other way round."""
    return Tensor(np.repeat(x.T, 2, axis=0)[::2].T if x.ndim else x)


@every_case
def test_inputs_are_left_as_they_are(case: Case) -> None:
    arrays = inputs_of(case)
    given = tensors(arrays)
    case.fn(*given, **case.kwargs)
    for array, x in zip(arrays, given, strict=True):
        if isinstance(x, Tensor):
            np.testing.assert_array_equal(x.numpy(), array)


def traced(case: Case, arrays: list[Any]) -> tuple[Any, list[Any]]:
    at = [i for i, x in enumerate(arrays) if isinstance(x, np.ndarray)]

    def fn(*symbols: Tensor) -> Any:
        full = list(arrays)
        for i, x in zip(at, symbols, strict=True):
            full[i] = x
        return case.fn(*full, **case.kwargs)

    return fn, [arrays[i] for i in at]


@traceable_case
def test_the_trace_has_the_same_type_and_value(case: Case) -> None:
    fn, arrays = traced(case, inputs_of(case))
    graph = trace(fn, *(Spec(x.shape, x.dtype) for x in arrays), name="case")
    eager = case.fn(*tensors(inputs_of(case)), **case.kwargs)
    assert graph.outputs[0].spec == eager.spec
    np.testing.assert_allclose(interpret(graph, *arrays)[0], eager.numpy(), rtol=1e-14, atol=1e-14)


@traceable_case
def test_compiled_code_gives_the_same(case: Case) -> None:
    fn, arrays = traced(case, inputs_of(case, np.float32))
    check_close(
        tf.jit(fn)(*tensors(arrays)),
        case.fn(*tensors(inputs_of(case, np.float32)), **case.kwargs).numpy(),
        COMPILED,
    )


# ---- derivatives


def floating(case: Case) -> tuple[Any, list[np.ndarray]]:
    """The case as a function of its floating and complex inputs."""
    arrays = inputs_of(case)
    at = [i for i, x in enumerate(arrays) if isinstance(x, np.ndarray) and x.dtype.kind in "fc"]

    def fn(*xs: Any) -> Any:
        full = tensors(arrays)
        for i, x in zip(at, xs, strict=True):
            full[i] = x
        return case.fn(*full, **case.kwargs)

    return fn, [arrays[i] for i in at]


def directions(arrays: list[np.ndarray], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    def like(x: np.ndarray) -> Any:
        real = random.normal(size=x.shape)
        parts = real + 1j * random.normal(size=x.shape) if x.dtype.kind == "c" else real
        return np.asarray(parts)

    return [like(x) for x in arrays]


def inner(xs: Any, ys: Any) -> float:
    """How cotangents pair with tangents: by the real part of their product."""
    pairs = zip(xs, ys, strict=True)
    return sum(float(np.sum(np.asarray(x) * np.asarray(y)).real) for x, y in pairs)


@smooth_case
def test_forward_mode_is_the_slope(case: Case) -> None:
    fn, xs = floating(case)
    ts, step = directions(xs, 1), 1e-6
    tangent = tf.jvp(fn, tensors(xs), tensors(ts))[1]
    ahead, behind = (
        fn(*(tf.asarray(x + s * step * t) for x, t in zip(xs, ts, strict=True))).numpy()
        for s in (1, -1)
    )
    with np.errstate(invalid="ignore"):
        slope = np.where(ahead == behind, 0.0, (ahead - behind) / (2 * step))
    np.testing.assert_allclose(tangent.numpy(), slope, rtol=1e-6, atol=1e-6)


@smooth_case
def test_reverse_mode_is_the_adjoint_of_forward_mode(case: Case) -> None:
    fn, xs = floating(case)
    ts = directions(xs, 1)
    y, tangent = tf.jvp(fn, tensors(xs), tensors(ts))
    (w,) = directions([y.numpy()], 2)
    pulled = tf.vjp(fn, *tensors(xs))[1](Tensor(w))
    assert inner(pulled, ts) == pytest.approx(inner([tangent], [w]), rel=1e-10, abs=1e-12)


@smooth_case
def test_the_gradient_has_a_gradient(case: Case) -> None:
    fn, xs = floating(case)
    ts, us = directions(xs, 1), directions(xs, 3)
    (w,) = directions([fn(*tensors(xs)).numpy()], 2)
    numbers = tuple(range(len(xs)))
    gradient = tf.grad(lambda *a: tf.sum(tf.real(fn(*a) * w), dtype="float64"), numbers)

    def along(*a: Any) -> Tensor:
        return tf.add_n([tf.sum(tf.real(g * t)) for g, t in zip(gradient(*a), ts, strict=True)])

    second = inner(tf.grad(along, numbers)(*tensors(xs)), us)
    ahead, behind = (
        gradient(*(tf.asarray(x + s * 1e-5 * u) for x, u in zip(xs, us, strict=True)))
        for s in (1, -1)
    )
    slope = (inner(ahead, ts) - inner(behind, ts)) / 2e-5
    assert second == pytest.approx(slope, rel=1e-5, abs=1e-5)
    forward = tf.jvp(gradient, tensors(xs), tensors(us))[1]
    assert inner(forward, ts) == pytest.approx(second, rel=1e-9, abs=1e-9)


# ---- refusals


def given_to(case: Case, bad: Bad) -> dict[str, Any]:
    return case.kwargs if bad.kwargs is None else bad.kwargs


def check_refusal(error: TapeflowError, case: Case) -> None:
    name = case.name or getattr(case.fn, "__name__", "")
    assert error.op == name or name.startswith("<"), (
        f"the error speaks of {error.op}, not of {name}"
    )
    assert "test_ops.py" in error.at or "_cases.py" in error.at
    assert error.why and error.fix


@refused
def test_what_does_not_fit_is_refused_by_name_and_line(case: Case, bad: Bad) -> None:
    arrays = inputs_of(bad, np.float32)
    with pytest.raises(bad.error) as caught:
        case.fn(*tensors(arrays), **given_to(case, bad))
    check_refusal(caught.value, case)


@refused
def test_a_trace_refuses_alike(case: Case, bad: Bad) -> None:
    arrays = inputs_of(bad, np.float32)
    kwargs = given_to(case, bad)
    if depends_on_values(case, bad):
        pytest.skip("only a run can tell")
    fn, arrays = traced(Case(case.fn, case.ref, bad.inputs, kwargs), arrays)
    with pytest.raises(bad.error) as caught:
        trace(fn, *(Spec(x.shape, x.dtype) for x in arrays), name="case")
    check_refusal(caught.value, case)


def depends_on_values(case: Case, bad: Bad) -> bool:
    """Whether the refusal is for an index or a power that only a run knows."""
    indices = case.name == "scatter_add" or case.name.startswith("segment_") or any(
        isinstance(x, np.ndarray) for x in bad.inputs
    )
    power = case.fn is tf.pow and bad.error is tf.errors.ArgumentError
    return power or (indices and bad.error is tf.errors.OutOfRangeError)


NAMED = {
    case.fn.__name__: case
    for case in CASES
    if not getattr(case.fn, "__name__", "<").startswith("<")
    and case.fn.__name__ != "fn"
    and isinstance(case.inputs[0], str | np.ndarray)
}


@pytest.mark.parametrize("value", ["text", object()], ids=["text", "object"])
@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_tensor_is_refused_by_name(name: str, value: Any) -> None:
    case = NAMED[name]
    with pytest.raises(tf.errors.DTypeError) as caught:
        case.fn(value, *tensors(inputs_of(case))[1:], **case.kwargs)
    check_refusal(caught.value, case)


# ---- completeness


def test_every_primitive_has_a_row() -> None:
    names: set[str] = set()
    for case in TRACEABLE.values():
        fn, arrays = traced(case, inputs_of(case))
        names |= {
            n.prim.name
            for n in trace(fn, *(Spec(x.shape, x.dtype) for x in arrays), name="case").nodes
        }
    elsewhere = {
        name
        for name, prim in REGISTRY.items()
        if is_collective(prim) or name.startswith(("standard_", "random_"))
    }
    other = {"identity", "narrow"}  # tests/test_tensor.py (x[i] = v), tests/test_jit.py
    own = {
        name
        for name, prim in REGISTRY.items()
        if prim.array_fn.__module__.startswith("tapeflow.ops")
    }
    assert own - names - elsewhere - other == set()


def test_every_primitive_says_how_it_is_batched() -> None:
    missing = [name for name, prim in REGISTRY.items() if prim.batching is None]
    assert not missing, f"state batching= (see primitive.Leading, Rule, ByExample): {missing}"


def is_collective(prim: Any) -> bool:
    return prim.array_fn.__module__ == Group.__module__


UNCHANGING = {
    "asarray": tf.asarray,
    "cast": lambda x: tf.cast(x, tf.float32),
    "astype": lambda x: tf.astype(x, tf.float32, copy=False),
    "broadcast_to": lambda x: tf.broadcast_to(x, (2,)),
    "reshape": lambda x: tf.reshape(x, (2,)),
    "squeeze": tf.squeeze,
    "transpose": tf.transpose,
    "concat": lambda x: tf.concat([x]),
    "add_n": lambda x: tf.add_n([x]),
    "roll": lambda x: tf.roll(x, 0, 0),
    "diff": lambda x: tf.diff(x, n=0),
    "einsum": lambda x: tf.einsum("i->i", x),
    "getitem": lambda x: x[...],
    "stop_gradient": tf.stop_gradient,
}


@pytest.mark.parametrize("op", UNCHANGING.values(), ids=UNCHANGING.keys())
def test_an_op_that_changes_nothing_gives_a_tensor_of_its_own(op: Any) -> None:
    x = tf.asarray([1.0, 2.0])
    y = op(x)
    y[0] = 9.0
    assert (x.tolist(), y.tolist()) == ([1.0, 2.0], [9.0, 2.0])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("op", [f for name, f in UNCHANGING.items() if name != "stop_gradient"])
def test_gradients_pass_an_op_that_changes_nothing(op: Any, compiled: bool) -> None:
    gradient = tf.grad(lambda x: tf.sum(op(x) * x))
    found = (tf.jit(gradient) if compiled else gradient)(tf.asarray([1.0, 2.0]))
    assert found.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("op", [tf.mean, tf.std], ids=["mean", "std"])
def test_a_mean_in_float16_does_not_overflow_on_the_way(op: Any, compiled: bool) -> None:
    x = np.array([[60000.0, 0.0], [60000.0, 0.0]], np.float16)
    y = (tf.jit(op) if compiled else op)(tf.asarray(x))
    assert (y.dtype, y.item()) == (tf.float16, 30000.0)


@pytest.mark.parametrize("reverse", [False, True])
def test_exclusive_sums_do_not_cancel(reverse: bool) -> None:
    x = np.array([1.0, 1e20, 1.0], np.float32)
    assert tf.cumsum(x, exclusive=True, reverse=reverse)[1].item() == 1.0
