"""explain(): what steps cost, how long they take, and that looking changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import dispatch
from tapeflow.jit import report
from tapeflow.jit.report import Row
from tapeflow.jit.roofline import picture
from tapeflow.primitive import Primitive
from tapeflow_kernels.limits import Limits

LIMITS = Limits(threads=2, float32=100e9, float64=50e9, bandwidth=10e9)


def rows_of(fn: Any, *args: Any) -> list[Row]:
    return tf.jit(fn).explain(*args).rows


def floats(*shape: int, dtype: str = "float32") -> tf.Tensor:
    return tf.asarray(np.random.default_rng(0).standard_normal(shape).astype(dtype))


# ---- costs


def test_a_fused_loop_counts_each_op_on_each_element_and_each_array_once() -> None:
    """x is read twice by the formula and once from memory; the literal costs no memory."""
    (row,) = rows_of(lambda x, y: (x + y) * x - 1.0, floats(8, 16), floats(8, 16))
    assert (row.flops, row.nbytes) == (3 * 128, 3 * 128 * 4)


def test_what_is_broadcast_is_read_once() -> None:
    (row,) = rows_of(lambda x, y: x + y, floats(8, 16), floats(16))
    assert (row.flops, row.nbytes) == (128, (128 + 16 + 128) * 4)


def test_a_reduction_counts_what_it_takes_in() -> None:
    (row,) = rows_of(lambda x: tf.sum(x * x, axis=1), floats(8, 16))
    assert (row.flops, row.nbytes) == (2 * 128, (128 + 8) * 4)


def test_a_product_counts_multiply_adds_and_what_follows() -> None:
    (row,) = rows_of(lambda a, b: tf.nn.relu(a @ b), floats(3, 5, 7), floats(7, 9))
    assert row.flops == 2 * 3 * 5 * 7 * 9 + 3 * 5 * 9
    assert row.nbytes == 4 * (3 * 5 * 7 + 7 * 9 + 3 * 5 * 9)
    assert row.name == "matmul, then relu"


def test_a_convolution_and_its_adjoints_cost_the_same_multiply_adds() -> None:
    x, w = floats(2, 8, 8, 4), floats(3, 3, 4, 6)

    def gradients(x: tf.Tensor, w: tf.Tensor) -> Any:
        def f(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
            return tf.nn.conv2d(x, w, padding="VALID")

        y, pull = tf.vjp(f, x, w)
        return y, pull(tf.ones_like(y))

    found = {row.name: row.flops for row in rows_of(gradients, x, w) if "conv" in row.name}
    expected = 2 * (2 * 6 * 6 * 6) * (3 * 3 * 4)
    assert found == {"conv": expected, "conv_input": expected, "conv_filter": expected}


def test_pooling_counts_the_cells_of_each_window() -> None:
    (row,) = rows_of(lambda x: tf.nn.avg_pool(x, 2), floats(2, 8, 8, 3))
    assert row.flops == 2 * 4 * 4 * 3 * 4


def test_copies_cost_no_arithmetic() -> None:
    (row,) = rows_of(lambda x, y: tf.concat([x, y], axis=0), floats(4, 3), floats(5, 3))
    assert (row.flops, row.nbytes) == (0, 2 * 9 * 3 * 4)


def test_a_loop_costs_its_turns_and_a_branch_its_dearer_side() -> None:
    def loop(x: tf.Tensor) -> Any:
        return tf.scan(lambda c, y: (c * y, c + y), x, tf.ones((10, 64)))

    def branch(x: tf.Tensor) -> Any:
        return tf.cond(x[0] > 0, lambda x: x + 1.0, lambda x: x * 2.0 - x, x)

    turns = [row for row in rows_of(loop, floats(64)) if "turns" in row.name]
    assert [(row.name, row.flops) for row in turns] == [("scan, 10 turns", 10 * 2 * 64)]
    assert [row.flops for row in rows_of(branch, floats(64)) if row.name == "cond"] == [2 * 64]


# ---- times


def model_and_step() -> tuple[tf.nn.Module, Any, list[tf.Variable]]:
    tf.random.seed(3)
    model = tf.nn.Sequential([tf.nn.Dense(16, "relu"), tf.nn.Dropout(0.5), tf.nn.Dense(4)])
    model(floats(8, 6))
    optimizer = tf.optim.Adam(0.01)

    @tf.jit
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        def loss() -> tf.Tensor:
            logits = model(x, training=True)
            return tf.mean(tf.nn.sparse_softmax_cross_entropy(labels=y, logits=logits))

        return optimizer.minimize(loss, model.trainable_variables)

    return model, step, model.trainable_variables


def test_timing_steps_leaves_variables_and_random_numbers_as_they_were() -> None:
    """Two equal runs of a training step with dropout, one of which is explained half-way."""
    y = tf.asarray(np.arange(8) % 4)
    losses = []
    for looks in (False, True):
        _, step, variables = model_and_step()
        found = [step(floats(8, 6), y).item()]
        if looks:
            before = [v.numpy() for v in variables]
            rows = step.explain(floats(8, 6), y).rows
            assert all(row.seconds is not None and row.seconds > 0 for row in rows)
            for v, held in zip(variables, before, strict=True):
                np.testing.assert_array_equal(v.numpy(), held)
        found += [step(floats(8, 6), y).item() for _ in range(3)]
        losses.append([*found, *variables[0].numpy().ravel().tolist()])
    assert losses[0] == losses[1]


def test_steps_are_timed_on_the_values_of_a_call() -> None:
    """An update that would overflow soon if it were made again and again, then a while loop that
    would never end on another value."""
    v = tf.Variable(np.full(64, 1e4, np.float32))

    @tf.jit
    def step() -> tf.Tensor:
        v.assign(v * v)
        return tf.while_loop(lambda x: tf.min(x) < 1e9, lambda x: x + 1e8, v.value)

    rows = step.explain().rows
    assert all(row.seconds is not None for row in rows)
    assert v.numpy().tolist() == [1e4] * 64


def test_steps_with_effects_are_not_run_nor_host_steps_behind_them() -> None:
    """`sort` runs on the host; what it would get is not there, since `told` did not run."""
    calls: list[float] = []

    def tell(x: Any) -> Any:
        calls.append(float(x[0]))
        return x

    told = Primitive(tell, lambda x: x, name="told", has_effect=True)
    f = tf.jit(lambda x: tf.sort(tf.tanh(dispatch.apply(told, (tf.sort(x),)))))
    f(tf.ones(16))
    rows = f.explain(tf.ones(16)).rows
    assert calls == [1.0]
    at = [row.name for row in rows].index("told (on the host)")
    assert at > 0 and all(row.seconds is not None for row in rows[:at])
    later = {"host" in row.name: row.seconds is None for row in rows[at:]}
    assert later == {True: True, False: False}


def test_an_interpreted_program_has_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEFLOW_JIT", "0")
    explanation = tf.jit(lambda x: x + 1.0).explain(tf.ones(3))
    assert explanation.rows == [] and "steps take" not in str(explanation)


def test_an_interpreter_of_arrays_that_are_not_contiguous_is_timed_too() -> None:
    x = tf.asarray(np.ones((6, 4), np.float32).T)
    (row,) = rows_of(lambda x: x * 2.0 + 1.0, x)
    assert row.seconds is not None


# ---- tables and pictures


ROWS = [
    Row("matmul, then relu", "net/dense", 4_000_000_000, 12_000_000, "float32", 0.08),
    Row("add", "train.py:12", 1_000_000, 12_000_000, "float32", 0.002),
    Row("sum <all>", "loss", 500, 4_000, "float64", 1e-7),
    Row("print (on the host)", "train.py:14", 0, 0, "float32", None),
]


def test_a_row_is_measured_by_the_nearer_limit() -> None:
    matmul, add, small, effect = ROWS
    assert (matmul.share(LIMITS), matmul.is_bound_by_memory(LIMITS)) == (pytest.approx(0.5), False)
    assert (add.share(LIMITS), add.is_bound_by_memory(LIMITS)) == (pytest.approx(0.6), True)
    assert small.share(LIMITS) == pytest.approx(4.0)
    assert effect.share(LIMITS) == 0.0


def test_the_table_has_the_longest_first_and_says_what_limits_them() -> None:
    lines = report.as_text(ROWS, LIMITS)
    assert [line.split()[0] for line in lines] == ["time", "80", "2", "100", "not"]
    assert lines[1].split() == [
        *("80", "ms", "98%", "4", "G", "12", "MB", "50.0", "0.1", "50%", "arithmetic"),
        *("matmul,", "then", "relu", "net/dense"),
    ]
    assert "60% memory" in lines[2]


def test_the_summary_counts_no_step_beyond_its_time() -> None:
    said = report.summary(ROWS, LIMITS)
    assert "4 steps take 82 ms for 4 Gflop and 24 MB moved, 50% of what" in said
    assert "100 GFLOP/s and 10.0 GB/s copied by 2 threads" in said


def test_what_is_below_the_thirtieth_is_one_line() -> None:
    many = [Row("add", "", 10, 10, "float32", 1e-3) for _ in range(35)]
    lines = report.as_text(many, LIMITS)
    assert len(lines) == 32 and lines[-1].split()[:3] == ["5", "ms", "14%"]
    assert lines[-1].endswith("5 more")


def test_html_is_escaped_and_holds_table_and_picture() -> None:
    explanation = tf.jit(lambda x: tf.exp(x @ x), background=False).explain(floats(4, 4))
    shown = explanation._repr_html_()
    assert "&lt;lambda&gt;" in shown and "<lambda>" not in shown
    assert "<td" in shown and "matmul" in shown and "data:image/png;base64," in shown
    assert "sum &lt;all&gt;" in report.as_html(ROWS, LIMITS)


def test_a_roofline_is_a_png_that_notebooks_show_and_files_hold(tmp_path: Path) -> None:
    made = tf.jit(lambda x: tf.exp(x @ x)).explain(floats(4, 4)).roofline(tmp_path / "roof.png")
    assert made.startswith(b"\x89PNG") and made._repr_png_() == made
    assert (tmp_path / "roof.png").read_bytes() == made


@pytest.mark.parametrize("rows", [[], ROWS[-1:], ROWS, ROWS * 9], ids=len)
def test_a_roofline_is_drawn_of_any_steps(rows: list[Row]) -> None:
    assert picture("step", rows, LIMITS).startswith(b"\x89PNG")


def test_without_matplotlib_the_picture_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    explanation = tf.jit(lambda x: x + 1.0).explain(tf.ones(3))
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(tf.errors.MissingExtraError, match=r"pip install 'tapeflow\[viz\]'"):
        explanation.roofline()
    assert "pip install &#x27;tapeflow[viz]&#x27;" in explanation._repr_html_()
