"""tf.vmap: every operation for many examples at once, beside a loop over them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from op_case import Case
from tapeflow.errors import ArgumentError, OutOfRangeError, ShapeError, StateError, TraceError
from tapeflow.jit.trace import interpret, trace
from tapeflow.ops import collective
from tapeflow.tensor import Spec, Tensor
from test_ops import SMOOTH, TRACEABLE, directions, floating, inputs_of, traced

SIZE = 3
CASES = pytest.mark.parametrize("case", TRACEABLE.values(), ids=TRACEABLE.keys())
SMOOTH_CASES = pytest.mark.parametrize("case", SMOOTH.values(), ids=SMOOTH.keys())


def examples(case: Case) -> tuple[Any, list[list[np.ndarray]]]:
    """The case as a function of its arrays, and these for each of some examples."""
    fn, first = traced(case, inputs_of(case))
    rows = [traced(case, inputs_of(case, seed=i))[1] for i in range(SIZE)]
    fixed = [np.array_equal(x, y) for x, y in zip(rows[0], rows[1], strict=True)]
    for i, row in enumerate(rows):  # arrays that a case gives itself, such as indices
        for k, x in enumerate(row):
            if fixed[k] and x.dtype.kind in "iu":
                row[k] = np.roll(x, i)
    assert first
    return fn, rows


def looped(fn: Any, rows: list[list[np.ndarray]], batched: tuple[int, ...]) -> np.ndarray:
    results = []
    for row in rows:
        given = [row[k] if k in batched else x for k, x in enumerate(rows[0])]
        results.append(fn(*map(Tensor, given)).numpy())
    return np.stack(results)


def check_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def choices(count: int) -> list[tuple[int, ...]]:
    """Each input alone, and all together."""
    every = tuple(range(count))
    return [*([(k,) for k in every] if count > 1 else []), every]


@CASES
def test_all_examples_at_once_give_what_a_loop_gives(case: Case) -> None:
    fn, rows = examples(case)
    for batched in choices(len(rows[0])):
        axes = [
            (-1 if len(batched) == 1 else 0) if k in batched else None for k in range(len(rows[0]))
        ]
        stacked = [
            rows[0][k] if a is None else np.stack([row[k] for row in rows], a)
            for k, a in enumerate(axes)
        ]
        mapped = tf.vmap(fn, in_axes=tuple(axes), out_axes=-1 if len(batched) == 1 else 0)
        expected = looped(fn, rows, batched)
        found = mapped(*map(Tensor, stacked)).numpy()
        check_close(np.moveaxis(found, -1, 0) if len(batched) == 1 else found, expected)


@CASES
def test_the_trace_of_all_examples_means_the_same(case: Case) -> None:
    fn, rows = examples(case)
    stacked = [np.stack(column) for column in zip(*rows, strict=True)]
    graph = trace(tf.vmap(fn), *(Spec(x.shape, x.dtype) for x in stacked), name="case")
    every = tuple(range(len(stacked)))
    check_close(interpret(graph, *stacked)[0], looped(fn, rows, every))


@SMOOTH_CASES
def test_gradients_of_all_examples_are_those_of_a_loop(case: Case) -> None:
    fn, first = floating(case)
    (w,) = directions([fn(*map(Tensor, first)).numpy()], 2)
    rows = [directions(first, 10 + i) for i in range(SIZE)]
    rows = [[x + 0.01 * d for x, d in zip(first, row, strict=True)] for row in rows]

    def gradients(*xs: Any) -> Any:
        return tf.vjp(fn, *xs)[1](Tensor(w))

    found = tf.vmap(gradients)(*(Tensor(np.stack(c)) for c in zip(*rows, strict=True)))
    for k, g in enumerate(found):
        check_close(g.numpy(), np.stack([gradients(*map(Tensor, row))[k].numpy() for row in rows]))


# ---- axes and trees

X = np.arange(1.0, 7.0).reshape(2, 3)
both = pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])


def test_axes_of_arguments_and_results_may_be_trees() -> None:
    def f(p: Any, x: Any) -> Any:
        return {"y": p["w"] * x + p["b"][0], "w": p["w"]}

    mapped = tf.vmap(f, in_axes=({"w": 1, "b": None}, 0), out_axes={"y": -1, "w": 0})
    found = mapped({"w": X.T, "b": [2.0]}, np.array([10.0, 20.0]))
    np.testing.assert_allclose(found["y"].numpy(), X.T * [10.0, 20.0] + 2.0)
    np.testing.assert_array_equal(found["w"].numpy(), X)


def test_arguments_by_name_have_their_examples_along_the_first_axis() -> None:
    found = tf.vmap(lambda x, y: tf.sum(x) * y)(X, y=np.array([1.0, 2.0]))
    np.testing.assert_allclose(found.numpy(), X.sum(1) * [1.0, 2.0])


def test_what_is_the_same_for_all_is_repeated_or_given_once() -> None:
    once = tf.vmap(lambda x: tf.sum(x) * 0.0 + 1.0, in_axes=None, out_axes=None)
    with pytest.raises(ArgumentError, match="no examples"):
        once(X)
    y = tf.asarray(5.0)
    assert tf.vmap(lambda x: y)(X).tolist() == [5.0, 5.0]
    assert tf.vmap(lambda x: y, out_axes=None)(X).item() == 5.0
    assert tf.vmap(lambda x: None)(X) is None


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (ShapeError, lambda: tf.vmap(tf.add)(X, X.T)),
        (OutOfRangeError, lambda: tf.vmap(tf.sum, in_axes=2)(X)),
        (OutOfRangeError, lambda: tf.vmap(tf.sum, out_axes=1)(X)),
        (ArgumentError, lambda: tf.vmap(tf.add, in_axes=(0,))(X, X)),
        (ArgumentError, lambda: tf.vmap(tf.add, in_axes=({"a": 0}, 0))(X, X)),
        (ArgumentError, lambda: tf.vmap(tf.add, in_axes=0.5)(X, X)),
        (ArgumentError, lambda: tf.vmap(tf.sum, out_axes=None)(X)),
        (ArgumentError, lambda: tf.vmap("sum")),
        (TraceError, lambda: tf.vmap(lambda x: x if tf.sum(x) > 1.0 else -x)(X)),
        (TraceError, lambda: tf.vmap(lambda x: x[x > 1.0])(X)),
    ],
)
def test_what_cannot_be_mapped_is_refused(error: Any, call: Callable[[], Any]) -> None:
    with pytest.raises(error):
        call()


def test_what_needs_a_value_is_told_of_the_map() -> None:
    with pytest.raises(TraceError, match=r"inside tf\.vmap .* different values"):
        tf.vmap(lambda x: float(tf.sum(x)))(X)


@pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
@pytest.mark.parametrize("convert", [bool, int, float, lambda x: [1, 2][x]], ids=str)
def test_the_fix_for_a_value_of_an_example_speaks_of_vmap(convert: Any, run: Any) -> None:
    numbers = tf.asarray([0, 1])
    with pytest.raises(TraceError, match=r"fix: .*None in in_axes of tf\.vmap") as caught:
        run(tf.vmap(lambda x: x * float(convert(x))))(numbers)
    assert "tf.jit" not in caught.value.fix


def test_a_lane_that_is_kept_is_refused_later() -> None:
    kept = []
    tf.vmap(lambda x: kept.append(x) or x)(X)
    with pytest.raises(TraceError, match="ended"):
        kept[0] + 1.0
    with pytest.raises(TraceError, match="ended"):
        tf.jit(lambda: kept[0] * 2.0)()


# ---- together with derivatives, in any order


def energy(w: Any, x: Any) -> Any:
    return tf.sum(tf.tanh(x @ w) ** 2) + tf.sum(w * w)


W = np.linspace(-1.0, 1.0, 12).reshape(3, 4)


@both
def test_gradients_for_each_example(run: Any) -> None:
    found = run(tf.vmap(tf.grad(energy), in_axes=(None, 0)))(W, X)
    for g, x in zip(found.numpy(), X, strict=True):
        np.testing.assert_allclose(g, tf.grad(energy)(W, x).numpy(), rtol=1e-12)


@both
def test_the_gradient_of_what_is_mapped(run: Any) -> None:
    def mapped(w: Any, xs: Any) -> Any:
        return tf.sum(tf.vmap(energy, in_axes=(None, 0))(w, xs))

    def looped(w: Any, xs: Any) -> Any:
        return tf.add_n([energy(w, x) for x in xs])

    for g, expected in zip(
        run(tf.grad(mapped, (0, 1)))(W, X), tf.grad(looped, (0, 1))(W, X), strict=True
    ):
        np.testing.assert_allclose(g.numpy(), expected.numpy(), rtol=1e-12)


@both
def test_gradients_pass_gradients_for_each_example(run: Any) -> None:
    def norms(w: Any, grads: Callable[[Any], Any]) -> Any:
        return tf.sum(tf.sqrt(tf.sum(grads(w) ** 2, axis=(1, 2))))

    one = tf.grad(energy)
    mapped = tf.grad(lambda w: norms(w, lambda v: tf.vmap(one, in_axes=(None, 0))(v, X)))
    looped = tf.grad(lambda w: norms(w, lambda v: tf.stack([one(v, x) for x in X])))
    np.testing.assert_allclose(run(mapped)(W).numpy(), looped(W).numpy(), rtol=1e-11)


@both
def test_a_closure_over_an_argument_of_another_gradient_keeps_its_own(run: Any) -> None:
    def f(x: Any) -> Any:
        rows = tf.vmap(lambda y: tf.grad(lambda z: tf.reshape(x, ()) * z * z * y)(y))(X[0])
        return tf.sum(rows)  # the sum of 2 x y y

    assert run(tf.grad(f))(tf.asarray(3.0, tf.float64)).item() == 2 * (1 + 4 + 9)


@both
def test_nested_maps_are_an_outer_product(run: Any) -> None:
    inner = tf.vmap(lambda a, b: tf.sin(a) * b, in_axes=(None, 0))
    found = run(tf.vmap(inner, in_axes=(0, None)))(X[0], X[1])
    np.testing.assert_allclose(found.numpy(), np.outer(np.sin(X[0]), X[1]), rtol=1e-12)


@both
def test_forward_mode_of_and_under_a_map(run: Any) -> None:
    def along(x: Any) -> Any:
        return tf.jvp(lambda v: energy(W, v), (x,), (tf.ones_like(x),))[1]

    expected = np.array([along(x).item() for x in X])
    np.testing.assert_allclose(run(tf.vmap(along))(X).numpy(), expected, rtol=1e-12)

    def of_map(xs: Any) -> Any:
        return tf.jvp(tf.vmap(lambda v: energy(W, v)), (xs,), (tf.ones_like(xs),))[1]

    np.testing.assert_allclose(run(of_map)(tf.asarray(X)).numpy(), expected, rtol=1e-12)


@both
def test_a_tape_around_sees_what_it_watches_and_no_more(run: Any) -> None:
    v = tf.Variable(2.0, dtype="float64")

    def f(xs: Any) -> Any:
        with tf.GradientTape() as tape:
            with tf.no_grad():
                hidden = tf.vmap(lambda x: tf.sum(x) * v)(xs)
            y = tf.sum(tf.vmap(lambda x: _without_gradient(x, v) + tf.sum(x) * v)(xs) + hidden)
        return tape.gradient(y, v)

    assert run(f)(X).item() == X.sum()


def _without_gradient(x: Any, v: Any) -> Any:
    with tf.no_grad():
        return tf.sum(x) * v * v


def test_a_reshape_to_the_same_shape_keeps_the_gradient_of_what_all_share() -> None:
    w = tf.asarray([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(w)
        y = tf.sum(tf.vmap(lambda x: tf.sum(tf.reshape(w, (2,))) * tf.sum(x))(X))
    assert tape.gradient(y, w).tolist() == [21.0, 21.0]


@both
def test_assignment_to_elements_is_of_each_example(run: Any) -> None:
    def f(x: Any, i: Any) -> Any:
        y = x * 1.0
        y[i] = y[0] * 10.0
        return y

    i = np.array([2, 1])
    expected = X.copy()
    expected[[0, 1], i] = X[:, 0] * 10.0
    np.testing.assert_allclose(run(tf.vmap(f))(X, i).numpy(), expected)
    gradient = run(tf.grad(lambda xs: tf.sum(tf.vmap(f)(xs, tf.asarray(i)))))(tf.asarray(X))
    assert gradient.tolist() == [[11.0, 1.0, 0.0], [11.0, 0.0, 1.0]]


@both
def test_gradients_by_variables_for_each_example(run: Any) -> None:
    layer = tf.nn.Dense(2, activation="tanh")
    layer(X)

    def gradients(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.sum(layer(x[None]) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    rows = [gradients(x) for x in X]
    for k, g in enumerate(run(tf.vmap(gradients))(X)):
        expected = np.stack([row[k].numpy() for row in rows])
        np.testing.assert_allclose(g.numpy(), expected, rtol=1e-5, atol=1e-6)


@both
def test_a_map_keeps_the_derivative_of_a_function_of_several_ops(run: Any) -> None:
    x = tf.asarray([[-np.inf, -np.inf], [0.0, 0.0]])  # the chain rule would give NaN

    def finite(row: Any) -> Any:
        y = tf.logsumexp(row)
        return tf.where(tf.isinf(y), 0.0, y)

    found = run(tf.grad(lambda x: tf.sum(tf.vmap(finite)(x))))(x)
    assert found.tolist() == [[0.0, 0.0], [0.5, 0.5]]


def test_one_matrix_is_factored_once_for_the_right_sides_of_all() -> None:
    a = np.eye(3) + 0.1 * np.arange(9.0).reshape(3, 3)
    graph = trace(tf.vmap(lambda b: tf.linalg.solve(a, b)), Spec((5, 3), np.dtype("f8")), name="f")
    (node,) = [n for n in graph.nodes if n.prim.name == "solve"]
    assert [v.shape for v in node.inputs] == [(3, 3), (3, 5)]


# ---- collectives


class Doubled:
    """A group of two ranks that have the same values."""

    rank, size = 0, 2

    def check_reducible(self, op: str, x: Any) -> None:
        pass

    def all_reduce(self, x: Any, op: str, name: str | None, out: Any = None) -> Any:
        return 2.0 * x

    def all_gather(self, x: Any, name: str | None) -> Any:
        return np.concatenate([x, x])


@both
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a loop"])
def test_collectives_are_of_each_example(run: Any, inside: bool) -> None:
    group = Doubled()

    def f(x: Any) -> Any:
        total = collective.all_reduce(x, group=group, op="sum", name=None)
        joined = collective.all_gather(total, group=group, name=None)
        return collective.reduce_scatter(joined, group=group, name=None)

    def g(x: Any) -> Any:
        return tf.scan(lambda c, _: (f(c), None), x, length=1)[0] if inside else f(x)

    expected = np.stack([f(tf.asarray(x)).numpy() for x in X])
    np.testing.assert_allclose(run(tf.vmap(g))(X).numpy(), expected)


# ---- loops and branches

LOOPS: dict[str, Callable[[Any], Any]] = {
    "scan": lambda v: tf.scan(lambda c, x: (c * v + x, c * x), v, X[0])[0],
    "reversed rows": lambda v: tf.scan(lambda c, x: (c, c * x), v, X[0], reverse=True)[1],
    "a counter that all share": lambda v: tf.scan(
        lambda c, _: ((c[0] + 1, c[1] * v), tf.cast(c[0], "float64")), (0, v), length=3
    )[0][1],
    "a carry that becomes its own": lambda v: tf.scan(
        lambda c, x: ((*c[1:], v * x + c[0]), None), (0.0 * X[0, 0],) * 3, X[0]
    )[0][0],
    "map": lambda v: tf.map(lambda x: x * v, X[0]),
    "nested": lambda v: tf.scan(
        lambda c, x: (tf.scan(lambda d, y: (d * y + x, None), c, X[0])[0], None), v, X[1]
    )[0],
    "branch of each": lambda v: tf.cond(v > 2.0, lambda u: u * u, lambda u: -u * v, v),
    "branch of all": lambda v: tf.cond(X.sum() > 0.0, lambda u: u * v, lambda u: -u, v),
}


@both
@pytest.mark.parametrize("name", LOOPS)
def test_loops_and_their_gradients_are_those_of_each_example(name: str, run: Any) -> None:
    f, xs = LOOPS[name], np.array([0.5, 1.5, 2.5, 3.5])
    rows = [f(tf.asarray(x)).numpy() for x in xs]
    np.testing.assert_allclose(run(tf.vmap(f))(xs).numpy(), np.stack(rows), rtol=1e-12)
    gradient = tf.grad(lambda v: tf.sum(f(v)))
    expected = np.array([gradient(x).item() for x in xs])
    np.testing.assert_allclose(run(tf.vmap(gradient))(xs).numpy(), expected, rtol=1e-12)
    of_all = run(tf.grad(lambda vs: tf.sum(tf.vmap(f)(vs))))(tf.asarray(xs))
    np.testing.assert_allclose(of_all.numpy(), expected, rtol=1e-12)


@both
def test_a_loop_runs_while_any_example_wants_it(run: Any) -> None:
    def f(x: Any, limit: Any) -> Any:
        return tf.while_loop(lambda c: c[0] < limit, lambda c: (c[0] * 3.0, c[1] + 1), (x, 0))

    xs, limits = np.array([1.0, 2.0, 50.0]), np.array([20.0, 5.0, 10.0])
    values, turns = run(tf.vmap(f))(xs, limits)
    assert (values.tolist(), turns.tolist()) == ([27.0, 6.0, 50.0], [3, 1, 0])
    values, turns = run(tf.vmap(f, in_axes=(0, None)))(xs, 20.0)
    assert (values.tolist(), turns.tolist()) == ([27.0, 54.0, 50.0], [3, 3, 0])


def test_the_end_of_a_loop_that_all_share_is_asked_once_a_turn() -> None:
    def f(x: Any) -> Any:
        return tf.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * 2.0), (0, x))

    turns, values = tf.vmap(f, out_axes=(None, 0))(X)
    assert turns.item() == 3
    np.testing.assert_allclose(values.numpy(), X * 8.0)


# ---- state


@both
def test_random_numbers_are_those_of_a_loop_over_the_examples(run: Any) -> None:
    def f(x: Any) -> Any:
        return tf.random.normal((2,)) + 0.0 * tf.sum(x)

    tf.random.seed(3)
    looped = np.stack([f(x).numpy() for x in X])
    after = tf.random.normal(()).item()
    tf.random.seed(3)
    np.testing.assert_array_equal(run(tf.vmap(f))(X).numpy(), looped)
    assert tf.random.normal(()).item() == after
    assert np.unique(looped).size == 4


@both
def test_random_numbers_of_nested_maps_and_loops_all_differ(run: Any) -> None:
    def draws(x: Any) -> Any:
        return tf.scan(lambda c, _: (c, tf.random.uniform((), dtype="float64")), x, length=4)[1]

    found = run(tf.vmap(tf.vmap(draws)))(X).numpy()
    assert found.shape == (2, 3, 4)
    assert np.unique(found).size == found.size


def test_threads_that_draw_in_maps_get_different_numbers() -> None:
    generator = tf.random.Generator(1)

    def draws(_: int) -> list[Any]:
        mapped = tf.vmap(lambda x: generator.uniform((), dtype="float64") + 0.0 * x)
        return [mapped(X[0]).tolist() for _ in range(30)]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = np.array(list(pool.map(draws, range(4))))
    finally:
        sys.setswitchinterval(interval)
    assert np.unique(found).size == found.size


def test_random_numbers_drawn_outside_are_the_same_for_all() -> None:
    noise = tf.random.normal(())
    found = tf.vmap(lambda x: noise + 0.0 * tf.sum(x))(X)
    assert found[0].item() == found[1].item()


@both
def test_variables_are_read_and_what_all_share_is_assigned(run: Any) -> None:
    v = tf.Variable(2.0, dtype="float64")

    def f(x: Any) -> Any:
        v.assign_add(1.0)
        return tf.sum(x) * v

    np.testing.assert_allclose(run(tf.vmap(f))(X).numpy(), X.sum(1) * 3.0)
    assert v.numpy() == 3.0


@both
def test_what_differs_among_examples_is_not_assigned(run: Any) -> None:
    v = tf.Variable(0.0, dtype="float64")
    with pytest.raises(StateError, match="differs from example to example"):
        run(tf.vmap(lambda x: v.assign(tf.sum(x)).value))(X)
    assert v.numpy() == 0.0


@both
def test_a_branch_of_each_example_changes_no_variable(run: Any) -> None:
    def f(x: Any) -> Any:
        return tf.cond(tf.sum(x) > 7.0, lambda: tf.random.normal(()), lambda: tf.asarray(0.0))

    with pytest.raises(StateError, match="both branches run"):
        run(tf.vmap(f))(X)


# ---- jit inside


def test_a_compiled_function_is_compiled_for_all_examples_at_once() -> None:
    shapes = []

    @tf.jit
    def f(x: Any, w: Any, power: int) -> Any:
        shapes.append(x.shape)
        return {"y": tf.sum(tf.tanh(x) * w) ** power, "w": w}

    w = np.array([1.0, 2.0, 3.0])
    for _ in range(2):
        found = tf.vmap(lambda x: f(x, w, power=2))(X)
    assert shapes == [(3,)]
    np.testing.assert_allclose(found["y"].numpy(), (np.tanh(X) * w).sum(1) ** 2, rtol=1e-12)
    assert found["w"].shape == (2, 3)
    nested = tf.vmap(lambda x: tf.vmap(lambda v: f(x * v, w, power=2)["y"])(w))(X)
    assert nested[1, 2].item() == pytest.approx((np.tanh(X[1] * 3.0) * w).sum() ** 2, rel=1e-12)


@both
def test_a_compiled_function_of_a_map_may_have_examples_in_its_closure(run: Any) -> None:
    def scaled(w: Any) -> Any:
        f = tf.jit(lambda x: x * w)
        return f(w), tf.vmap(f)(X)

    squares, products = run(tf.vmap(scaled))(np.array([2.0, 3.0]))
    np.testing.assert_array_equal(squares.numpy(), [4.0, 9.0])
    np.testing.assert_array_equal(products.numpy(), [X * 2.0, X * 3.0])
    slopes = tf.grad(lambda w: tf.sum(run(tf.vmap(scaled))(w)[0]))(tf.asarray([2.0, 3.0]))
    np.testing.assert_array_equal(slopes.numpy(), [4.0, 6.0])


def test_a_compiled_function_that_finds_an_example_of_a_map_names_the_fix() -> None:
    held: list[Any] = []
    f = tf.jit(lambda x: x + held[-1])
    with pytest.raises(TraceError, match="code that was not passed it") as caught:
        tf.vmap(lambda x: held.append(x) or f(x))(X)
    assert "pass it to the compiled function" in caught.value.fix


def test_derivatives_pass_a_compiled_function_inside_a_map() -> None:
    f = tf.jit(lambda x, w: tf.sum(tf.tanh(x) * w * w))
    w = tf.asarray([1.0, 2.0, 3.0], tf.float64)
    inside = tf.vmap(tf.grad(f, 1), in_axes=(0, None))(X, w)
    np.testing.assert_allclose(inside.numpy(), 2 * np.tanh(X) * w.numpy(), rtol=1e-12)
    around = tf.grad(lambda w: tf.sum(tf.vmap(f, in_axes=(0, None))(X, w)))(w)
    np.testing.assert_allclose(around.numpy(), inside.numpy().sum(0), rtol=1e-12)


def test_a_compiled_function_draws_other_numbers_for_each_example() -> None:
    f = tf.jit(lambda x: x + tf.random.normal((), dtype="float64"))
    tf.random.seed(5)
    looped = [f(x).item() for x in X[0]]
    tf.random.seed(5)
    assert tf.vmap(f)(X[0]).tolist() == looped


# ---- custom_gradient


@both
def test_a_custom_gradient_holds_inside_and_around_a_map(run: Any) -> None:
    @tf.custom_gradient
    def tenfold(a: Any, b: Any) -> Any:
        return a, lambda g: (10.0 * g, tf.sum(g * a))

    def looped(xs: Any) -> Any:
        return tf.add_n([tenfold(a, b) * b for a in xs for b in xs])

    def mapped(xs: Any) -> Any:
        inner = tf.vmap(lambda a, b: tenfold(a, b) * b, in_axes=(None, 0))
        return tf.sum(tf.vmap(inner, in_axes=(0, None))(xs, xs))

    x = tf.asarray([1.0, 2.0, 3.0])
    assert run(tf.grad(mapped))(x).tolist() == tf.grad(looped)(x).tolist()
    one = tf.grad(lambda a: tenfold(a, a) * a)
    assert run(tf.vmap(one))(x).tolist() == [one(a).item() for a in x]


@both
def test_forward_mode_of_a_custom_gradient_is_the_transpose_of_its_pull(run: Any) -> None:
    @tf.custom_gradient
    def f(a: Any, b: Any) -> Any:
        return [a * b, a], lambda g, h: (g * b + 5.0 * h, tf.sum(g * a))

    a, b = tf.asarray([1.0, 2.0]), tf.asarray(3.0)
    tangents = run(lambda s, t: tf.jvp(f, (a, b), (s, t))[1])(tf.asarray([1.0, 0.5]), b)
    assert [t.tolist() for t in tangents] == [[6.0, 7.5], [5.0, 2.5]]


@both
def test_a_rule_for_forward_mode_is_used(run: Any) -> None:
    @tf.custom_gradient
    def f(x: Any) -> Any:
        return x * x, lambda g: 2.0 * g * x

    @f.defjvp
    def f_jvp(primals: Any, tangents: Any) -> Any:
        return primals[0] ** 2, 100.0 * tangents[0]

    x = tf.asarray([1.0, 2.0])
    assert run(lambda x: tf.jvp(f, (x,), (x,))[1])(x).tolist() == [100.0, 200.0]
    assert run(lambda x: tf.jvp(tf.vmap(f), (x,), (x,))[1])(x).tolist() == [100.0, 200.0]
    assert run(lambda x: tf.vmap(lambda v: tf.jvp(f, (v,), (v,))[1])(x))(x).tolist() == [100, 200]


@both
def test_a_rule_for_many_examples_is_used(run: Any) -> None:
    @tf.custom_gradient
    def f(x: Any, w: Any) -> Any:
        return x * w, lambda g: (g * w, g * x)

    seen = []

    @f.defbatch
    def f_batch(size: int, batched: Any, x: Any, w: Any) -> Any:
        seen.append((size, batched, x.shape, w.shape))
        return x * w + 1000.0, True

    x = tf.asarray([1.0, 2.0])
    assert run(lambda x: tf.vmap(f, in_axes=(0, None))(x, 3.0))(x).tolist() == [1003.0, 1006.0]
    assert seen == [(2, (True, False), (2,), ())]
    one = tf.grad(lambda v: f(v, 3.0))
    assert run(tf.vmap(one))(x).tolist() == [3.0, 3.0]
    assert run(tf.grad(lambda x: tf.sum(tf.vmap(lambda v: f(v, v))(x))))(x).tolist() == [2.0, 4.0]
