"""What code for any array library relies on: the array API standard, where other tests do not."""

from __future__ import annotations

import inspect
import types
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import ArgumentError

INFO = tf.__array_namespace_info__()


def test_a_tensor_names_its_namespace() -> None:
    x = tf.ones(2)
    for version in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
        assert x.__array_namespace__(api_version=version) is tf
    assert tf.__array_api_version__ == "2024.12"


def test_default_dtypes_are_those_of_python_numbers() -> None:
    defaults = INFO.default_dtypes(device="cpu:0")
    assert tf.asarray(1.0).dtype == defaults["real floating"]
    assert tf.asarray(1j).dtype == defaults["complex floating"]
    assert tf.asarray(1).dtype == defaults["integral"]
    assert tf.argmax([1, 2]).dtype == defaults["indexing"]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("bool", ["bool"]),
        ("complex floating", ["complex64", "complex128"]),
        (("signed integer", "bool"), ["bool", "int8", "int16", "int32", "int64"]),
    ],
)
def test_dtypes_are_listed_by_kind(kind: Any, names: list[str]) -> None:
    found = INFO.dtypes(kind=kind)
    assert list(found) == names
    assert all(getattr(tf, name) == dtype for name, dtype in found.items())


def test_the_one_device_is_the_default() -> None:
    assert INFO.devices() == [INFO.default_device()] == [tf.ones(1).device]
    assert INFO.capabilities()["boolean indexing"] is True


MAKERS = [
    lambda **d: tf.zeros(2, **d),
    lambda **d: tf.ones(2, **d),
    lambda **d: tf.empty(2, **d),
    lambda **d: tf.full(2, 1.0, **d),
    lambda **d: tf.zeros_like([1.0], **d),
    lambda **d: tf.ones_like([1.0], **d),
    lambda **d: tf.empty_like([1.0], **d),
    lambda **d: tf.full_like([1.0], 2.0, **d),
    lambda **d: tf.asarray([1.0], **d),
    lambda **d: tf.arange(3, **d),
    lambda **d: tf.linspace(0, 1, 3, **d),
    lambda **d: tf.eye(2, **d),
    lambda **d: tf.from_dlpack(np.ones(2), **d),
    lambda **d: tf.astype(tf.ones(2), tf.int32, **d),
    lambda **d: tf.fft.fftfreq(3, **d),
    lambda **d: tf.fft.rfftfreq(3, **d),
    lambda device: tf.ones(2).to_device(device),
    lambda **d: INFO.dtypes(**d),
    lambda **d: INFO.default_dtypes(**d),
]


@pytest.mark.parametrize("make", MAKERS)
def test_what_takes_a_device_takes_the_cpu_only(make: Any) -> None:
    assert getattr(make(device="cpu:0"), "device", "cpu:0") == "cpu:0"
    with pytest.raises(ArgumentError, match="tensors live on the CPU"):
        make(device="cuda:0")


def test_to_device_gives_a_tensor_of_its_own() -> None:
    x = tf.ones(2)
    y = x.to_device(x.device)
    y[0] = 5.0
    assert x.tolist() == [1.0, 1.0]
    with pytest.raises(ArgumentError, match="no streams"):
        x.to_device("cpu:0", stream=1)


# ---- copies


def test_asarray_copies_unless_told_not_to() -> None:
    x = tf.ones(2)
    assert tf.asarray(x, copy=False) is x
    assert tf.asarray(x, dtype=tf.float32, copy=False) is x
    copied = tf.asarray(x, copy=True)
    x[0] = 3.0
    assert copied.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.asarray(np.ones(2), copy=False),
        lambda: tf.asarray([1.0], copy=False),
        lambda: tf.asarray(tf.ones(2), dtype=tf.float64, copy=False),
        lambda: np.array(tf.ones(2), dtype=np.float64, copy=False),
    ],
)
def test_what_must_copy_and_may_not_raises_value_error(make: Any) -> None:
    with pytest.raises(ValueError, match="copy"):
        make()


def test_numpy_may_not_write_to_what_dlpack_gave_it() -> None:
    x = tf.ones(2)
    shared = np.from_dlpack(x)
    assert np.shares_memory(shared, x.numpy()) and not shared.flags.writeable


class _Old:
    """A library that knows DLPack without versions, which has no mark for read-only memory."""

    def __init__(self, x: tf.Tensor, **keywords: Any) -> None:
        self.capsule = x.__dlpack__(**keywords)

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def test_who_knows_no_read_only_memory_gets_a_copy() -> None:
    x = tf.ones(2)
    copied = np.from_dlpack(_Old(x))
    assert not np.shares_memory(copied, x.numpy())
    assert np.shares_memory(np.from_dlpack(_Old(x, copy=False)), x.numpy())


def test_dlpack_refuses_another_device() -> None:
    assert tf.ones(2).__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError):
        tf.ones(2).__dlpack__(max_version=(1, 0), dl_device=(2, 0))


def test_from_dlpack_copies_unless_told_not_to() -> None:
    a = np.zeros(2)
    copied, shared = tf.from_dlpack(a), tf.from_dlpack(a, copy=False)
    a[0] = 7.0
    assert (copied[0].item(), shared[0].item()) == (0.0, 7.0)


# ---- special values


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_floor_divide_of_infinities_is_the_floor_of_the_quotient(compiled: bool) -> None:
    x = np.array([np.inf, -np.inf, np.inf, 1.0, -1.0, np.inf, 7.0])
    y = np.array([2.0, 2.0, -2.0, -np.inf, np.inf, np.inf, 2.0])
    found = (tf.jit(tf.floor_divide) if compiled else tf.floor_divide)(x, y).numpy()
    expected = np.array([np.inf, -np.inf, -np.inf, -0.0, -0.0, np.nan, 3.0])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found[:5]), np.signbit(expected[:5]))


@pytest.mark.parametrize(
    ("z", "expected"),
    [
        (complex(-0.0, 0.0), 0j),
        (complex(np.inf, 0.0), complex(np.inf, 0.0)),
        (complex(-np.inf, np.nan), -1 + 0j),
        (complex(np.inf, np.inf), complex(np.inf, np.nan)),
        (1e-9 + 1e-9j, 1e-9 + 1e-9j),
    ],
)
def test_expm1_of_special_complex_numbers(z: complex, expected: complex) -> None:
    found = tf.expm1(tf.asarray(z, tf.complex128)).item()
    np.testing.assert_allclose(found.real, expected.real, rtol=1e-8)
    np.testing.assert_allclose(found.imag, expected.imag, rtol=1e-8)


# ---- shapes and signatures


def test_shapes_broadcast_as_arrays_of_them_do() -> None:
    assert tf.broadcast_shapes((3, 1, 4), 4, (5, 1)) == (3, 5, 4)
    assert tf.broadcast_shapes() == ()
    with pytest.raises(tf.errors.ShapeError, match="broadcast_shapes"):
        tf.broadcast_shapes((2,), (3,))


def test_operations_show_their_parameters() -> None:
    assert str(inspect.signature(tf.add)) == "(x, y, /)"
    assert str(inspect.signature(tf.where)) == "(condition, x, y, /)"


def test_fft_is_a_namespace() -> None:
    assert isinstance(tf.fft, types.ModuleType)
    np.testing.assert_array_equal(tf.fft.fftfreq(5, 0.5), np.fft.fftfreq(5, 0.5).astype("f4"))
    np.testing.assert_array_equal(tf.fft.rfftfreq(4), np.fft.rfftfreq(4).astype("f4"))
    with pytest.raises(ArgumentError, match="at least 1"):
        tf.fft.fftfreq(0)
