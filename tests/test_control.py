"""tf.cond, tf.while_loop, tf.scan and tf.map: eager and compiled they are plain Python loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.errors import ArgumentError, DTypeError, ShapeError, TapeflowError, TraceError
from tapeflow.graph import check
from tapeflow.ops.collective import all_reduce


def floats(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.asarray(np.random.default_rng(seed).standard_normal(shape))


H, W, XS = floats(2, 3), floats(3, 3, seed=1), floats(4, 2, 3, seed=2)
both = pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
interpreted = pytest.mark.parametrize("jit", ["1", "0"], ids=["machine code", "interpreted"])


# ---- each program, its derivatives up to the second, eager and compiled


def rnn(h: Any, xs: Any, w: Any) -> Any:
    def cell(h: Any, x: Any) -> Any:
        h = tf.tanh(h @ w + x)
        return h, (h * 2.0, tf.sum(h))

    end, (ys, sums) = tf.scan(cell, h, xs)
    return [end, ys, sums]


def rnn_unrolled(h: Any, xs: Any, w: Any) -> Any:
    states = []
    for i in range(xs.shape[0]):
        h = tf.tanh(h @ w + xs[i])
        states.append(h)
    ys = tf.stack(states)
    return [h, ys * 2.0, tf.sum(ys, axis=(1, 2))]


def branch(h: Any, w: Any) -> Any:
    return tf.cond(tf.sum(h) > 0.0, lambda x: tf.sin(x) @ w, lambda x: x * x * w[0], h)


def branch_in_loop(h: Any, xs: Any, w: Any) -> Any:
    def turn(c: Any, x: Any) -> Any:
        c = tf.cond(tf.sum(x) > 0.0, lambda c: tf.tanh(c @ w), lambda c: c * x, c)
        return c, tf.sum(c)

    return list(tf.scan(turn, h, xs))


def loop_in_loop(h: Any, xs: Any, w: Any) -> Any:
    def outer(c: Any, x: Any) -> Any:
        return tf.scan(lambda c, row: (tf.tanh(c * row + x), tf.sum(c * x)), c, w)

    return list(tf.scan(outer, h, xs))


def loop_in_branch(h: Any, xs: Any, w: Any) -> Any:
    def loop(h: Any) -> Any:
        return tf.scan(lambda c, x: (tf.tanh(c @ w + x), c), h, xs)[1]

    return tf.cond(tf.sum(h) > 0.0, loop, lambda h: xs * h, h)


def backwards(h: Any, xs: Any) -> Any:
    return list(tf.scan(lambda c, x: (c * tf.sin(x), c * x), h, xs, reverse=True))


def mapped(xs: Any, w: Any) -> Any:
    return tf.map(lambda x: tf.tanh(x @ w), xs)


def swapped(h: Any, xs: Any) -> Any:
    pair, ys = tf.scan(lambda c, x: ((c[1], c[0]), c[0] * x), (h, h * 2.0), xs)
    return [*pair, ys]


def handed_on(h: Any, xs: Any) -> Any:
    return list(tf.scan(lambda c, x: (x, c), h, xs))


def rebound(h: Any, xs: Any) -> Any:
    def turn(c: Any, x: Any) -> Any:
        z = c * x
        z[0] = 1.0
        return tf.roll(z, 1, 0) * tf.roll(h, 1, 1) + c, tf.sum(z)

    return list(tf.scan(turn, h, xs))


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[tf.Tensor, ...]]] = {
    "rnn": (rnn, (H, XS, W)),
    "no turns": (rnn, (H, floats(0, 2, 3), W)),
    "one turn": (rnn, (H, floats(1, 2, 3), W)),
    "first branch": (branch, (tf.abs(H), W)),
    "second branch": (branch, (-tf.abs(H), W)),
    "branch in loop": (branch_in_loop, (H, XS, W)),
    "loop in loop": (loop_in_loop, (H, XS, W)),
    "loop in branch": (loop_in_branch, (tf.abs(H), XS, W)),
    "no loop in branch": (loop_in_branch, (-tf.abs(H), XS, W)),
    "reverse": (backwards, (H, XS)),
    "map": (mapped, (XS, W)),
    "swap": (swapped, (H, XS)),
    "pass on": (handed_on, (H, XS)),
    "setitem": (rebound, (H, XS)),
}
every_program = pytest.mark.parametrize(("f", "args"), PROGRAMS.values(), ids=PROGRAMS.keys())


@interpreted
@every_program
def test_compiled_loops_give_what_python_loops_give(
    f: Callable[..., Any], args: Any, jit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAPEFLOW_JIT", jit)
    expected, got = f(*args), tf.jit(f)(*args)
    pairs = zip(expected, got, strict=True) if isinstance(expected, list) else [(expected, got)]
    for a, b in pairs:
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-12, atol=1e-12)


@both
@every_program
def test_derivatives_up_to_the_second_are_the_slopes(
    f: Callable[..., Any], args: Any, run: Callable[..., Any]
) -> None:
    tf.testing.check_gradients(run(f), args)


@every_program
def test_a_compiled_gradient_is_the_eager_one(f: Callable[..., Any], args: Any) -> None:
    def loss(*xs: Any) -> Any:
        ys = f(*xs)
        return tf.add_n([tf.sum(tf.sin(y)) for y in (ys if isinstance(ys, list) else [ys])])

    numbers = tuple(range(len(args)))
    gradient = tf.grad(loss, numbers)
    compiled = tf.jit(gradient)
    for got, expected in zip(compiled(*args), gradient(*args), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-11, atol=1e-11)
    for graph in (compiled.lower(*args).traced, compiled.lower(*args).graph):
        check(graph)


def test_an_rnn_by_scan_is_the_unrolled_one() -> None:
    def loss(cell: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *a: tf.add_n([tf.sum(y * y) for y in cell(*a)])

    for f in (tf.value_and_grad, lambda g, n: tf.jit(tf.value_and_grad(g, n))):
        value, grads = f(loss(rnn), (0, 1, 2))(H, XS, W)
        expected, slopes = f(loss(rnn_unrolled), (0, 1, 2))(H, XS, W)
        assert value.item() == pytest.approx(expected.item(), rel=1e-12)
        for g, e in zip(grads, slopes, strict=True):
            np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-11)


@settings(deadline=None, max_examples=25)
@given(
    length=st.integers(0, 5),
    shape=st.lists(st.integers(0, 3), max_size=2),
    dtype=st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]),
    reverse=st.booleans(),
)
def test_scan_is_the_loop_for_any_shape(
    length: int, shape: list[int], dtype: str, reverse: bool
) -> None:
    xs = np.arange(length * int(np.prod(shape, dtype=int))).reshape(length, *shape).astype(dtype)
    last, seen = np.zeros(shape, dtype), []
    for x in xs[::-1] if reverse else xs:
        seen.append(last)
        last = x ^ last if dtype == "bool" else x - last if dtype != "uint8" else x
    expected = np.array(seen[::-1] if reverse else seen, dtype).reshape(xs.shape)

    def turn(c: Any, x: Any) -> Any:
        after = tf.logical_xor(x, c) if dtype == "bool" else x - c if dtype != "uint8" else x
        return after, c

    def run(xs: Any) -> Any:
        return tf.scan(turn, tf.zeros(tuple(shape), dtype), xs, reverse=reverse)

    for f in (run, tf.jit(run)):
        end, ys = f(tf.asarray(xs))
        assert (end.dtype, ys.dtype, ys.shape) == (xs.dtype, xs.dtype, xs.shape)
        np.testing.assert_array_equal(end.numpy(), last)
        np.testing.assert_array_equal(ys.numpy(), expected)


# ---- trees, numbers, None


@both
def test_trees_and_none_go_through_a_loop(run: Callable[..., Any]) -> None:
    def f(xs: Any) -> Any:
        def turn(c: Any, x: Any) -> Any:
            return {"n": c["n"] + 1, "sum": c["sum"] + x["a"] * x["b"][0]}, (x["a"], None)

        return tf.scan(turn, {"sum": 0.0, "n": 0}, {"a": xs, "b": [xs]})

    carry, (ys, nothing) = run(f)(tf.asarray([1.0, 2.0, 3.0]))
    assert (carry["sum"].item(), carry["n"].item(), nothing) == (14.0, 3, None)
    assert ys.numpy().tolist() == [1.0, 2.0, 3.0]


@both
def test_a_length_stands_for_rows(run: Callable[..., Any]) -> None:
    f = run(lambda x: tf.scan(lambda c, nothing: (c * 2.0, nothing), x, None, length=5))
    end, ys = f(tf.asarray(1.0))
    assert (end.item(), ys) == (32.0, None)


@both
def test_while_loop_runs_until_its_condition_fails(run: Callable[..., Any]) -> None:
    def f(start: Any, limit: Any) -> Any:  # Collatz
        def turn(c: Any) -> Any:
            n, count = c
            odd = n % 2 == 1
            return tf.cond(odd, lambda n: 3 * n + 1, lambda n: n // 2, n), count + 1

        return tf.while_loop(lambda c: tf.logical_and(c[0] != 1, c[1] < limit), turn, (start, 0))

    go = run(f)
    assert [int(x) for x in go(tf.asarray(27), tf.asarray(1000))] == [1, 111]
    assert int(go(tf.asarray(27), tf.asarray(5))[1]) == 5
    assert [int(x) for x in go(tf.asarray(1), tf.asarray(5))] == [1, 0]


# ---- state


@both
def test_variables_are_read_and_assigned_at_each_turn(run: Callable[..., Any]) -> None:
    v, n = tf.Variable(np.ones(3)), tf.Variable(0)

    def f(h: Any, xs: Any) -> Any:
        def turn(c: Any, x: Any) -> Any:
            n.assign_add(1)
            y = c * v + x
            v.assign(v + x[0])
            return y * v, tf.sum(y) * tf.cast(n, "float64")

        with tf.GradientTape() as tape:
            tape.watch(xs)
            end, ys = tf.scan(turn, h, xs)
            total = tf.sum(end) + tf.sum(ys)
        return [end, ys, *tape.gradient(total, [xs, v])]

    got = run(f)(H, XS)
    np.testing.assert_allclose(v.numpy(), 1.0 + XS.numpy()[:, 0].sum(0))
    assert n.numpy() == 4
    v.assign(np.ones(3))
    n.assign(0)
    for a, b in zip(got, f(H, XS), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


@both
def test_branches_and_while_loops_assign_variables(run: Callable[..., Any]) -> None:
    v, w = tf.Variable(0.0), tf.Variable(0.0)

    def f(x: Any) -> Any:
        def add(x: Any) -> Any:
            v.assign_add(x)
            return x

        def count(x: Any) -> Any:
            w.assign_add(1.0)
            return x + 1.0

        y = tf.cond(x > 2.0, add, lambda x: -x, x)
        return y, tf.while_loop(lambda x: x + w < 7.0, count, x)

    go = run(f)
    assert [float(y) for y in go(tf.asarray(1.0))] == [-1.0, 4.0]
    assert (float(v), float(w)) == (0.0, 3.0)
    assert [float(y) for y in go(tf.asarray(3.0))] == [3.0, 4.0]
    assert (float(v), float(w)) == (3.0, 4.0)


@both
def test_gradients_pass_a_branch_that_assigns_variables(run: Callable[..., Any]) -> None:
    v = tf.Variable(2.0)

    def f(x: Any) -> Any:
        def add(x: Any) -> Any:
            y = x * v
            v.assign(y)
            return y * v

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cond(x > 0.0, add, lambda x: x * 3.0, x)
        return tape.gradient(y, [x, v])

    # as on any tape, what a variable is read as is no function of what it was assigned
    assert [float(g) for g in run(f)(tf.asarray(5.0))] == [2.0 * 10.0, 5.0 * 10.0 + 10.0]
    assert float(v) == 10.0


def test_random_numbers_differ_at_each_turn_and_are_those_of_eager_code() -> None:
    def f() -> Any:
        return tf.map(lambda x: x + tf.random.normal((3,)), tf.zeros((4, 3)))

    compiled = tf.jit(f)
    tf.random.seed(3)
    expected = [f().numpy(), f().numpy()]
    tf.random.seed(3)
    got = [compiled().numpy(), compiled().numpy()]
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(expected)) == 24


def test_dropout_in_a_loop_has_the_gradient_of_what_it_dropped() -> None:
    def f(x: Any) -> Any:
        turn = lambda c, nothing: (c * tf.nn.dropout(c, 0.5), nothing)  # noqa: E731
        return tf.sum(tf.scan(turn, x, None, length=3)[0])

    tf.random.seed(1)
    expected = tf.grad(f)(H)
    tf.random.seed(1)
    np.testing.assert_allclose(tf.jit(tf.grad(f))(H).numpy(), expected.numpy(), rtol=1e-12)
    assert np.count_nonzero(expected.numpy()) < H.size


class Doubling:
    """Stands for a group of two ranks that send the same."""

    rank, size = 0, 2

    def __init__(self) -> None:
        self.calls = 0

    def check_reducible(self, op: str, x: Any) -> None:
        """All dtypes are."""

    def all_reduce(self, x: Any, op: str, name: str | None, out: Any = None) -> Any:
        self.calls += 1
        return x * 2.0


def test_effects_happen_once_a_turn_and_have_gradients() -> None:
    group = Doubling()

    def f(x: Any) -> Any:
        def turn(c: Any, nothing: None) -> Any:
            return tf.sin(all_reduce(c, group=group, op="sum", name=None)), nothing

        return tf.sum(tf.scan(turn, x, None, length=3)[0])

    counts, results = [], []
    for g in (f, tf.jit(f), tf.grad(f), tf.jit(tf.grad(f))):
        group.calls = 0
        results.append(g(H).numpy())
        counts.append(group.calls)
    assert counts == [3, 3, 6, 6]  # the adjoint is another
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12)
    np.testing.assert_allclose(results[3], results[2], rtol=1e-12)


@pytest.mark.parametrize("where", ["carry", "closure"])
@pytest.mark.parametrize("returned", ["itself", "a product"])
def test_a_custom_gradient_in_a_body_is_used(where: str, returned: str) -> None:
    @tf.custom_gradient
    def ten_times(x: Any) -> Any:
        return (x if returned == "itself" else x * 1.0), lambda g: g * 10.0

    def f(h: Any, xs: Any) -> Any:
        if where == "carry":
            return tf.sum(tf.scan(lambda c, x: (ten_times(c) * x, None), h, xs)[0])
        return tf.sum(tf.scan(lambda c, x: (c * x * ten_times(h), None), h * 1.0, xs)[0])

    expected = tf.grad(f)(H, XS).numpy()
    np.testing.assert_allclose(tf.jit(tf.grad(f))(H, XS).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(tf.grad(tf.jit(f))(H, XS).numpy(), expected, rtol=1e-12)


@tf.custom_gradient
def cubed(x: Any) -> Any:
    return x * x * x, lambda g: g * 3.0 * x * x


NESTS: dict[str, Callable[[Any], Callable[[Any, Any], Any]]] = {
    "scan": lambda a: lambda x, w: tf.scan(lambda c, _: (a(c, w), None), x, None, length=2)[0],
    "cond": lambda a: lambda x, w: tf.cond(tf.sum(x) > -99.0, lambda y: a(y, w), tf.sin, x),
    "map": lambda a: lambda x, w: tf.sum(tf.map(lambda row: a(x * row, w), w), axis=0),
    "made inside": lambda a: lambda x, w: a(x, w * 1.5),
}


@pytest.mark.parametrize(
    "nest",
    ["cond/made inside/scan", "cond/made inside/cond", "scan/made inside/map", "map/scan/cond",
     "scan/cond/scan", "cond/scan", "scan"],
)
@pytest.mark.parametrize("leaf", ["product", "custom"])
def test_second_derivatives_cross_nests(
    nest: str, leaf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reverse over reverse: bodies made of bodies must know each other's values."""
    monkeypatch.setenv("TAPEFLOW_JIT", "0")
    f: Callable[[Any, Any], Any] = {
        "product": lambda x, w: tf.tanh(x @ w) * 0.7,
        "custom": lambda x, w: cubed(tf.sin(x) * w[0]) * 0.7 + cubed(w[1]),
    }[leaf]
    for name in reversed(nest.split("/")):
        f = NESTS[name](f)
    gradient = tf.grad(lambda x, w: tf.sum(tf.sin(f(x, w))), (0, 1))

    def along(x: Any, w: Any) -> Any:
        gx, gw = gradient(x, w)
        return tf.sum(gx * x) + tf.sum(gw * w)

    second = tf.grad(along, (0, 1))
    for got, expected in zip(tf.jit(second)(H, W), second(H, W), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-9, atol=1e-11)


