"""Random numbers: repeatable, the same traced, and distributed as they say."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy import stats

import tapeflow as tf
from tapeflow import random
from tapeflow.errors import ArgumentError, DTypeError

COUNT = 20_000
SEED = 1234
# at fixed seeds the p-values are fixed too; 0.001 leaves room for another stream
UNLIKELY = 1e-3


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(SEED)


DRAWS: dict[str, Any] = {
    "normal": lambda g=None: random.normal((3, 2), generator=g),
    "uniform": lambda g=None: random.uniform((3, 2), generator=g),
    "truncated_normal": lambda g=None: random.truncated_normal((3, 2), generator=g),
    "bernoulli": lambda g=None: random.bernoulli((3, 2), generator=g),
    "randint": lambda g=None: random.randint((3, 2), 0, 1000, generator=g),
    "permutation": lambda g=None: random.permutation(20, generator=g),
    "choice": lambda g=None: random.choice(1000, (3, 2), generator=g),
    "choice without": lambda g=None: random.choice(20, (3, 2), replace=False, generator=g),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())


@each_draw
def test_a_seed_gives_the_same_numbers_again(draw: Any) -> None:
    first = draw().tolist()
    random.seed(SEED)
    assert draw().tolist() == first


@each_draw
def test_a_generator_is_a_stream_of_its_own(draw: Any) -> None:
    ours, theirs = random.Generator(5), random.Generator(5)
    expected = draw(ours).tolist()
    random.normal(3)
    assert draw(theirs).tolist() == expected


@pytest.mark.parametrize(
    "draw", [DRAWS[n] for n in ("normal", "uniform", "truncated_normal", "randint")]
)
def test_each_call_gives_other_numbers(draw: Any) -> None:
    assert draw().tolist() != draw().tolist()


@each_draw
def test_compiled_code_gives_the_same_numbers(draw: Any) -> None:
    eager = [draw().tolist() for _ in range(3)]
    random.seed(SEED)
    compiled = tf.jit(lambda: draw())
    assert [compiled().tolist() for _ in range(3)] == eager


def test_the_state_counts_calls_and_can_be_restored() -> None:
    g = random.Generator(9)
    random.normal(2, generator=g)
    saved = g.state.numpy()
    after = random.normal(2, generator=g).tolist()
    g.state.assign(saved)
    assert random.normal(2, generator=g).tolist() == after
    assert saved.tolist() == [9, 1]


def test_the_state_is_no_trainable_variable() -> None:
    g = random.Generator(0)
    assert not g.state.trainable
    with tf.GradientTape() as tape:
        y = tf.sum(random.normal(3, generator=g))
    assert tape.gradient(y, g.state) is None


# ---- distributions


def test_normal_numbers_are_normal() -> None:
    x = random.normal(COUNT, mean=2.0, stddev=3.0, dtype="float64").numpy()
    assert stats.kstest(x, stats.norm(2.0, 3.0).cdf).pvalue > UNLIKELY


def test_normal_numbers_have_the_moments() -> None:
    x = random.normal(COUNT).numpy()
    for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], start=1):
        assert abs(np.mean(x**power) - moment) < 4 * np.sqrt(variance / COUNT)


def test_uniform_numbers_are_uniform() -> None:
    x = random.uniform(COUNT, -1.0, 3.0, dtype="float64").numpy()
    assert stats.kstest(x, stats.uniform(-1.0, 4.0).cdf).pvalue > UNLIKELY


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_numbers_stay_below_1(dtype: str) -> None:
    x = random.uniform(COUNT, dtype=dtype).numpy().astype("f8")
    assert x.min() >= 0.0 and x.max() < 1.0
    assert x.mean() == pytest.approx(0.5, abs=0.02)


def test_truncated_normal_numbers_are_normal_within_2_deviations() -> None:
    x = random.truncated_normal(COUNT, mean=1.0, stddev=2.0, dtype="float64").numpy()
    assert stats.kstest(x, stats.truncnorm(-2, 2, loc=1.0, scale=2.0).cdf).pvalue > UNLIKELY
    assert np.abs(x - 1.0).max() <= 4.0


def test_bernoulli_is_true_as_often_as_asked() -> None:
    hits = int(tf.count_nonzero(random.bernoulli(COUNT, 0.3)))
    assert stats.binomtest(hits, COUNT, 0.3).pvalue > UNLIKELY
    assert random.bernoulli((2,), 1.0, dtype="int8").tolist() == [1, 1]


def test_integers_are_equally_likely_and_within_bounds() -> None:
    x = random.randint(COUNT, -3, 4, dtype="int8").numpy()
    assert (x.min(), x.max()) == (-3, 3)
    assert stats.chisquare(np.bincount(x + 3)).pvalue > UNLIKELY


def test_a_permutation_has_each_number_once_in_any_order() -> None:
    orders = np.stack([random.permutation(3).numpy() for _ in range(1200)])
    assert (np.sort(orders, 1) == np.arange(3)).all()
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > UNLIKELY


def test_a_permutation_of_rows_keeps_them_whole() -> None:
    rows = random.permutation(tf.asarray([[1, 10], [2, 20], [3, 30]])).numpy()
    assert sorted(map(tuple, rows)) == [(1, 10), (2, 20), (3, 30)]


def test_choice_follows_its_weights() -> None:
    p = np.array([0.5, 0.0, 0.2, 0.3])
    counts = np.bincount(random.choice(4, COUNT, p=p).numpy(), minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[p > 0], COUNT * p[p > 0]).pvalue > UNLIKELY


def test_a_count_may_come_from_numpy() -> None:
    for count in (np.int64(5), np.uint8(5)):
        assert 0 <= int(random.choice(count)) < 5
        assert sorted(random.permutation(count).tolist()) == [0, 1, 2, 3, 4]


def test_choice_without_replacement_takes_each_once() -> None:
    drawn = random.choice(tf.asarray([5, 6, 7, 8]), (4,), replace=False).numpy()
    assert sorted(drawn) == [5, 6, 7, 8]
    firsts = [int(random.choice(3, (1,), replace=False, p=[0.7, 0.1, 0.2])[0]) for _ in range(2000)]
    assert stats.chisquare(np.bincount(firsts), [1400, 200, 400]).pvalue > UNLIKELY


def test_calls_are_uncorrelated() -> None:
    x, y = (random.normal(COUNT).numpy() for _ in range(2))
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(COUNT)


def test_gradients_flow_to_mean_and_deviation() -> None:
    def f(mean: Any, stddev: Any) -> Any:
        return tf.sum(random.normal(4, mean, stddev, generator=random.Generator(3)))

    mean, stddev = tf.grad(f, (0, 1))(1.0, 2.0)
    noise = random.normal(4, generator=random.Generator(3))
    assert float(mean) == 4.0 and float(stddev) == pytest.approx(float(tf.sum(noise)), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("draw", [random.normal, random.uniform, random.truncated_normal])
def test_numbers_have_the_dtype_asked_for(draw: Any, dtype: str) -> None:
    x = draw((2, 0, 3), dtype=dtype)
    assert (x.shape, x.dtype.name) == ((2, 0, 3), dtype)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: random.normal((2, -1)), ArgumentError),
        (lambda: random.normal(2, dtype="int32"), DTypeError),
        (lambda: random.uniform(2, dtype="bool"), DTypeError),
        (lambda: random.randint(2, 5, 5), ArgumentError),
        (lambda: random.randint(2, 0, 300, dtype="uint8"), ArgumentError),
        (lambda: random.randint(2, 0, 3, dtype="float32"), DTypeError),
        (lambda: random.permutation(-1), ArgumentError),
        (lambda: random.permutation(tf.asarray(1.0)), ArgumentError),
        (lambda: random.choice(3, (4,), replace=False), ArgumentError),
        (lambda: random.choice(0, (1,)), ArgumentError),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"test_random\.py"):
        call()


def test_threads_that_share_a_generator_get_different_states() -> None:
    generator = random.Generator(SEED)
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            drawn = list(threads.map(lambda _: generator.draw().tolist()[1], range(2000)))
    finally:
        sys.setswitchinterval(switching)
    assert sorted(drawn) == list(range(2000))
