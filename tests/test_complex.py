"""Complex numbers: promotion, conversion, and what their derivatives mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import DTypeError

Z = np.array([0.7 + 0.4j, -0.6 + 1.1j])


@pytest.mark.parametrize(
    ("a", "b", "common"),
    [
        ("float32", "complex64", "complex64"),
        ("float64", "complex64", "complex128"),
        ("float16", "complex64", "complex64"),
        ("bfloat16", "complex64", "complex64"),
        ("complex64", "complex128", "complex128"),
    ],
)
def test_floats_and_complex_numbers_promote(a: str, b: str, common: str) -> None:
    assert tf.result_type(a, b) == tf.result_type(b, a) == common


@pytest.mark.parametrize("other", ["int32", "uint8", "bool"])
def test_integers_and_complex_numbers_do_not_promote(other: str) -> None:
    with pytest.raises(DTypeError):
        tf.ones(2, other) + tf.ones(2, "complex64")


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", "complex64"),
        ("float64", "complex128"),
        ("bfloat16", "complex64"),
        ("complex64", "complex64"),
        ("complex128", "complex128"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_python_complex_number_is_weak(dtype: str, expected: str, compiled: bool) -> None:
    def f(x: Any) -> Any:
        return x * 2j

    y = (tf.jit(f) if compiled else f)(tf.ones(2, dtype))
    assert (y.dtype, y.tolist()) == (expected, [2j, 2j])
    assert tf.result_type(tf.ones(2, dtype), 1j) == expected


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_a_complex_argument_is_passed_and_stays_weak(dtype: str) -> None:
    x = tf.ones(2, dtype)
    f = tf.jit(lambda x, z: x * (z + 1.0))
    for z in (1j, 2.5 - 1j):
        y = f(x, z)
        assert (y.dtype, y.tolist()) == ((x * 1j).dtype, [z + 1, z + 1])
    assert "1 traces" in repr(f)


def test_a_complex_number_beside_integers_is_refused() -> None:
    with pytest.raises(DTypeError, match="complex does not fit int64"):
        tf.asarray([1, 2]) * 1j


@pytest.mark.parametrize(("value", "dtype"), [(1j, "complex64"), ([1, 2.5, 3j], "complex64")])
def test_complex_numbers_of_python_become_complex64(value: Any, dtype: str) -> None:
    assert tf.asarray(value).dtype == dtype
    assert tf.full((2,), 1j).dtype == "complex64"


def test_numpy_arrays_keep_complex128() -> None:
    assert tf.asarray(Z).dtype == tf.complex128
    np.testing.assert_array_equal(tf.asarray(Z).numpy(), Z)


@pytest.mark.parametrize(
    "convert",
    [
        float,
        int,
        lambda z: tf.cast(z, "float32"),
        lambda z: tf.asarray(z, "int64"),
        lambda z: tf.full((2,), z.item(), "float32"),
    ],
    ids=["float", "int", "cast", "asarray", "full"],
)
def test_no_imaginary_part_is_lost_silently(convert: Any) -> None:
    with pytest.raises(TypeError):
        convert(tf.asarray(1 + 2j))


def test_the_kinds_and_limits_of_complex_dtypes() -> None:
    assert tf.isdtype(tf.complex64, "complex floating")
    assert tf.isdtype("complex128", "numeric")
    assert not tf.isdtype(tf.complex64, "real floating")
    assert tf.finfo(tf.complex128) == tf.finfo(tf.float64)


def test_a_complex_tensor_shows_its_type() -> None:
    assert repr(tf.asarray([1 + 2j])) == "Tensor([1.+2.j], c64[1])"


# ---- derivatives


@pytest.mark.parametrize(
    ("f", "gradient"),
    [
        (lambda z: tf.abs(z) ** 2, lambda z: 2 * z.conj()),
        (tf.abs, lambda z: z.conj() / abs(z)),
        (tf.real, lambda z: np.ones_like(z)),
        (tf.imag, lambda z: np.full_like(z, -1j)),
        (tf.angle, lambda z: -1j / z),
        (lambda z: tf.real(z * z), lambda z: 2 * z),
        (lambda z: tf.real(tf.conj(z) * 1j), lambda z: np.full_like(z, -1j)),
    ],
    ids=["abs2", "abs", "real", "imag", "angle", "square", "conj"],
)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_the_gradient_of_a_real_number_is_dx_minus_i_dy(
    f: Any, gradient: Any, compiled: bool
) -> None:
    found = tf.grad(lambda z: tf.sum(f(z)))
    got = (tf.jit(found) if compiled else found)(tf.asarray(Z))
    np.testing.assert_allclose(got.numpy(), gradient(Z), rtol=1e-13, atol=1e-13)


def test_both_modes_of_a_holomorphic_function_multiply_by_its_derivative() -> None:
    z, t = tf.asarray(Z), tf.asarray([1 - 2j, 0.5j])
    pushed = tf.jvp(tf.exp, [z], [t])[1]
    pulled = tf.vjp(tf.exp, z)[1](t)[0]
    expected = np.exp(Z) * t.numpy()
    np.testing.assert_allclose(pushed.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(pulled.numpy(), expected, rtol=1e-6)


def test_a_real_input_of_a_complex_function_has_a_real_gradient() -> None:
    gradient = tf.grad(lambda x: tf.real(tf.exp(x * 1j)))(tf.asarray(0.5))
    assert gradient.dtype == tf.float32
    assert gradient.item() == pytest.approx(-np.sin(0.5), rel=1e-6)


def test_the_gradient_of_a_complex_number_is_refused() -> None:
    with pytest.raises(DTypeError, match="real number"):
        tf.grad(tf.exp)(tf.asarray(1j))


@pytest.mark.parametrize("f", [tf.abs, tf.sign, lambda z: tf.conj(z) * tf.abs(z)])
def test_no_derivative_at_zero_is_nan(f: Any) -> None:
    gradient = tf.grad(lambda z: tf.sum(tf.real(f(z))))(tf.asarray([0j]))
    assert gradient.tolist() == [0j]


def test_rows_of_a_complex_jacobian_are_what_is_pulled_back() -> None:
    def f(z: Any) -> Any:
        return tf.conj(z) * tf.sum(z)  # not holomorphic

    z = tf.asarray(Z)
    _, pull = tf.vjp(f, z)
    rows = np.stack([pull(tf.asarray(one))[0].numpy() for one in np.eye(2, dtype="c16")])
    with tf.GradientTape() as tape:
        tape.watch(z)
        y = f(z)
    for found in (tf.jacobian(f)(z), tape.jacobian(y, z)):
        np.testing.assert_allclose(found.numpy(), rows, rtol=1e-14)
    slope = tf.jacobian(lambda z: z * z)(z).numpy()
    np.testing.assert_allclose(slope, np.diag(2 * z.numpy()), rtol=1e-14)


def test_check_gradients_takes_complex_arguments() -> None:
    x = [[0.5, -1.0], [0.3, 0.8]]
    tf.testing.check_gradients(lambda z, x: tf.abs(tf.matmul(x, z)) * z, [Z, np.array(x)])


def test_check_gradients_finds_a_wrong_complex_derivative() -> None:
    @tf.custom_gradient
    def wrong(z: Any) -> Any:
        return tf.exp(z), lambda g: g * tf.conj(tf.exp(z))

    with pytest.raises(AssertionError, match="reverse derivative"):
        tf.testing.check_gradients(wrong, [Z], order=1, forward=False)


# ---- compiled


def test_simple_functions_of_complex_numbers_are_one_kernel() -> None:
    def f(z: Any, w: Any) -> Any:
        return tf.where(z == w, -z, z * tf.conj(w) - tf.real(w) + tf.imag(z))

    z, w = tf.asarray(Z), tf.asarray([1 + 1j, Z[1]])
    jitted = tf.jit(f)
    np.testing.assert_allclose(jitted(z, w).numpy(), f(z, w).numpy(), rtol=1e-14)
    assert len(jitted.lower(z, w).kernels) == 1


def test_what_has_no_code_for_complex_numbers_runs_between_kernels() -> None:
    def f(z: Any) -> Any:
        return tf.exp(z * 2.0)[::-1].mT @ tf.conj(z) if z.ndim == 2 else tf.exp(z)

    z = tf.asarray(np.outer(Z, Z))
    np.testing.assert_allclose(tf.jit(f)(z).numpy(), f(z).numpy(), rtol=1e-14)


def test_a_scan_carries_complex_numbers_and_their_gradients() -> None:
    def last(z: Any) -> Any:
        return tf.real(tf.scan(lambda c, x: (c * x, c), tf.asarray(1 + 0j, "complex128"), z)[0])

    z = tf.asarray(Z)
    np.testing.assert_allclose(tf.jit(last)(z).numpy(), np.prod(Z).real, rtol=1e-14)
    np.testing.assert_allclose(tf.jit(tf.grad(last))(z).numpy(), Z[::-1], rtol=1e-14)