def test_gradients_reach_tensors_that_a_body_reads_from_its_closure() -> None:
    w = tf.asarray(np.array([2.0, 3.0]))

    def f() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = tf.cond(tf.sum(w) > 0.0, lambda: w * w, lambda: w)
            total = tf.sum(tf.scan(lambda c, _: (c + tf.sum(y * w), None), 0.0 * w[0], None, 2)[0])
        return tape.gradient(total, w)

    np.testing.assert_allclose(tf.jit(f)().numpy(), 6.0 * np.array([4.0, 9.0]))


# ---- while_loop's derivatives


def power(x: Any) -> Any:
    return tf.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, tf.sin(c[1]) * x), (0, x))[1]


@both
def test_while_loop_has_forward_mode_of_any_order(run: Callable[..., Any]) -> None:
    f, t = run(power), floats(2, 3, seed=4)

    def unrolled(x: Any) -> Any:
        y = x
        for _ in range(3):
            y = tf.sin(y) * x
        return y

    def second(g: Callable[..., Any]) -> Any:
        return tf.jvp(lambda y: tf.jvp(g, (y,), (t,))[1], (H,), (t,))

    for got, expected in zip(second(f), second(unrolled), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "gradient",
    [
        tf.grad(tf.jit(lambda x: tf.sum(power(x)))),
        tf.jit(tf.grad(lambda x: tf.sum(power(x)))),
        tf.vmap(tf.grad(lambda x: tf.sum(power(x)))),
        tf.grad(lambda x: tf.sum(tf.vmap(power)(x))),
    ],
    ids=["of compiled", "compiled", "in vmap", "of vmap"],
)
def test_while_loop_refuses_reverse_mode_where_it_keeps_no_values(gradient: Any) -> None:
    with pytest.raises(ArgumentError, match=r"(?s)while_loop.*use tf\.scan .* tf\.jvp"):
        gradient(H)


