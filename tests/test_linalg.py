"""Linear algebra beyond the rows of linalg_cases.py: what is special of each operation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import scipy.linalg as sl

import tapeflow as tf
from tapeflow.errors import ArgumentError, LinAlgError
from tapeflow.jit.trace import trace
from tapeflow.tensor import Spec
from tapeflow.testing import check_gradients

RANDOM = np.random.default_rng(5)
F64 = np.dtype(np.float64)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(RANDOM.normal(size=shape))


def definite(n: int) -> np.ndarray:
    x = normal(n, n)
    return x @ x.T + np.eye(n)


def nodes(fn: Any, *shapes: tuple[int, ...]) -> list[Any]:
    return list(trace(fn, *(Spec(shape, F64) for shape in shapes), name="case").nodes)


# ---- results


@pytest.mark.parametrize(
    ("result", "fields"),
    [
        (lambda a: tf.linalg.eigh(a), ("eigenvalues", "eigenvectors")),
        (lambda a: tf.linalg.qr(a), ("Q", "R")),
        (lambda a: tf.linalg.slogdet(a), ("sign", "logabsdet")),
        (lambda a: tf.linalg.svd(a), ("U", "S", "Vh")),
        (lambda a: tf.linalg.lu(a), ("P", "L", "U")),
        (
            lambda a: tf.linalg.lstsq(a, tf.ones(2)),
            ("solution", "residuals", "rank", "singular_values"),
        ),
    ],
)
def test_several_results_have_names(result: Any, fields: tuple[str, ...]) -> None:
    assert result(tf.eye(2))._fields == fields


def test_least_squares_of_a_deficient_matrix_has_the_least_norm() -> None:
    a, b = normal(5, 2) @ normal(2, 4), normal(5)
    found = tf.linalg.lstsq(a, b)
    x, _, rank, s = np.linalg.lstsq(a, b)
    np.testing.assert_allclose(found.solution.numpy(), x, atol=1e-12)
    np.testing.assert_allclose(found.singular_values.numpy(), s, atol=1e-12)
    assert found.rank.item() == rank == 2


def test_a_relative_tolerance_may_differ_from_matrix_to_matrix() -> None:
    x = np.stack([np.diag([1.0, 1e-3])] * 2)
    rtol = np.array([1e-2, 1e-4])
    assert tf.linalg.matrix_rank(x, rtol=rtol).tolist() == [1, 2]
    np.testing.assert_allclose(
        tf.linalg.pinv(x, rtol=rtol).numpy(), np.linalg.pinv(x, rtol=rtol), rtol=1e-13
    )


def test_a_chain_of_products_takes_the_cheapest_order() -> None:
    products = [
        n.outputs[0].shape
        for n in nodes(lambda *xs: tf.linalg.multi_dot(xs), (2, 50), (50, 40), (40, 30), (30,))
        if n.prim.name == "matmul"
    ]
    assert products == [(40, 1), (50, 1), (2, 1)]


def test_a_singular_matrix_has_an_infinite_condition() -> None:
    assert tf.linalg.cond([[1.0, 2.0], [2.0, 4.0]]).item() > 1e7
    assert tf.linalg.cond(np.zeros((2, 2))).item() == np.inf
    assert tf.linalg.cond([[1.0, 0.0], [0.0, 0.0]]).item() == np.inf


# ---- norms


@pytest.mark.parametrize("ord", [2, 3, 0.5, -2])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_norm_neither_overflows_nor_vanishes(ord: float, size: float) -> None:
    x = np.array([3.0, 4.0, -1.0], np.float32)
    plain = tf.linalg.vector_norm(x, ord=ord).item()
    assert tf.linalg.vector_norm(x * np.float32(size), ord=ord).item() == pytest.approx(
        plain * size, rel=1e-6
    )


@pytest.mark.parametrize("ord", [2, 3])
def test_a_norm_of_halves_is_rounded_once(ord: float) -> None:
    x = tf.cast(normal(500), tf.bfloat16)
    exact = np.linalg.vector_norm(np.asarray(x).astype(np.float64), ord=ord)
    assert tf.linalg.vector_norm(x, ord=ord).item() == pytest.approx(exact, rel=2**-8)


@pytest.mark.parametrize("ord", [1, 2, 3, np.inf])
def test_the_derivative_of_a_norm_at_zero_is_zero(ord: float) -> None:
    gradient = tf.grad(lambda x: tf.linalg.vector_norm(x, ord=ord))
    assert gradient(tf.zeros(3)).tolist() == [0.0, 0.0, 0.0]
    second = tf.jvp(gradient, [tf.zeros(3)], [tf.ones(3)])[1]
    assert second.tolist() == [0.0, 0.0, 0.0]


def test_norms_of_infinities_and_nans_are_those_of_numpy() -> None:
    for x in ([np.inf, 1.0], [np.nan, 1.0], [-np.inf, np.inf]):
        for ord in (1, 2, 3, np.inf):
            found = tf.linalg.vector_norm(np.array(x), ord=ord).numpy()
            np.testing.assert_array_equal(found, np.linalg.vector_norm(np.array(x), ord=ord))


# ---- determinants of singular matrices

SINGULAR = {
    "rank 2 of 3": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]),
    "rank 1 of 3": np.outer([1.0, -2.0, 0.5], [3.0, 1.0, 2.0]),
    "rank 0 of 2": np.zeros((2, 2)),
    "rank 3 of 4": np.diag([2.0, 0.0, 3.0, 1.0])[[1, 0, 3, 2]],
}


def minors(x: np.ndarray) -> np.ndarray:
    n = len(x)
    others = [[j for j in range(n) if j != i] for i in range(n)]
    return np.array(
        [
            [(-1) ** (i + j) * np.linalg.det(x[np.ix_(others[i], others[j])]) for j in range(n)]
            for i in range(n)
        ]
    )


@pytest.mark.parametrize("x", SINGULAR.values(), ids=SINGULAR.keys())
def test_the_gradient_of_a_determinant_of_zero_is_made_of_minors(x: np.ndarray) -> None:
    found = tf.grad(tf.linalg.det)(x).numpy()
    np.testing.assert_allclose(found, minors(x), atol=1e-13 * max(1.0, np.abs(x).max() ** 2))


@pytest.mark.parametrize("x", SINGULAR.values(), ids=SINGULAR.keys())
def test_a_determinant_of_zero_has_second_derivatives(x: np.ndarray) -> None:
    check_gradients(tf.linalg.det, [x], order=2)


def test_a_determinant_has_third_derivatives() -> None:
    check_gradients(tf.linalg.det, [definite(3)], order=3)


def test_third_derivatives_of_a_determinant_of_zero_are_refused() -> None:
    third = tf.grad(lambda x: tf.hessian(tf.linalg.det)(x)[0, 0, 1, 1])
    with pytest.raises(LinAlgError, match="singular"):
        third(SINGULAR["rank 2 of 3"])


# ---- derivatives beyond the rows


@pytest.mark.parametrize(
    "fn",
    [
        tf.linalg.inv,
        tf.linalg.expm,
        tf.linalg.cholesky,
        lambda x: tf.linalg.qr(x).R,
        lambda x: tf.linalg.eigh(x).eigenvectors ** 2,
        lambda x: tf.linalg.lu(x).L,
        lambda x: tf.linalg.svd(x).Vh ** 2,
        tf.linalg.svdvals,
    ],
    ids=["inv", "expm", "cholesky", "qr", "eigh", "lu", "svd", "svdvals"],
)
def test_derivatives_of_any_order(fn: Any) -> None:
    check_gradients(fn, [np.array([[2.0, 0.3], [0.4, 1.0]])], order=3, tolerance=1e-4)


def test_the_derivative_of_the_exponential_is_frechets() -> None:
    a, e = normal(3, 3), normal(3, 3)
    tangent = tf.jvp(tf.linalg.expm, [a], [e])[1]
    np.testing.assert_allclose(tangent.numpy(), sl.expm_frechet(a, e)[1], rtol=1e-12)


def test_the_pseudo_inverse_has_a_derivative_along_matrices_of_its_rank() -> None:
    u, v, t = normal(4, 2), normal(2, 3), normal(2, 3)
    _, tangent = tf.jvp(tf.linalg.pinv, [u @ v], [u @ t])
    step = 1e-6
    ahead, behind = (np.linalg.pinv(u @ (v + s * step * t), rtol=1e-10) for s in (1, -1))
    np.testing.assert_allclose(tangent.numpy(), (ahead - behind) / (2 * step), atol=1e-7)


def test_the_pseudo_inverse_needs_no_different_singular_values() -> None:
    check_gradients(tf.linalg.pinv, [np.eye(3, 2)])


def test_equal_eigenvalues_have_a_gradient_and_their_vectors_have_none() -> None:
    x = tf.eye(3)
    assert tf.grad(lambda x: tf.sum(tf.linalg.eigh(x)[0]))(x).tolist() == np.eye(3).tolist()
    assert tf.grad(lambda x: tf.sum(tf.linalg.eigvalsh(x)))(x).tolist() == np.eye(3).tolist()
    vectors = tf.grad(lambda x: tf.sum(tf.linalg.eigh(x)[1]))(x)
    assert not np.isfinite(vectors.numpy()).all()


def test_the_gradient_by_a_symmetric_matrix_is_symmetric() -> None:
    x = definite(3)
    for fn in (tf.linalg.cholesky, tf.linalg.eigvalsh, lambda x: tf.linalg.eigh(x)[1]):
        gradient = tf.grad(lambda x, fn=fn: tf.sum(fn(x)))(x).numpy()
        np.testing.assert_allclose(gradient, gradient.T, atol=1e-13)


@pytest.mark.parametrize("n", [2, 3])
def test_bases_of_what_is_left_have_no_derivative(n: int) -> None:
    x = normal(n, 5 - n)
    with pytest.raises(ArgumentError, match="full_matrices=False"):
        tf.grad(lambda x: tf.sum(tf.linalg.svd(x).U))(x)
    with pytest.raises(ArgumentError, match="full_matrices=False"):
        tf.jvp(lambda x: tf.linalg.svd(x).Vh, [x], [x])
    values = tf.grad(lambda x: tf.sum(tf.linalg.svd(x).S))(x).numpy()
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    np.testing.assert_allclose(values, u @ vh, atol=1e-13)


def test_a_complete_basis_has_no_derivative() -> None:
    def complete(x: Any) -> Any:
        return tf.sum(tf.linalg.qr(x, mode="complete").R)

    with pytest.raises(ArgumentError, match='mode="reduced"'):
        tf.grad(complete)(normal(3, 2))
    with pytest.raises(ArgumentError, match='mode="reduced"'):
        tf.jvp(complete, [normal(3, 2)], [normal(3, 2)])
    assert tf.grad(complete)(normal(2, 2)).shape == (2, 2)


def test_the_gradient_of_a_system_solves_one_more() -> None:
    def loss(a: Any, b: Any) -> Any:
        return tf.sum(tf.linalg.solve(a, b))

    counts = Counter(n.prim.name for n in nodes(tf.grad(loss, (0, 1)), (3, 3), (3, 2)))
    assert counts["solve"] == 2


MANY_SIDES = {
    "leading axes": lambda a, b: tf.linalg.solve(a, b),
    "vmap": lambda a, b: tf.vmap(lambda b: tf.linalg.solve(a, b))(b),
    "nested vmap": lambda a, b: tf.vmap(lambda b: tf.vmap(lambda b: tf.linalg.solve(a, b))(b))(b),
    "triangular": lambda a, b: tf.vmap(lambda b: tf.linalg.triangular_solve(a, b))(b),
}


@pytest.mark.parametrize("fn", MANY_SIDES.values(), ids=MANY_SIDES.keys())
def test_one_matrix_of_many_right_hand_sides_is_factored_once(fn: Any) -> None:
    found = nodes(fn, (3, 3), (4, 5, 3, 2))
    (solver,) = (n for n in found if n.prim.name in ("solve", "triangular_solve"))
    assert [v.shape for v in solver.inputs] == [(3, 3), (3, 40)]
    a, b = normal(3, 3) + 4 * np.eye(3), normal(4, 5, 3, 2)
    matrix = np.tril(a) if solver.prim.name == "triangular_solve" else a
    np.testing.assert_allclose(fn(a, b).numpy(), np.linalg.solve(matrix, b), rtol=1e-12)


# ---- compiled


def log_density(scale: Any, x: Any) -> Any:
    lower = tf.linalg.cholesky(scale)
    z = tf.linalg.triangular_solve(lower, x)
    spread = tf.linalg.slogdet(scale).logabsdet
    return -0.5 * (tf.sum(z * z) + spread) + tf.linalg.eigh(scale).eigenvectors[0, 0] ** 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_gradients_are_those_of_eager_code(dtype: Any) -> None:
    scale, x = definite(4).astype(dtype), normal(4).astype(dtype)
    gradient = tf.grad(log_density, (0, 1))
    for found, expected in zip(tf.jit(gradient)(scale, x), gradient(scale, x), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=3e-4 if dtype is
                                   np.float32 else 1e-11)  # fmt: skip


# ---- refusals

SINGULAR_STACK = np.stack([np.eye(2), np.zeros((2, 2)), np.eye(2)])
REFUSED = {
    "inv": (tf.linalg.inv, "is singular"),
    "solve": (lambda a: tf.linalg.solve(a, tf.ones((2, 1), tf.float64)), "is singular"),
    "matrix_power": (lambda a: tf.linalg.matrix_power(a, -2), "is singular"),
    "triangular_solve": (
        lambda a: tf.linalg.triangular_solve(a, tf.ones((2, 1), tf.float64)),
        "has a 0 on its diagonal",
    ),
    "cholesky": (tf.linalg.cholesky, "is not positive definite"),
    "slogdet": (
        tf.grad(lambda a: tf.sum(tf.linalg.slogdet(a).logabsdet)),
        "is singular",
    ),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_matrix_that_will_not_do_is_found_in_the_stack(name: str, compiled: bool) -> None:
    fn, why = REFUSED[name]
    with pytest.raises(LinAlgError) as caught:
        (tf.jit(fn) if compiled else fn)(tf.asarray(SINGULAR_STACK))
    assert caught.value.why == f"the matrix at [1] {why}"
    assert "f64[3,2,2]" in str(caught.value.got) and "test_linalg.py" in caught.value.at
    assert isinstance(caught.value, np.linalg.LinAlgError)


def test_a_single_matrix_that_will_not_do_has_no_place() -> None:
    with pytest.raises(LinAlgError) as caught:
        tf.linalg.inv(tf.zeros((2, 2)))
    assert caught.value.why == "the matrix is singular"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "fn",
    [tf.linalg.cholesky, tf.linalg.svd, tf.linalg.svdvals, tf.linalg.pinv, tf.linalg.eigh],
    ids=lambda fn: fn.__name__,
)
def test_what_is_not_finite_is_refused_or_stays_so(fn: Any, value: float) -> None:
    x = np.array([[1.0, value], [value, 2.0]])
    try:
        results = fn(x)
    except LinAlgError as error:
        assert error.why == "an element of the matrix is not finite"
    else:
        parts = results if isinstance(results, tuple) else (results,)
        assert all(not np.isfinite(part.numpy()).all() for part in parts)


@pytest.mark.parametrize("fn", [tf.linalg.inv, tf.linalg.det, tf.linalg.expm, tf.linalg.qr])
def test_halves_are_refused_with_what_to_do(fn: Any) -> None:
    with pytest.raises(tf.errors.DTypeError) as caught:
        fn(tf.ones((2, 2), tf.bfloat16))
    assert caught.value.fix == "cast the input: tf.cast(x, tf.float32)"
