"""From one dtype to another: cast(), and the parts of complex numbers.

Over the real numbers all of these are linear. Cotangents pair with tangents as the real part of
their product, so an adjoint is a transpose and conjugates nothing: see docs/complex.md.
"""
from __future__ import annotations

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import DType, as_dtype, bool_, complex_of, is_complex, is_inexact, real_of
from tapeflow.errors import DTypeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.device import on_cpu
from tapeflow.primitive import Leading, Scalar, Tangents, linear, primitive
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

# ---- cast

def _cast_spec(x: Spec, *, dtype: DType) -> Spec:
    if is_complex(x.dtype) and not (is_complex(dtype) or dtype == bool_):
        raise DTypeError("cast", got=f"{x} -> {dtype.name}", why="the imaginary part would be lost",
                         fix="take tf.real(x), tf.imag(x) or tf.abs(x) first")
    return Spec(x.shape, dtype)


def _cast_adjoint(g: Tensor, y: Tensor, x: Tensor, *, dtype: DType) -> Tensor | None:
    if not (is_inexact(dtype) and is_inexact(x.dtype)):
        return None
    return cast(g if is_complex(x.dtype) else real(g), x.dtype)


def _cast_jvp(ts: Tangents, y: Tensor, x: Tensor, *, dtype: DType) -> Tensor | None:
    return cast(ts[0], dtype) if is_inexact(dtype) and is_inexact(x.dtype) else None


@primitive(name="cast", spec=_cast_spec, lowering=Scalar("{t}({x})", of_complex="{t}({x})"),
           batching=Leading(),
           adjoints=(_cast_adjoint,), jvp=_cast_jvp)   # type: ignore[arg-type]
def _cast(x: Array, *, dtype: DType) -> Array:
    if x.dtype.kind == "c" and dtype.kind not in "bc":   # NumPy would only warn
        raise TypeError("a part would be lost, as the shape rule says")
    return x.astype(dtype)


def cast(x: TensorLike, dtype: object) -> Tensor:
    """x with its elements in `dtype`; floats are rounded to nearest, to integers towards zero.

    Gradients pass between floating and complex dtypes only.
    Raises: DTypeError if there is no such dtype, or x is complex and `dtype` is that of real
        numbers.

    >>> cast([1.7, -1.7], "int32")
    Tensor([ 1, -1], i32[2])
    """
    x = as_tensor(x, op="cast")
    target = as_dtype(dtype, "cast")
    return _shape.another(x) if x.dtype == target else _cast(x, dtype=target)


def astype(x: TensorLike, dtype: object, *, copy: bool = True, device: object = None) -> Tensor:
    """x with its elements in `dtype`: cast() by the array API's name.

    The result is always a tensor of its own, whatever `copy` says.
    Raises: as cast(); ArgumentError for another device than the CPU.
    """
    on_cpu("astype", device)
    return cast(as_tensor(x, op="astype"), dtype)


# ---- parts of complex numbers

def _as_complex(g: Tensor) -> Tensor:
    return cast(g, complex_of(g.dtype))


def _part_spec(x: Spec) -> Spec:
    return Spec(x.shape, real_of(x.dtype))


@linear(name="real", spec=_part_spec, lowering=Scalar("{x}", of_complex="{x}.real"),
        batching=Leading(),
        adjoint=lambda g, x: _as_complex(g))
def _real(x: Array) -> Array:
    part: Array = x.real   # of the memory of x, which it would keep alive
    return part.copy()


@linear(name="imag", spec=_part_spec, lowering=Scalar("{t}(0)", of_complex="{x}.imag"),
        batching=Leading(),
        adjoint=lambda g, x: _as_complex(g) * -1j)
def _imag(x: Array) -> Array:
    part: Array = x.imag
    return part.copy()


@linear(name="conj", spec=lambda x: x,
        lowering=Scalar("{x}", of_complex="complex({x}.real, -{x}.imag)"),
        batching=Leading(),
        adjoint=lambda g, x: conj(g))
def _conj(x: Array) -> Array:
    y: Array = np.conjugate(x)
    return y


def _number(op: str, x: TensorLike) -> Tensor:
    t = as_tensor(x, op=op)
    if t.dtype == bool_:
        raise DTypeError(op, got=t.spec, why=f"{op} is defined for numbers, not for bool",
                         fix="cast the input: tf.cast(x, tf.int32)")
    return t


def real(x: TensorLike) -> Tensor:
    """The real part of x, in the dtype of its parts; of a real x a tensor like x.

    Raises: DTypeError for bool.

    >>> real([1 + 2j, 3.0])
    Tensor([1., 3.], f32[2])
    """
    x = _number("real", x)
    return _real(x) if is_complex(x.dtype) else _shape.another(x)


def imag(x: TensorLike) -> Tensor:
    """The imaginary part of x, in the dtype of its parts; of a real x zeros.

    Raises: DTypeError for bool.

    >>> imag([1 + 2j, 3.0])
    Tensor([2., 0.], f32[2])
    """
    x = _number("imag", x)
    return _imag(x) if is_complex(x.dtype) else dispatch.wrap(np.zeros(x.shape, x.dtype))


def conj(x: TensorLike) -> Tensor:
    """The complex conjugate of x; of a real x a tensor like x.

    Raises: DTypeError for bool.

    >>> conj([1 + 2j])
    Tensor([1.-2.j], c64[1])
    """
    x = _number("conj", x)
    return _conj(x) if is_complex(x.dtype) else _shape.another(x)