def test_while_loop_has_reverse_mode_in_eager_code() -> None:
    unrolled = tf.grad(lambda x: tf.sum(tf.sin(tf.sin(tf.sin(x) * x) * x) * x))(H)
    found = tf.grad(lambda x: tf.sum(power(x)))(H)
    np.testing.assert_allclose(found.numpy(), unrolled.numpy(), rtol=1e-12)


# ---- refusals


def check_refused(error: type[TapeflowError], match: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=match) as caught:
        call()
    assert "test_control.py" in caught.value.at
    assert caught.value.fix


REFUSED: dict[str, tuple[type[TapeflowError], str, Callable[[], Any]]] = {
    "dtype": (
        DTypeError,
        r"carry\['h'\]: f64\[2,3\] became f32\[2,3\]",
        lambda: tf.scan(lambda c, x: ({"h": tf.cast(c["h"], "float32")}, x), {"h": H}, XS),
    ),
    "shape": (
        ShapeError,
        r"carry\[1\]\[0\]: f64\[2,3\] became f64\[3\]",
        lambda: tf.scan(lambda c, x: ((c[0], [c[1][0][0]]), x), (H, [H]), XS),
    ),
    "structure": (
        ArgumentError,
        r"carry: \(\*\) became \[\*\]",
        lambda: tf.scan(lambda c, x: ([c[0]], x), (H,), XS),
    ),
    "pair": (ArgumentError, "f gave Tensor", lambda: tf.scan(lambda c, x: c, H, XS)),
    "no axes": (ShapeError, r"xs f32\[\]", lambda: tf.scan(lambda c, x: (c, x), H, 3.0)),
    "lengths": (
        ShapeError,
        "number of rows",
        lambda: tf.scan(lambda c, x: (c, None), H, (XS, W)),
    ),
    "length": (ShapeError, "length=3", lambda: tf.scan(lambda c, x: (c, x), H, XS, length=3)),
    "no function": (ArgumentError, "scan: f must be a function", lambda: tf.scan(3, H, XS)),
    "no function of rows": (ArgumentError, "map: f must be a function", lambda: tf.map(None, XS)),
    "no condition": (
        ArgumentError,
        "while_loop: cond must be a function",
        lambda: tf.while_loop(True, lambda x: x, H),
    ),
    "no branch": (
        ArgumentError,
        "cond: false_fn must be a function",
        lambda: tf.cond(True, lambda: H, H),
    ),
    "length below 0": (
        ArgumentError,
        "length=-1",
        lambda: tf.scan(lambda c, x: (c, x), H, length=-1),
    ),
    "length of text": (
        ArgumentError,
        "length must be a whole number",
        lambda: tf.scan(lambda c, x: (c, x), H, length="3"),
    ),
    "no length": (ArgumentError, "give length=", lambda: tf.scan(lambda c, x: (c, x), H)),
    "pred": (ShapeError, r"pred bool\[2,3\]", lambda: tf.cond(H > 0, tf.abs, tf.sin, H)),
    "no bool": (DTypeError, r"pred f64\[\]", lambda: tf.cond(H[0, 0], tf.abs, tf.sin, H)),
    "while": (
        DTypeError,
        r"condition f32\[\]",
        lambda: tf.while_loop(lambda c: 1.0, lambda c: c, H),
    ),
    "while carry": (
        ShapeError,
        r"carry: f64\[2,3\] became f64\[\]",
        lambda: tf.while_loop(lambda c: tf.sum(c) > -100.0, tf.sum, H),
    ),
}


