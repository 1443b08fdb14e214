"""What generated text may name besides its parameters: dtypes, and functions of Numba's."""
from __future__ import annotations

import math
from typing import Any

_DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")


def namespace() -> dict[str, Any]:
    """Names and what they stand for inside compiled text."""
    import numba
    from numba.extending import intrinsic

    def ordered(operation: str) -> Any:
        """`a + b` or `a * b` that may be summed in vector lanes: the order is that of the code,
        which is the same for any number of threads."""
        @intrinsic   # type: ignore[untyped-decorator]
        def combine(context: Any, a: Any, b: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return getattr(builder, operation)(*args, flags=("reassoc",))
            return a(a, b), generate
        return combine

    names: dict[str, Any] = {name: getattr(numba, name) for name in _DTYPES}
    names.update({name: getattr(math, name) for name in ("exp", "log", "tanh", "sin", "cos", "sqrt")})
    names.update(math=math, bool=numba.boolean, lanes_add=ordered("fadd"), lanes_multiply=ordered("fmul"))
    return names
