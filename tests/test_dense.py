"""Triangular systems, LU and the exponential on arrays, beside SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg as sl

from tapeflow_kernels import dense

RANDOM = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return np.asarray(RANDOM.normal(size=shape))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("n", [1, 64, 65, 150])
def test_a_triangular_system_does_not_read_the_other_triangle(n: int, lower: bool) -> None:
    a, b = normal(n, n) + n * np.eye(n), normal(n, 2)
    triangle = np.tri(n, dtype=bool) if lower else np.tri(n, dtype=bool).T
    x = dense.solve_triangular(np.where(triangle, a, np.nan), b, lower)
    np.testing.assert_allclose(x, sl.solve_triangular(a, b, lower=lower), rtol=1e-12)


@pytest.mark.parametrize("shape", [(100, 100), (70, 90), (90, 70), (1, 3), (3, 1), (0, 2), (2, 0)])
def test_lu_by_blocks_gives_scipys_factors(shape: tuple[int, int]) -> None:
    a = normal(*shape)
    lower, upper, order = dense.lu(a)
    np.testing.assert_allclose(lower @ upper, a[order], atol=1e-12)
    if a.size:
        p, expected, above = sl.lu(a)
        np.testing.assert_array_equal(np.eye(len(a))[order].T, p)
        np.testing.assert_allclose(lower, expected, atol=1e-11)
        np.testing.assert_allclose(upper, above, atol=1e-11)


def test_lu_of_a_stack_is_that_of_each() -> None:
    a = normal(2, 3, 40, 35)
    for parts in zip(*(f.reshape(6, *f.shape[2:]) for f in (a, *dense.lu(a))), strict=True):
        each, *factors = parts
        for found, expected in zip(factors, dense.lu(each), strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-12)


def test_lu_of_a_singular_matrix_has_a_zero_pivot() -> None:
    a = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 0.0, 0.0]])
    lower, upper, order = dense.lu(a)
    np.testing.assert_array_equal(lower @ upper, a[order])
    assert np.diagonal(upper).tolist() == [2.0, 0.0, 0.0]


@pytest.mark.parametrize("size", [1e-9, 1.0, 30.0])
@pytest.mark.parametrize(("dtype", "rounding"), [("f4", 1e-6), ("f8", 1e-14)])
def test_the_exponential_of_matrices_of_any_size(size: float, dtype: str, rounding: float) -> None:
    a = (size * np.stack([normal(4, 4), np.zeros((4, 4))])).astype(dtype)
    expected = np.stack([sl.expm(each.astype("f8")) for each in a])
    found = dense.expm(a)
    assert found.dtype == dtype
    assert np.abs(found - expected).max() <= rounding * (3 + size) * np.abs(expected).max()


def test_the_exponential_of_a_nilpotent_matrix_is_exact() -> None:
    assert dense.expm(np.array([[0.0, 1e6], [0.0, 0.0]])).tolist() == [[1.0, 1e6], [0.0, 1.0]]


def test_the_exponential_of_what_is_not_finite_is_nan() -> None:
    a = np.stack([np.full((2, 2), np.inf), np.zeros((2, 2))])
    assert np.isnan(dense.expm(a)).all(axis=(1, 2)).tolist() == [True, False]


@pytest.mark.parametrize(("dtype", "room"), [("f4", 2e-5), ("f8", 1e-13)])
@pytest.mark.parametrize("sides", [1, 3])
def test_the_loops_give_what_numpy_gives_for_complex_numbers(
    dtype: str, room: float, sides: int
) -> None:
    a, b = normal(2, 90, 90).astype(dtype), normal(2, 90, sides).astype(dtype)
    for found, expected in zip(dense.lu(a), dense.lu(a + 0j), strict=True):
        assert found.dtype in (dtype, "i8")
        np.testing.assert_allclose(found, expected.real, atol=room * 10)
    for lower in (True, False):
        t = a + 90 * np.eye(90, dtype=dtype)
        found = dense.solve_triangular(t, b, lower)
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found, dense.solve_triangular(t + 0j, b + 0j, lower).real, atol=room
        )


@pytest.mark.parametrize("laid", [lambda a: a.mT, lambda a: a[:, ::-1], np.asfortranarray])
def test_a_triangular_system_is_read_as_it_lies(laid: Any) -> None:
    a, b = laid(normal(80, 80) + 80), normal(3, 80, 2)[..., ::-1]
    x = dense.solve_triangular(a, b, lower=True)
    expected = dense.solve_triangular(a.copy(), b.copy(), lower=True)
    np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lower", [True, False])
def test_a_zero_on_the_diagonal_of_any_matrix_is_refused(lower: bool) -> None:
    a = np.stack([np.eye(3), np.diag([1.0, 0.0, 1.0])])
    with pytest.raises(np.linalg.LinAlgError):
        dense.solve_triangular(a, np.ones((3, 1)), lower)