@both
@pytest.mark.parametrize(("error", "match", "call"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused(
    error: type[TapeflowError], match: str, call: Callable[[], Any], run: Callable[..., Any]
) -> None:
    check_refused(error, match, run(call))


@pytest.mark.parametrize(
    ("second", "error", "match"),
    [
        (lambda x: x[0], ShapeError, r"result: f64\[2,3\] became f64\[3\]"),
        (lambda x: (x, x), ArgumentError, r"result: \* became \(\*, \*\)"),
        (lambda x: x > 0, DTypeError, r"result: f64\[2,3\] became bool\[2,3\]"),
    ],
)
def test_traced_branches_must_give_the_same_types(
    second: Callable[..., Any], error: type[TapeflowError], match: str
) -> None:
    f = tf.jit(lambda x: tf.cond(tf.sum(x) > 0, tf.sin, second, x))
    check_refused(error, match, lambda: f(H))


def test_a_traced_condition_assigns_nothing() -> None:
    v = tf.Variable(0.0, name="counted")

    def counted(x: Any) -> Any:
        v.assign_add(1.0)
        return x < 3.0

    check_refused(
        ArgumentError,
        "a condition that changes counted",
        lambda: tf.jit(lambda x: tf.while_loop(counted, lambda x: x + 1.0, x))(tf.asarray(0.0)),
    )


def test_a_value_of_a_body_does_not_leave_it() -> None:
    kept: list[Any] = []

    def f(xs: Any) -> Any:
        end, _ = tf.scan(lambda c, x: (kept.append(x * 2.0) or c + x, None), H, xs)
        return end + kept[0]

    with pytest.raises(TraceError, match="a trace that has ended"):
        tf.jit(f)(XS)


# ---- what is traced and compiled


def nodes_of(f: Callable[..., Any], *args: Any) -> list[Any]:
    return list(tf.jit(f).lower(*args).traced.nodes)


def test_a_loop_is_one_node_and_is_traced_once() -> None:
    calls: list[int] = []

    def turn(c: Any, x: Any) -> Any:
        calls.append(1)
        return c + x, c

    for length in (10, 10_000):
        calls.clear()
        xs = tf.zeros((length, 2))
        nodes = nodes_of(lambda xs: tf.scan(turn, tf.zeros(2), xs), xs)
        assert [n.prim.name for n in nodes if n.prim.graphs] == ["scan"]
        assert len(calls) == 1


def test_what_no_derivative_needs_is_not_kept() -> None:
    def loss(h: Any, xs: Any, w: Any) -> Any:
        return tf.sum(rnn(h, xs, w)[0])

    graph = tf.jit(tf.grad(loss, 2)).lower(H, XS, W).graph
    first, second = (n for n in graph.nodes if n.prim.graphs)
    # the states before and after each turn, whose last one the loss would not need as a row
    assert [str(v.spec) for v in first.outputs] == ["f64[2,3]", "f64[4,2,3]", "f64[4,2,3]"]
    assert [str(v.spec) for v in second.outputs] == ["f64[2,3]", "f64[4,2,3]"]


def test_the_gradient_of_a_weight_is_one_product_behind_the_loop() -> None:
    def loss(h: Any, xs: Any, w: Any) -> Any:
        return tf.sum(rnn(h, xs, w)[0])

    lowered = tf.jit(tf.grad(loss, 2)).lower(H, XS, W)
    (*_, last) = (n for n in lowered.graph.nodes if n.prim.graphs)
    inside = [n for g in last.prim.graphs for n in g.nodes if n.outputs[0].shape == (3, 3)]
    assert [n.prim.name for n in inside] == ["transpose"]  # of the weight
    (product,) = [n for n in lowered.graph.nodes if n.outputs == lowered.graph.outputs]
    assert [v.shape for v in product.inputs[:2]] == [(3, 8), (8, 3)]


@pytest.mark.parametrize("seen", [True, False])
def test_a_sum_of_products_that_a_turn_looks_at_stays_in_the_loop(seen: bool) -> None:
    def f(xs: Any, ys: Any) -> Any:
        def turn(total: Any, row: Any) -> Any:
            x, y = row
            return total + x.T @ y, tf.sum(total) if seen else tf.sum(y)

        return tf.scan(turn, tf.ones((3, 2), "float64"), (xs, ys))

    xs, ys = floats(5, 4, 3), floats(5, 4, 2, seed=1)
    compiled = tf.jit(f)
    for got, expected in zip(compiled(xs, ys), f(xs, ys), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)
    (loop,) = (n for n in compiled.lower(xs, ys).graph.nodes if n.prim.graphs)
    assert (loop.outputs[0].shape == (3, 2)) == seen


def test_compiled_loops_and_branches_run_no_python() -> None:
    for f, args in PROGRAMS.values():
        lowered = tf.jit(f).lower(*args)
        assert lowered.host_steps == []
        assert any(n.prim.graphs for n in lowered.graph.nodes)


def test_a_loop_has_as_many_kernels_however_many_turns() -> None:
    counts = [
        len(tf.jit(rnn).lower(H, tf.zeros((n, 2, 3), "float64"), W).kernels) for n in (10, 10_000)
    ]
    assert counts[0] == counts[1] > 0


def test_a_loop_that_needs_the_host_runs_turn_by_turn_and_says_so() -> None:
    def inner(row: Any) -> Any:
        turn = lambda c, x: (tf.sort(c * 0.5 + x), c)  # noqa: E731
        return list(tf.scan(turn, row[0], row))

    def f(xs: Any) -> Any:
        return tf.map(inner, xs)

    compiled = tf.jit(f)
    for got, expected in zip(compiled(XS), f(XS), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)
    (step,) = compiled.lower(XS).host_steps
    assert step.startswith("scan, turn by turn, for its") and "sort" in step
    assert step in str(compiled.explain(XS))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    """Rows of 40,000 elements are shared out; those of loops in loops too."""
    xs, h = floats(3, 200, 200), floats(200, 200, seed=1)

    def f(h: Any, xs: Any) -> Any:
        def outer(c: Any, x: Any) -> Any:
            c, _ = tf.scan(lambda c, y: (tf.sin(c) * y + x, None), c, xs)
            return tf.cond(tf.sum(c) > 0.0, lambda c: c @ h, lambda c: c - x, c) * 0.01, tf.sum(c)

        return tf.scan(outer, h, xs)

    before = tf.config.num_threads()
    try:
        tf.config.set_num_threads(threads)
        end, sums = tf.jit(f)(h, xs)
    finally:
        tf.config.set_num_threads(before)
    expected = f(h, xs)
    np.testing.assert_allclose(end.numpy(), expected[0].numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.numpy(), expected[1].numpy(), rtol=1e-9, atol=1e-9)


def test_a_sum_over_turns_is_added_up_in_place() -> None:
    f = tf.jit(lambda xs: tf.scan(lambda c, x: (c + x * x, None), tf.zeros(1000), xs)[0])
    xs = tf.ones((64, 1000))
    assert f(xs).numpy().tolist() == [64.0] * 1000
    assert f.lower(xs).memory.arena < 1000  # no second buffer


def test_earlier_results_of_a_compiled_loop_keep_their_values() -> None:
    f = tf.jit(lambda h, xs: tf.scan(lambda c, x: (c + x, c), h, xs))
    xs = floats(7, 30_000)
    results = [f(tf.full(30_000, float(i), "float64"), xs) for i in range(4)]
    rows = np.concatenate([np.zeros((1, 30_000)), np.cumsum(xs.numpy(), 0)])
    for i, (end, ys) in enumerate(results):
        np.testing.assert_allclose(end.numpy(), rows[-1] + i, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(ys.numpy(), rows[:-1] + i, rtol=1e-9, atol=1e-9)


def test_a_training_step_with_a_loop_in_it_learns_as_eager_code_does() -> None:
    def train(compile_it: bool) -> list[float]:
        w = tf.Variable(floats(3, 3, seed=5))
        optimizer = tf.optim.Adam(0.05)

        def step(xs: Any) -> Any:
            def loss() -> Any:
                end, ys = tf.scan(lambda h, x: (tf.tanh(h @ w + x), h), H, xs)
                return tf.sum(end * end) + tf.sum(ys)

            return optimizer.minimize(loss, [w])

        run = tf.jit(step) if compile_it else step
        return [run(XS).item() for _ in range(4)]

    np.testing.assert_allclose(train(True), train(False), rtol=1e-9)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    tf.random.seed(0)
    yield
