"""What generated text may name besides its parameters: dtypes and functions."""
from __future__ import annotations

import functools
import math
from typing import Any

import numba

from tapeflow_kernels.cpu import lowering, narrow, noise, scalars, vecmath

_SHORT = {"i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8",
          "u16": "uint16", "u32": "uint32", "u64": "uint64", "f32": "float32", "f64": "float64",
          "c64": "complex64", "c128": "complex128"}

# Bools are bytes in memory; halves are bits, which functions of `narrow` read and write.
_IN_MEMORY = {**_SHORT, "bool": "uint8", "f16": "uint16", "bf16": "uint16"}


def type_of(parameter: str) -> Any:
    """The Numba type of a parameter such as `f32*` or `i64`."""
    kind = getattr(numba.types, _IN_MEMORY[parameter.removesuffix("*")])
    pointer: Any = numba.types.CPointer
    return pointer(kind) if parameter.endswith("*") else kind


@functools.cache
def namespace() -> dict[str, Any]:
    """Names, and what they stand for in compiled text."""
    names: dict[str, Any] = {name: getattr(numba, name) for name in _SHORT.values()}
    names.update(bool=numba.boolean, inf=math.inf, nan=math.nan)
    names.update(scalars.FUNCTIONS)
    names.update(narrow.FUNCTIONS)
    names.update(noise.FUNCTIONS)
    names.update((name, _of_floats(name, by_dtype)) for name, by_dtype in vecmath.FUNCTIONS.items())
    return names


def _of_floats(name: str, by_dtype: dict[str, Any]) -> Any:
    """A function of vecmath for whichever float it is called with."""
    if by_dtype["float32"] is by_dtype["float64"]:
        return by_dtype["float32"]

    def choose(*kinds: Any) -> Any:
        fn = by_dtype[kinds[0].name]
        return (lambda x: fn(x)) if len(kinds) == 1 else (lambda x, y: fn(x, y))

    return lowering.by_type(name, 2 if name in ("pow", "hypot") else 1, choose)
