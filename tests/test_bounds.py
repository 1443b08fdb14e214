"""What goes by indices in compiled code: kernels behind one question, which may end the program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import OutOfRangeError
from tapeflow.graph import check, evaluate, parse
from tapeflow.jit.passes.bounds import bounds
from tapeflow.primitive import REGISTRY

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((50, 7)).astype("f4")


def host_steps(compiled: Any, *args: Any) -> Any:
    return compiled.lower(*args).host_steps


def test_a_lookup_and_its_adjoint_ask_once() -> None:
    before = parse(
        """graph f(x: f32[9,2], i: i64[3], g: f32[3,2]) {
  y: f32[3,2] = take(x, i, axis=0, op='embedding_lookup', from_end=False)
  dx: f32[9,2] = add_at(g, i, axis=0, size=9, op='take')
  return y, dx
}""",
        REGISTRY,
    )
    after = bounds(before)
    check(after)
    assert [node.prim.name for node in after.nodes] == ["min", "max", "within", "take", "add_at"]
    arrays = TABLE[:9, :2], np.array([3, 0, 3]), TABLE[9:12, :2]
    for a, b in zip(evaluate(after, *arrays), evaluate(before, *arrays), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bounds_that_count_from_the_end_are_no_answer_to_those_that_do_not() -> None:
    before = parse(
        """graph f(x: f32[9,2], i: i64[3]) {
  y: f32[3,2] = take(x, i, axis=0, op='take', from_end=True)
  z: f32[3,2] = take(x, i, axis=0, op='embedding_lookup', from_end=False)
  return y, z
}""",
        REGISTRY,
    )
    after = bounds(before)
    assert [node.prim.name for node in after.nodes].count("within") == 2
    with pytest.raises(OutOfRangeError, match="embedding_lookup"):
        evaluate(after, TABLE[:9, :2], np.array([3, -1, 3]))


def test_flat_indices_of_broadcast_ones_need_no_further_question() -> None:
    before = parse(
        """graph f(x: f32[30], i: i32[4,1], j: i64[3]) {
  k: i64[4,3] = flat_index(i, j, sizes=(5, 6), op='getitem')
  y: f32[4,3] = take(x, k, axis=0, op='getitem', from_end=True)
  return y
}""",
        REGISTRY,
    )
    after = bounds(before)
    check(after)
    assert [node.prim.name for node in after.nodes].count("within") == 2
    x, i, j = TABLE.ravel()[:30], np.array([[0], [-1], [4], [-5]], "i4"), np.array([5, -6, 2])
    np.testing.assert_array_equal(evaluate(after, x, i, j)[0], x.reshape(5, 6)[i, j])


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "float64", "complex64"])
@pytest.mark.parametrize("of_index", ["int8", "uint8", "int32", "uint32", "int64"])
@pytest.mark.parametrize("axis", [0, 2])
def test_take_is_a_kernel_for_any_dtype(dtype: str, of_index: str, axis: int) -> None:
    x = (3 * RNG.standard_normal((4, 5, 6))).astype(dtype)
    i = np.array([[3, 0, 1], [2, 2, -1 if of_index[0] == "i" else 1]], of_index)
    take = tf.jit(lambda x, i: tf.take(x, i, axis=axis))
    np.testing.assert_array_equal(take(x, i).numpy(), x.take(i, axis))
    assert not host_steps(take, x, i)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape, axis", [((3000, 130), 0), ((3, 2000), 1), ((2, 40000, 8), 1)])
def test_sums_at_indices_are_formed_in_their_order(
    shape: tuple[int, ...], axis: int, threads: int
) -> None:
    count = 5000
    i = RNG.integers(-shape[axis], shape[axis], count)
    v = RNG.standard_normal((*shape[:axis], count, *shape[axis + 1 :])).astype("f4")
    wanted = np.zeros(shape, "f4")
    np.add.at(wanted, (*(slice(None),) * axis, i), v)
    add = tf.jit(lambda v, i: tf.scatter_add(tf.zeros(shape), i, v, axis=axis))
    tf.config.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(add(v, i).numpy(), wanted)
    finally:
        tf.config.set_num_threads(None)
    assert not host_steps(add, v, i)


def test_of_values_put_at_one_index_the_last_stays() -> None:
    @tf.jit
    def put(x: Any, i: Any, j: Any, v: Any) -> Any:
        x = x + 0.0
        x[i, j] = v
        return x

    i, j = RNG.integers(-50, 50, 400), RNG.integers(-7, 7, 400)
    v = RNG.standard_normal(400).astype("f4")
    wanted = TABLE.copy()
    wanted[i, j] = v
    np.testing.assert_array_equal(put(TABLE, i, j, v).numpy(), wanted)
    assert not host_steps(put, TABLE, i, j, v)


def test_an_index_that_is_not_there_is_named_with_its_line() -> None:
    take = tf.jit(lambda x, i: tf.take(x, i, axis=0))
    with pytest.raises(OutOfRangeError, match=r"index 50 on an axis of size 50(?s:.)*test_bounds"):
        take(TABLE, np.array([[0, 1], [50, 2]]))
    with pytest.raises(OutOfRangeError, match="index -51"):
        take(TABLE, np.array([[0, 1], [-51, 2]]))
    np.testing.assert_array_equal(take(TABLE, np.array([[49, -50]])).numpy(), TABLE[[[49, 0]]])


def embedding_step() -> tuple[Any, list[tf.Variable]]:
    table, scale = tf.Variable(TABLE, name="table"), tf.Variable(np.ones(7, "f4"), name="scale")
    optimizer = tf.optim.SGD(0.5)

    @tf.jit
    def step(ids: Any) -> Any:
        scale.assign(scale * 2.0)  # before the lookup
        with tf.GradientTape() as tape:
            loss = tf.sum(tf.nn.embedding_lookup(table, ids) * scale)
        optimizer.apply(tape.gradient(loss, [table]), [table])
        return loss

    return step, [table, scale]


def test_a_step_that_meets_a_wrong_index_leaves_variables_as_they_were() -> None:
    step, variables = embedding_step()
    step(np.array([1, 1, 4]))
    wanted = TABLE.copy()
    wanted[1] -= 0.5 * 4
    wanted[4] -= 0.5 * 2
    before = [v.numpy() for v in variables]
    np.testing.assert_allclose(before[0], wanted, rtol=1e-6)
    for ids in ([1, 50, 4], [1, -1, 4]):
        with pytest.raises(OutOfRangeError, match="between 0 and 49"):
            step(np.array(ids))
        for v, held in zip(variables, before, strict=True):
            np.testing.assert_array_equal(v.numpy(), held)
    step(np.array([1, 1, 4]))
    assert variables[1].numpy()[0] == 4.0


def test_a_table_is_updated_in_place() -> None:
    step, (table, _) = embedding_step()
    ids = np.array([1, 1, 4])
    step(ids)
    place = table.tensor.value.ctypes.data
    step(ids)
    assert table.tensor.value.ctypes.data == place
    assert not host_steps(step, ids)


def test_loops_and_branches_stop_at_a_wrong_index() -> None:
    def looked_up(x: Any, rows: Any) -> Any:
        def turn(total: Any, i: Any) -> Any:
            return total + tf.take(x, i, axis=0), tf.take(x[0], i - i)

        return tf.scan(turn, tf.zeros(7), rows)[0]

    scan = tf.jit(looked_up)
    branch = tf.jit(lambda p, x, i: tf.cond(p, lambda: tf.take(x, i, axis=0), lambda: x[0]))
    rows = np.array([3, -1, 3])
    np.testing.assert_allclose(scan(TABLE, rows).numpy(), TABLE[rows].sum(0), rtol=1e-6)
    assert not host_steps(scan, TABLE, rows)
    with pytest.raises(OutOfRangeError, match="index 77"):
        scan(TABLE, np.array([3, 77, 3]))
    np.testing.assert_allclose(scan(TABLE, rows).numpy(), TABLE[rows].sum(0), rtol=1e-6)
    np.testing.assert_array_equal(branch(False, TABLE, 99).numpy(), TABLE[0])
    with pytest.raises(OutOfRangeError, match="index 99"):
        branch(True, TABLE, 99)


def test_a_lookup_costs_what_is_looked_up() -> None:
    take = tf.jit(lambda x, i: tf.take(x, i, axis=0))
    rows = {row.name: row for row in take.explain(TABLE, np.array([1, 2])).rows}
    assert rows["take"].nbytes == 2 * (2 * 7 * 4) + 2 * 8
    assert rows["within"].nbytes == 0


def test_what_is_explained_is_asked_first() -> None:
    take = tf.jit(lambda x, i: tf.take(x, i, axis=0))
    assert {"take", "within"} <= {row.name for row in take.explain(TABLE, np.array([1, 2])).rows}
    with pytest.raises(OutOfRangeError, match="index 10000000"):
        str(take.explain(TABLE, np.array([1, 10_000_000])))
