"""Numbers of 16 bits in compiled loops: read as float32, computed with as such, then rounded.

The same roundings as those of `halves`, which writes them for vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

_I32, _I16 = ir.IntType(32), ir.IntType(16)
Convert = Callable[[Any, Any], Any]  # of a builder and a value


def _widened_bfloat16(builder: Any, x: Any) -> Any:
    bits = builder.shl(builder.zext(x, _I32), ir.Constant(_I32, 16))
    return builder.bitcast(bits, ir.FloatType())


def _narrowed_bfloat16(builder: Any, x: Any) -> Any:
    """To the nearest, ties to even; a NaN stays one."""
    bits = builder.bitcast(x, _I32)
    odd = builder.and_(builder.lshr(bits, ir.Constant(_I32, 16)), ir.Constant(_I32, 1))
    rounded = builder.add(builder.add(bits, ir.Constant(_I32, 0x7FFF)), odd)
    quiet = builder.or_(bits, ir.Constant(_I32, 0x400000))
    chosen = builder.select(builder.fcmp_unordered("uno", x, x), quiet, rounded)
    return builder.trunc(builder.lshr(chosen, ir.Constant(_I32, 16)), _I16)


def _widened_float16(builder: Any, x: Any) -> Any:
    return builder.fpext(builder.bitcast(x, ir.HalfType()), ir.FloatType())


def _narrowed_float16(builder: Any, x: Any) -> Any:
    return builder.bitcast(builder.fptrunc(x, ir.HalfType()), _I16)


def _function(given: Any, returned: Any, convert: Convert) -> Any:
    @intrinsic
    def call(context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Sequence[Any]) -> Any:
            return convert(builder, args[0])

        return returned(given), generate

    return call


def _functions(dtype: str, widened: Convert, narrowed: Convert) -> dict[str, Any]:
    """Bits to number, number to bits, and a number rounded."""
    return {
        f"of_{dtype}": _function(types.uint16, types.float32, widened),
        f"to_{dtype}": _function(types.float32, types.uint16, narrowed),
        f"rounded_{dtype}": _function(
            types.float32, types.float32, lambda builder, x: widened(builder, narrowed(builder, x))
        ),
    }


FUNCTIONS: dict[str, Any] = {
    **_functions("bfloat16", _widened_bfloat16, _narrowed_bfloat16),
    **_functions("float16", _widened_float16, _narrowed_float16),
}
