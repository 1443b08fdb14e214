"""What generated text may name besides its parameters: dtypes and functions."""
from __future__ import annotations

import functools
import math
from typing import Any

import numba

from tapeflow_kernels.cpu import scalars

_SHORT = {"i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8",
          "u16": "uint16", "u32": "uint32", "u64": "uint64", "f32": "float32", "f64": "float64"}

_LIBM = ("exp", "log", "tanh", "sin", "cos", "log1p", "expm1", "erf", "pow", "tan", "asin", "acos",
         "atan", "sinh", "cosh", "atan2", "hypot")


def type_of(parameter: str) -> Any:
    """The Numba type of a parameter such as `f32*` or `i64`; bools are bytes in memory."""
    kind = getattr(numba.types, {"bool": "uint8", **_SHORT}[parameter.removesuffix("*")])
    pointer: Any = numba.types.CPointer
    return pointer(kind) if parameter.endswith("*") else kind


@functools.cache
def namespace() -> dict[str, Any]:
    """Names, and what they stand for in compiled text."""
    names: dict[str, Any] = {name: getattr(numba, name) for name in _SHORT.values()}
    names.update(bool=numba.boolean, inf=math.inf, nan=math.nan, **scalars.FUNCTIONS)
    names.update({name: getattr(math, name) for name in _LIBM})
    return names
