"""Random numbers: repeatable, the same traced, and distributed as they say."""

from __future__ import annotations

import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import tapeflow as tf
from tapeflow import config, random
from tapeflow.errors import ArgumentError, DTypeError, LinAlgError, ShapeError

both = pytest.mark.parametrize("run", [lambda f: f, tf.jit], ids=["eager", "compiled"])
COUNT = 20_000
SEED = 1234
# at fixed seeds the p-values are fixed too; 0.001 leaves room for another stream
UNLIKELY = 1e-3


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(SEED)


SHAPE = (3, 2)
DRAWS: dict[str, Any] = {
    "normal": lambda g=None: random.normal(SHAPE, generator=g),
    "uniform": lambda g=None: random.uniform(SHAPE, generator=g),
    "truncated_normal": lambda g=None: random.truncated_normal(SHAPE, generator=g),
    "exponential": lambda g=None: random.exponential(SHAPE, generator=g),
    "gumbel": lambda g=None: random.gumbel(SHAPE, generator=g),
    "laplace": lambda g=None: random.laplace(SHAPE, generator=g),
    "gamma": lambda g=None: random.gamma(SHAPE, 2.0, generator=g),
    "beta": lambda g=None: random.beta(SHAPE, 2.0, 3.0, generator=g),
    "poisson": lambda g=None: random.poisson(SHAPE, 1e6, generator=g),
    "binomial": lambda g=None: random.binomial(SHAPE, 10**6, 0.3, generator=g),
    "multivariate_normal": lambda g=None: random.multivariate_normal(
        3, [1.0, 2.0], np.eye(2), generator=g
    ),
    "bernoulli": lambda g=None: random.bernoulli(SHAPE, generator=g),
    "categorical": lambda g=None: random.categorical((50,), np.zeros(9), generator=g),
    "randint": lambda g=None: random.randint(SHAPE, 0, 1000, generator=g),
    "permutation": lambda g=None: random.permutation(20, generator=g),
    "shuffle": lambda g=None: random.shuffle(np.arange(20), generator=g),
    "choice": lambda g=None: random.choice(1000, SHAPE, generator=g),
    "choice without": lambda g=None: random.choice(20, SHAPE, replace=False, generator=g),
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


@pytest.mark.parametrize("draw", [d for n, d in DRAWS.items() if n != "bernoulli"])
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
    assert saved.tolist() == [9, 0, 1]


def test_the_state_is_no_trainable_variable() -> None:
    g = random.Generator(0)
    assert not g.state.trainable
    with tf.GradientTape() as tape:
        y = tf.sum(random.normal(3, generator=g))
    assert tape.gradient(y, g.state) is None


def test_the_functions_are_methods_of_a_generator_too() -> None:
    for name in set(random.__all__) - {"Generator", "default_generator", "seed"}:
        ours = inspect.signature(getattr(random, name)).parameters
        method = inspect.signature(getattr(random.Generator, name)).parameters
        assert [*method] == ["self", *(n for n in ours if n != "generator")]
    ours, theirs = random.Generator(5), random.Generator(5)
    assert ours.gamma(3, 2.0).tolist() == random.gamma(3, 2.0, generator=theirs).tolist()


def test_a_checkpoint_saves_the_state(tmp_path: Path) -> None:
    g = random.Generator(9)
    path = tf.Checkpoint(random=g, default=random.default_generator()).save(tmp_path / "state")
    after = [random.normal(2, generator=g).tolist(), random.normal(2).tolist()]
    other = random.Generator(1)
    tf.Checkpoint(random=other, default=random.default_generator()).restore(path)
    assert [random.normal(2, generator=other).tolist(), random.normal(2).tolist()] == after


@pytest.mark.parametrize("name", ["normal", "uniform", "gumbel"])
def test_threads_do_not_change_the_numbers(name: str) -> None:
    draw = getattr(random, name)
    compiled = tf.jit(lambda: draw((300, 701)))
    found = []
    for threads in (1, 2, 3):
        config.set_num_threads(threads)
        try:
            random.seed(SEED)
            found.append(compiled().numpy())
        finally:
            config.set_num_threads(None)
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_a_split_gives_the_same_numbers_on_any_number_of_ranks(ranks: int) -> None:
    def part(rank: int) -> dict[int, Any]:
        shards = random.Generator(SEED).split(4)
        return {i: shards[i].normal(3).tolist() for i in range(rank, 4, ranks)}

    together = {i: x for rank in range(ranks) for i, x in part(rank).items()}
    expected = {i: g.normal(3).tolist() for i, g in enumerate(random.Generator(SEED).split(4))}
    assert together == expected
    assert len({tuple(x) for x in together.values()}) == 4


def test_what_is_folded_in_makes_a_stream_of_its_own() -> None:
    g = random.Generator(SEED)
    first = g.fold_in(3).normal(4).tolist()
    g.normal(4)
    assert g.fold_in(3).normal(4).tolist() == first
    others = [g.fold_in(d) for d in (0, 1, 2, -1)] + [g.fold_in(3).fold_in(3), g, *g.split(2)]
    assert len({tuple(other.normal(4).tolist()) for other in others} | {tuple(first)}) == 9


def test_each_split_gives_other_generators() -> None:
    g = random.Generator(SEED)
    found = [child.uniform(2).tolist() for child in (*g.split(2), *g.split(2))]
    assert len({tuple(x) for x in found}) == 4


def test_streams_are_uncorrelated() -> None:
    x, y = (g.normal(COUNT).numpy() for g in random.Generator(SEED).split(2))
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("make", [lambda g: g.split(2)[0], lambda g: g.fold_in(1)])
def test_a_trace_makes_no_generators(make: Any) -> None:
    with pytest.raises(tf.errors.TraceError, match="outlive"):
        tf.jit(lambda: make(random.Generator(1)).normal(2))()


# ---- distributions: at fixed seeds the p-values are fixed too

CONTINUOUS = {
    "normal": (lambda n, d: random.normal(n, 2.0, 3.0, d), stats.norm(2, 3)),
    "uniform": (lambda n, d: random.uniform(n, -1.0, 3.0, d), stats.uniform(-1, 4)),
    "truncated_normal": (
        lambda n, d: random.truncated_normal(n, 1.0, 2.0, d),
        stats.truncnorm(-2, 2, loc=1, scale=2),
    ),
    "exponential": (lambda n, d: random.exponential(n, 0.5, d), stats.expon(scale=0.5)),
    "gumbel": (lambda n, d: random.gumbel(n, -1.0, 2.0, d), stats.gumbel_r(-1, 2)),
    "laplace": (lambda n, d: random.laplace(n, -1.0, 2.0, d), stats.laplace(-1, 2)),
    "gamma": (lambda n, d: random.gamma(n, 0.7, 2.0, d), stats.gamma(0.7, scale=0.5)),
    "beta": (lambda n, d: random.beta(n, 0.7, 2.0, d), stats.beta(0.7, 2)),
}
COUNTS = {
    "poisson": (lambda n: random.poisson(n, 4.5), stats.poisson(4.5)),
    "binomial": (lambda n: random.binomial(n, 12, 0.3), stats.binom(12, 0.3)),
    "randint": (lambda n: random.randint(n, -3, 4), stats.randint(-3, 4)),
    "bernoulli": (lambda n: random.bernoulli(n, 0.3, dtype="int32"), stats.bernoulli(0.3)),
    "categorical": (
        lambda n: random.categorical(n, np.log(stats.binom(3, 0.3).pmf(range(4)))),
        stats.binom(3, 0.3),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_numbers_are_distributed_as_they_say(name: str, dtype: str) -> None:
    draw, expected = CONTINUOUS[name]
    assert stats.kstest(draw(COUNT, dtype).numpy(), expected.cdf).pvalue > UNLIKELY


@pytest.mark.parametrize("name", COUNTS)
def test_whole_numbers_are_distributed_as_they_say(name: str) -> None:
    draw, expected = COUNTS[name]
    x = draw(COUNT).numpy()
    values, seen = np.unique(x, return_counts=True)
    wanted = COUNT * expected.pmf(values)
    common = wanted > 5
    seen = np.append(seen[common], seen[~common].sum())
    wanted = np.append(wanted[common], COUNT - wanted[common].sum())
    some = wanted > 1e-6
    assert stats.chisquare(seen[some], wanted[some]).pvalue > UNLIKELY


@pytest.mark.parametrize("name", [*CONTINUOUS, *COUNTS])
def test_a_million_numbers_have_the_moments(name: str) -> None:
    million = 10**6
    if name in CONTINUOUS:
        draw, expected = CONTINUOUS[name]
        x = draw(million, "float64").numpy()
    else:
        draw, expected = COUNTS[name]
        x = draw(million).numpy().astype("f8")
    mean, variance, skew, kurtosis = expected.stats("mvsk")
    standard = (x - mean) / np.sqrt(variance)
    spread = kurtosis + 2  # the variance of the squares
    assert abs(standard.mean()) < 4 / 1e3
    assert abs((standard**2).mean() - 1) < 4 * np.sqrt(spread) / 1e3
    assert abs((standard**3).mean() - skew) < 0.05 * max(1, abs(kurtosis))


def test_normal_numbers_have_the_moments() -> None:
    x = random.normal(COUNT).numpy()
    for power, (moment, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], start=1):
        assert abs(np.mean(x**power) - moment) < 4 * np.sqrt(variance / COUNT)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_numbers_stay_below_1(dtype: str) -> None:
    x = random.uniform(COUNT, dtype=dtype).numpy().astype("f8")
    assert x.min() >= 0.0 and x.max() < 1.0
    assert x.mean() == pytest.approx(0.5, abs=0.02)


@both
@pytest.mark.parametrize("kind", [float, np.float32], ids=["numbers", "tensors"])
def test_uniform_numbers_fill_a_range_wider_than_the_largest_number(run: Any, kind: Any) -> None:
    draw = run(lambda low, high: random.uniform(COUNT, low, high))
    x = draw(kind(-3e38), kind(3.2e38)).numpy()
    assert x.dtype == np.float32 and np.isfinite(x).all()
    assert stats.kstest(x.astype("f8"), stats.uniform(-3e38, 6.2e38).cdf).pvalue > UNLIKELY


def test_uniform_numbers_do_not_depend_on_whether_their_bounds_are_traced() -> None:
    bounds = tf.asarray([-1.5, -0.1]), tf.asarray([2.5, 0.3])
    drawn = random.Generator(SEED).uniform((COUNT, 2), *bounds)
    compiled = tf.jit(lambda low, high, g: g.uniform((COUNT, 2), low, high))
    assert tf.array_equal(compiled(*bounds, random.Generator(SEED)), drawn)


def test_truncated_normal_numbers_are_within_2_deviations() -> None:
    x = random.truncated_normal(COUNT, mean=1.0, stddev=2.0).numpy()
    assert 3.99 < np.abs(x - 1.0).max() <= 4.0


def test_integers_reach_both_bounds_of_their_dtype() -> None:
    x = random.randint(COUNT, -128, 128, dtype="int8").numpy()
    assert (x.min(), x.max()) == (-128, 127)
    assert random.randint(3, 2**64 - 1, 2**64, dtype="uint64").tolist() == [2**64 - 1] * 3


def test_bernoulli_gives_the_dtype_asked_for() -> None:
    assert random.bernoulli((2,), 1.0, dtype="int8").tolist() == [1, 1]


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


@pytest.mark.parametrize("drawn", [2, 40])
def test_a_few_of_many_are_different_and_in_any_order(drawn: int) -> None:
    draws = np.array([random.choice(50, (drawn,), replace=False).numpy() for _ in range(2000)])
    assert all(len(set(draw)) == drawn for draw in draws)
    for place in (0, drawn - 1):
        counts = np.bincount(draws[:, place], minlength=50)
        assert stats.chisquare(counts).pvalue > UNLIKELY


def test_calls_are_uncorrelated() -> None:
    x, y = (random.normal(COUNT).numpy() for _ in range(2))
    assert abs(np.corrcoef(x, y)[0, 1]) < 4 / np.sqrt(COUNT)


# ---- parameters

LOCATED = {
    "normal": (random.normal, ("mean", "stddev")),
    "truncated_normal": (random.truncated_normal, ("mean", "stddev")),
    "gumbel": (random.gumbel, ("loc", "scale")),
    "laplace": (random.laplace, ("loc", "scale")),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", LOCATED)
def test_gradients_flow_to_location_and_scale(name: str, compiled: bool) -> None:
    draw, _ = LOCATED[name]
    g = random.Generator(3)

    def f(location: Any, scale: Any) -> Any:
        return tf.sum(draw((4, 2), location, scale, generator=g))

    gradient = tf.grad(f, (0, 1))
    location, scale = np.float32([1.0, 2.0]), np.float32([[1.0], [2.0], [3.0], [4.0]])
    found = (tf.jit(gradient) if compiled else gradient)(location, scale)
    standard = draw((4, 2), generator=random.Generator(3)).numpy()
    assert found[0].tolist() == [4.0, 4.0]
    np.testing.assert_allclose(found[1].numpy()[:, 0], standard.sum(1), rtol=1e-5)


@pytest.mark.parametrize(
    ("draw", "parameters"),
    [
        (lambda g, low, high: g.uniform((), low, high), [-1.5, 2.5]),
        (lambda g, scale: g.exponential((), scale), [1.5]),
        (lambda g, beta: g.gamma((), 2.0, beta), [1.5]),
    ],
    ids=["uniform", "exponential", "gamma"],
)
def test_gradients_flow_to_bounds_and_rates(draw: Any, parameters: list[float]) -> None:
    tf.testing.check_gradients(
        lambda *x: draw(random.Generator(3), *x), [np.float64(x) for x in parameters]
    )


COVARIANCE = np.array([[2.0, 0.6], [0.6, 1.0]])


def test_vectors_have_the_covariance_asked_for() -> None:
    x = random.multivariate_normal(COUNT, [1.0, -1.0], COVARIANCE).numpy()
    distance = np.linalg.solve(np.linalg.cholesky(COVARIANCE), (x - [1.0, -1.0]).T)
    assert stats.kstest((distance**2).sum(0), stats.chi2(2).cdf).pvalue > UNLIKELY
    np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=0.06)


def test_vectors_may_have_a_mean_and_a_covariance_each() -> None:
    means, covariances = np.float32([[0, 0], [5, 5]]), np.stack([COVARIANCE, 4 * COVARIANCE])
    x = random.multivariate_normal((COUNT, 2), means, covariances.astype("f4")).numpy()
    assert (x.shape, x.dtype) == ((COUNT, 2, 2), np.float32)
    for i in range(2):
        np.testing.assert_allclose(np.cov(x[:, i].T), covariances[i], atol=0.25)
        np.testing.assert_allclose(x[:, i].mean(0), means[i], atol=0.1)


def test_gradients_flow_to_mean_and_covariance() -> None:
    tf.testing.check_gradients(
        lambda m, c: random.multivariate_normal(
            3, m, c + tf.matrix_transpose(c), generator=random.Generator(3)
        ),
        [np.zeros(2), COVARIANCE],
    )


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_gradients_flow_to_the_shape_of_a_gamma_distribution(compiled: bool) -> None:
    """Against quantiles of the same share at shapes on both sides."""
    alpha = np.array([0.05, 0.7, 1.0, 3.0, 50.0, 900.0, 1100.0, 1e5])
    g = random.Generator(SEED)

    def draw(a: Any) -> Any:
        return random.gamma((5, len(alpha)), a, 2.0, generator=g)

    gradient = tf.grad(lambda a: tf.sum(draw(a)))
    found = (tf.jit(gradient) if compiled else gradient)(alpha).numpy()
    x = 2.0 * random.gamma((5, len(alpha)), alpha, 2.0, generator=random.Generator(SEED)).numpy()
    share, step = special.gammainc(alpha, x), 1e-5 * alpha
    ahead, behind = (special.gammaincinv(alpha + s, share) for s in (step, -step))
    np.testing.assert_allclose(found, (ahead - behind).sum(0) / (4 * step), rtol=2e-5)
    forward = tf.jvp(draw, (alpha,), (np.ones_like(alpha),))[1]
    assert forward.shape == (5, len(alpha)) and np.isfinite(forward.numpy()).all()


@both
def test_the_shape_of_a_gamma_distribution_has_a_second_derivative(run: Any) -> None:
    """Against second differences of quantiles of the same share."""
    alpha = np.array([0.05, 0.7, 1.0, 3.0, 50.0, 900.0, 1100.0, 1e5])
    g = random.Generator(SEED)

    def total(a: Any) -> Any:
        return tf.sum(random.gamma((5, len(alpha)), a, generator=g))

    found = run(tf.grad(lambda a: tf.sum(tf.grad(total)(a))))(alpha).numpy()
    x = random.gamma((5, len(alpha)), alpha, generator=random.Generator(SEED)).numpy()
    share, step = special.gammainc(alpha, x), 2e-3 * alpha
    ahead, here, behind = (special.gammaincinv(alpha + k * step, share) for k in (1, 0, -1))
    np.testing.assert_allclose(found, ((ahead - 2 * here + behind) / step**2).sum(0), rtol=1e-4)
    g.state.assign([SEED, 0, 0])
    forward = tf.jvp(tf.grad(total), (alpha,), (np.ones_like(alpha),))[1]
    np.testing.assert_allclose(forward.numpy(), found, rtol=1e-12)


def test_the_third_derivative_by_the_shape_of_gamma_numbers_is_refused() -> None:
    second = tf.grad(tf.grad(lambda x: random.gamma((), x)))
    for derivative in (tf.grad(second), lambda x: tf.jvp(second, (x,), (x,))):
        with pytest.raises(ArgumentError, match=r"gamma: .* a first and a second derivative only"):
            derivative(tf.asarray(2.0))


BETAS = np.array([[0.05, 0.3], [0.7, 2.0], [3.0, 0.5], [20.0, 50.0]]).T


def beta_gradients(run: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Beta numbers, and how each moves with its own alpha and beta."""
    a, b = (np.broadcast_to(p, (COUNT, p.size)) for p in BETAS)

    def gradients(a: Any, b: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([a, b])
            x = random.beta(a.shape, a, b)
        return x, *tape.gradient(x, [a, b])

    x, by_a, by_b = run(gradients)(tf.asarray(a), tf.asarray(b))
    return x.numpy(), by_a.numpy(), by_b.numpy()


def is_near(samples: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether the means of columns are within 4 deviations of what is expected."""
    return abs(samples.mean(0) - expected) < 4 * samples.std(0) / np.sqrt(len(samples))


@both
def test_gradients_flow_to_the_parameters_of_a_beta_distribution(run: Any) -> None:
    """Against the derivatives of E[x] = a / (a + b) and of E[log x] = digamma(a) - digamma(a + b),
    or of E[log(1 - x)] by symmetry."""
    x, by_a, by_b = beta_gradients(run)
    a, b = BETAS
    assert is_near(by_a, b / (a + b) ** 2).all() and is_near(by_b, -a / (a + b) ** 2).all()
    trigamma = special.polygamma(1, [a, b, a + b])
    large = a >= 0.5  # of others some numbers are 0
    assert is_near(by_a / x, trigamma[0] - trigamma[2])[large].all()
    assert is_near(by_b / x, -trigamma[2])[large].all()


@pytest.mark.parametrize("weight", [lambda x: x, lambda x: x**3, lambda x: np.sin(9 * x)])
def test_beta_numbers_move_as_the_quantiles_of_their_share_do(weight: Any) -> None:
    """On average among numbers of about one value: there is one such motion, however it is made."""
    x, *found = beta_gradients(lambda f: f)
    share, (a, b), step = special.betainc(*BETAS, x), BETAS, 1e-5 * BETAS
    for moved, (da, db) in zip(found, [(step[0], 0.0), (0.0, step[1])], strict=True):
        ahead = special.betaincinv(a + da, b + db, share)
        behind = special.betaincinv(a - da, b - db, share)
        inside = (x > 1e-12) & (x < 1 - 1e-12)
        expected = np.where(inside, (ahead - behind) / (2 * (da + db)), moved)
        assert is_near(weight(x) * (moved - expected), np.zeros(a.size)).all()


def test_beta_numbers_of_tiny_parameters_are_0_or_1_as_often_as_these_say() -> None:
    x = random.beta(COUNT, 3e-309, 1e-309, dtype="float64").numpy()
    assert set(x.tolist()) == {0.0, 1.0} and abs(x.mean() - 0.75) < 4 * 0.44 / np.sqrt(COUNT)


def test_parameters_broadcast_to_the_shape() -> None:
    mean = tf.asarray([0.0, 1000.0])
    x = random.normal((COUNT, 2), mean).numpy()
    np.testing.assert_allclose(x.mean(0), [0.0, 1000.0], atol=0.05)
    counts = random.poisson((COUNT, 2), mean).numpy()
    np.testing.assert_allclose(counts.mean(0), [0.0, 1000.0], atol=1.0)
    within = random.randint((COUNT, 2), 0, tf.asarray([1, 5])).numpy()
    assert within.max(0).tolist() == [0, 4]


def test_compiled_numbers_as_parameters_have_no_dtype() -> None:
    draw = tf.jit(lambda n, dtype: random.normal(2, n, dtype=dtype), static_argnames="dtype")
    assert draw(0.1, None).dtype == tf.float32
    draw = tf.jit(lambda low: random.uniform(2, low, low, dtype="float64"))
    assert draw(0.1).tolist() == [0.1, 0.1]


def test_the_dtype_is_that_of_floating_parameters() -> None:
    wide = tf.asarray([0.0, 1.0], dtype="float64")
    assert random.normal(2, wide).dtype == tf.float64
    assert random.normal(2, wide, dtype="float32").dtype == tf.float32
    assert random.normal(2, tf.asarray([0, 1])).dtype == tf.float32
    assert random.gamma(2, wide).dtype == tf.float64


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize(
    "draw",
    [random.normal, random.uniform, random.truncated_normal, random.exponential, random.gumbel],
)
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
        (lambda: random.choice(3, (2,), p=[1.0, -1.0, 1.0]), ArgumentError),
        (lambda: random.choice(3, (2,), replace=False, p=[1.0, 0.0, 0.0]), ArgumentError),
        (lambda: random.choice(3, (2,), p=[1.0, 1.0]), ShapeError),
        (lambda: random.normal(2, 0.0, -1.0), ArgumentError),
        (lambda: random.normal(2, 0.0, tf.asarray([1.0, -1.0])), ArgumentError),
        (lambda: random.normal(2, tf.zeros(3)), ShapeError),
        (lambda: random.normal((), tf.zeros(3)), ShapeError),
        (lambda: random.exponential(2, -1.0), ArgumentError),
        (lambda: random.gamma(2, -1.0), ArgumentError),
        (lambda: random.gamma(2, 1.0, 0.0), ArgumentError),
        (lambda: random.beta(2, 0.0, 1.0), ArgumentError),
        (lambda: random.poisson(2, -1.0), ArgumentError),
        (lambda: random.poisson(2, 1.0, dtype="float32"), DTypeError),
        (lambda: random.binomial(2, 5, 1.5), ArgumentError),
        (lambda: random.binomial(2, -1, 0.5), ArgumentError),
        (lambda: random.bernoulli(2, 1.5), ArgumentError),
        (lambda: random.bernoulli(2, "often"), DTypeError),
        (lambda: random.categorical(2, [1, 2]), DTypeError),
        (lambda: random.categorical(2, 1.0), ArgumentError),
        (lambda: random.categorical(2, tf.zeros((3, 4))), ShapeError),
        (lambda: random.categorical(2, tf.asarray([0.0, np.nan])), ArgumentError),
        (lambda: random.categorical(2, [[0.0, 1.0], [-np.inf, -np.inf]]), ArgumentError),
        (lambda: random.randint(2, 0, tf.asarray([1, 0])), ArgumentError),
        (lambda: random.shuffle(3), ArgumentError),
        (lambda: random.multivariate_normal(2, [1.0], np.eye(2)), ShapeError),
        (lambda: random.multivariate_normal(2, np.zeros((3, 2)), np.eye(2)), ShapeError),
        (lambda: random.multivariate_normal((), np.zeros(2), np.ones((3, 2, 2))), LinAlgError),
        (lambda: random.Generator(1).split(-1), ArgumentError),
        (lambda: random.Generator(1).fold_in("rank"), ArgumentError),
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
            drawn = list(threads.map(lambda _: generator.draw().tolist()[2], range(2000)))
    finally:
        sys.setswitchinterval(switching)
    assert sorted(drawn) == list(range(2000))


def test_threads_that_draw_at_once_share_out_the_numbers_that_one_would_draw() -> None:
    def drawn(generator: tf.random.Generator, times: int) -> np.ndarray:
        return np.stack([generator.uniform((7,), dtype="float64").numpy() for _ in range(times)])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for seed in range(40):
                generator = tf.random.Generator(seed)
                found = np.stack(list(pool.map(lambda _, g=generator: drawn(g, 60), range(4))))
                alone = drawn(tf.random.Generator(seed), 240)
                assert np.array_equal(np.sort(found, axis=None), np.sort(alone, axis=None))
    finally:
        sys.setswitchinterval(interval)
