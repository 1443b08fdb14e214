"""What the dtypes are: the array API's data type functions."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from tapeflow import dtypes
from tapeflow.dtypes import DType, as_dtype, promote, weak
from tapeflow.errors import ArgumentError, DTypeError
from tapeflow.ops.device import DEVICE, on_cpu
from tapeflow.tensor import TensorLike, as_tensor, is_number

STANDARD = "2024.12"   # the version of the array API that is followed

_KINDS: dict[str, tuple[DType, ...]] = {
    "bool": (dtypes.bool_,), "signed integer": dtypes.SIGNED, "unsigned integer": dtypes.UNSIGNED,
    "integral": dtypes.SIGNED + dtypes.UNSIGNED, "real floating": dtypes.FLOATING,
    "complex floating": dtypes.COMPLEX,
    "numeric": dtypes.SIGNED + dtypes.UNSIGNED + dtypes.FLOATING + dtypes.COMPLEX,
}


@dataclass(frozen=True, slots=True)
class IntegerInfo:
    """The limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """The limits of a floating dtype."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


def _dtype_of(x: Any, op: str) -> DType:
    return as_dtype(getattr(x, "dtype", x), op)


def isdtype(dtype: object, kind: object) -> bool:
    """Whether `dtype` is `kind`: a dtype, the name of a kind such as "integral", or several.

    Raises: DTypeError if `dtype` is none, ArgumentError if there is no such kind.

    >>> isdtype("float32", ("integral", "real floating"))
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str) and kind in _KINDS:
        return as_dtype(dtype, "isdtype") in _KINDS[kind]
    own = as_dtype(dtype, "isdtype")
    try:
        return own == as_dtype(kind, "isdtype")
    except DTypeError:
        raise ArgumentError("isdtype", got=f"kind={kind!r}", why="there is no such kind",
                            fix="use a dtype, or one of " + ", ".join(_KINDS)) from None


def finfo(dtype: object) -> FloatInfo:
    """The limits of a floating dtype, or of that of a tensor; of a complex one those of its parts.

    Raises: DTypeError if it is neither.
    """
    found = dtypes.real_of(_dtype_of(dtype, "finfo"))
    if not dtypes.is_floating(found):
        raise DTypeError("finfo", got=found.name, why="it is not floating", fix="use tf.iinfo")
    limits: Any = ml_dtypes.finfo(found)   # type: ignore[no-untyped-call]
    return FloatInfo(limits.bits, float(limits.eps), float(limits.max), float(limits.min),
                     float(limits.smallest_normal), found)


def iinfo(dtype: object) -> IntegerInfo:
    """The limits of an integer dtype, or of that of a tensor.

    Raises: DTypeError if it is not an integer dtype.
    """
    found = _dtype_of(dtype, "iinfo")
    if not dtypes.is_integer(found):
        raise DTypeError("iinfo", got=found.name, why="it is not an integer", fix="use tf.finfo")
    limits: Any = np.iinfo(found.name)
    return IntegerInfo(limits.bits, int(limits.max), int(limits.min), found)


def result_type(*arrays_and_dtypes: TensorLike) -> DType:
    """The dtype that these tensors, dtypes and Python numbers have in common.

    Raises: DTypeError where the array API standard defines none.

    >>> result_type("int8", "uint8", 3)
    dtype('int16')
    """
    numbers = [x for x in arrays_and_dtypes if is_number(x)]
    others = [_of(x) for x in arrays_and_dtypes if not is_number(x)]
    if not others:
        raise ArgumentError("result_type", got=f"{len(numbers)} numbers",
                            why="Python numbers have no dtype of their own",
                            fix="give at least one tensor or dtype")
    common = others[0]
    for dtype in others[1:]:
        common = promote(common, dtype)
    for number in numbers:
        common = weak(number, common, "result_type")
    return common


def _of(x: Any) -> DType:
    return as_dtype(x) if isinstance(x, str | type | np.dtype) else as_tensor(x).dtype


# ---- the namespace

@dataclass(frozen=True, slots=True)
class NamespaceInfo:
    """What `__array_namespace_info__()` gives: what this array library can do."""

    def capabilities(self) -> dict[str, Any]:
        """What code for any array library may use here; masks and sizes that depend on elements
        in eager code only."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        """Where tensors are made unless told otherwise."""
        return DEVICE

    def default_dtypes(self, *, device: str | None = None) -> dict[str, DType]:
        """The dtypes of Python numbers that stand alone, and of indices.

        Raises: ArgumentError if there is no such device.
        """
        on_cpu("default_dtypes", device)
        return {"real floating": dtypes.float32, "complex floating": dtypes.complex64,
                "integral": dtypes.int64, "indexing": dtypes.int64}

    def dtypes(self, *, device: str | None = None,
               kind: str | tuple[str, ...] | None = None) -> dict[str, DType]:
        """The standard's dtypes of this kind or these kinds by name, by default all.

        Raises: ArgumentError if there is no such kind or device.
        """
        on_cpu("dtypes", device)
        standard = [d for d in dtypes.SHORT if d not in (dtypes.float16, dtypes.bfloat16)]
        return {d.name: d for d in standard if kind is None or isdtype(d, kind)}

    def devices(self) -> list[str]:
        """All devices that tensors can be on."""
        return [DEVICE]


def __array_namespace_info__() -> NamespaceInfo:
    """What this namespace can do, for code that is written for any array library."""
    return NamespaceInfo()


def can_cast(from_: Any, to: object) -> bool:
    """Whether promotion could turn `from_`, a dtype or a tensor, into `to`.

    Raises: DTypeError if either is no dtype.
    """
    source, target = _of(from_), as_dtype(to, "can_cast")
    try:
        return promote(source, target) == target
    except DTypeError:
        return False
