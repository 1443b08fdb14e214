"""The dtypes, their short names, and how two of them promote.

Source of the table: Python array API standard 2024.12, "Type promotion rules". What it leaves
undefined raises; float16 and bfloat16 widen to float32 and float64, and do not mix.
"""
from __future__ import annotations

from typing import TypeAlias

import ml_dtypes
import numpy as np

from tapeflow.errors import DTypeError

DType: TypeAlias = "np.dtype[np.generic]"

bool_: DType = np.dtype(np.bool_)
int8: DType = np.dtype(np.int8)
int16: DType = np.dtype(np.int16)
int32: DType = np.dtype(np.int32)
int64: DType = np.dtype(np.int64)
uint8: DType = np.dtype(np.uint8)
uint16: DType = np.dtype(np.uint16)
uint32: DType = np.dtype(np.uint32)
uint64: DType = np.dtype(np.uint64)
float16: DType = np.dtype(np.float16)
bfloat16: DType = np.dtype(ml_dtypes.bfloat16)
float32: DType = np.dtype(np.float32)
float64: DType = np.dtype(np.float64)
complex64: DType = np.dtype(np.complex64)
complex128: DType = np.dtype(np.complex128)

SHORT: dict[DType, str] = {
    bool_: "bool", int8: "i8", int16: "i16", int32: "i32", int64: "i64",
    uint8: "u8", uint16: "u16", uint32: "u32", uint64: "u64",
    float16: "f16", bfloat16: "bf16", float32: "f32", float64: "f64",
    complex64: "c64", complex128: "c128",
}
OF_SHORT: dict[str, DType] = {short: dtype for dtype, short in SHORT.items()}
NAMES: dict[DType, str] = {dtype: dtype.name for dtype in SHORT}   # NumPy takes 3 us to spell one

SIGNED = (int8, int16, int32, int64)
UNSIGNED = (uint8, uint16, uint32, uint64)
FLOATING = (float16, bfloat16, float32, float64)
COMPLEX = (complex64, complex128)
_FLOATING = frozenset(FLOATING)


def is_floating(dtype: DType) -> bool:
    """Whether `dtype` is one of float16, bfloat16, float32, float64."""
    return dtype in _FLOATING


def is_complex(dtype: DType) -> bool:
    """Whether `dtype` is complex64 or complex128."""
    return dtype.kind == "c"


def is_inexact(dtype: DType) -> bool:
    """Whether `dtype` is floating or complex: of these there are derivatives."""
    return dtype in _FLOATING or dtype.kind == "c"


def real_of(dtype: DType) -> DType:
    """The dtype of the real part: float32 of complex64, float64 of complex128, else `dtype`."""
    return (float32 if dtype == complex64 else float64) if dtype.kind == "c" else dtype


def complex_of(dtype: DType) -> DType:
    """The complex dtype whose parts hold every number of the floating or complex `dtype`."""
    return complex128 if dtype in (float64, complex128) else complex64


def is_integer(dtype: DType) -> bool:
    """Whether `dtype` is a signed or unsigned integer; bool is not."""
    return dtype.kind in "iu"


def kind_of(dtype: DType) -> str:
    """`bool`, `integer` or `inexact`: dtypes of different kinds do not promote."""
    return "bool" if dtype == bool_ else "integer" if is_integer(dtype) else "inexact"


def as_dtype(dtype: object, op: str = "dtype") -> DType:
    """`dtype` as one of the dtypes above.

    Names mean what they mean to NumPy: "i8" has 8 bytes. The short names of types such as "f32" do
    too, where NumPy has no such name.

    Raises: DTypeError if there is no such dtype.

    >>> as_dtype("float32"), as_dtype(int), as_dtype("bfloat16").name
    (dtype('float32'), dtype('int64'), 'bfloat16')
    """
    if dtype is float:
        return float32
    if dtype is complex:
        return complex64
    found: DType | None = None
    try:
        found = None if dtype is None else np.dtype(dtype)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        found = None
    if found is None or found not in SHORT:
        found = OF_SHORT.get(dtype) if isinstance(dtype, str) else None
    if found is None:
        raise DTypeError(op, got=f"dtype {dtype!r}", why="tapeflow has no such dtype",
                         fix="use one of " + ", ".join(d.name for d in SHORT))
    return found


def _undefined(op: str, a: DType, b: DType) -> DTypeError:
    target = a if is_inexact(a) else b
    return DTypeError(op, got=f"{a.name} and {b.name}",
                      why="the array API standard defines no common dtype for these",
                      fix=f"cast one of them, e.g. tf.cast(x, {target.name!r})")


def promote(a: DType, b: DType, op: str = "result_type") -> DType:
    """The common dtype of `a` and `b`; raises DTypeError where the standard defines none.

    >>> promote(int8, uint8), promote(bfloat16, float32), promote(float64, complex64)
    (dtype('int16'), dtype('float32'), dtype('complex128'))
    """
    if a == b:
        return a
    if kind_of(a) != kind_of(b) or {a, b} == {float16, bfloat16}:
        raise _undefined(op, a, b)
    common = np.promote_types(a, b)
    if is_integer(a) and not is_integer(common):   # uint64 with a signed integer
        raise _undefined(op, a, b)
    return common


def default_of(value: complex) -> DType:
    """The dtype of a Python number that stands alone."""
    if isinstance(value, bool | int):
        return bool_ if isinstance(value, bool) else int64
    return float32 if isinstance(value, float) else complex64


def weak(value: complex, like: DType, op: str) -> DType:
    """The dtype of a Python number beside a tensor of dtype `like`: that of the tensor, or, where
    the number is complex and the tensor real, the complex one of its precision."""
    fits = (is_inexact(like) if isinstance(value, float | complex) else
            like == bool_ if isinstance(value, bool) else like != bool_)
    if not fits:
        raise DTypeError(op, got=f"a {like.name} tensor and the Python number {value!r}",
                         why=f"{type(value).__name__} does not fit {like.name}",
                         fix="cast the tensor first: tf.cast(x, tf.float32)")
    if isinstance(value, complex):
        return complex_of(like)
    if isinstance(value, int) and is_integer(like):
        limits = np.iinfo(like.name)
        if not limits.min <= value <= limits.max:
            raise DTypeError(op, got=f"a {like.name} tensor and {value}",
                             why=f"{value} is not between {limits.min} and {limits.max}",
                             fix="cast the tensor to a wider integer")
    return like
