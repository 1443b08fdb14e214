"""apply(): a function of vecmath on arrays, by a loop that is compiled when it is first used.

So eager code computes what compiled loops compute, by the one definition that there is.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tapeflow_kernels import machine

Array = NDArray[Any]
_SINGLE = np.dtype(np.float32)
Keep: TypeAlias = "Callable[[str, Callable[[], machine.Assembly]], bytes]"


def _forgotten(symbol: str, begin: Callable[[], machine.Assembly]) -> bytes:
    return begin().finish()


_keep: list[Keep] = [_forgotten]


def kept_by(keep: Keep) -> None:
    """From now on `keep(symbol, begin)` gives the machine code of a loop: code that it has kept
    under this name, or what `begin` begins."""
    _keep[0] = keep


def apply(name: str, *xs: Array) -> Array:
    """The function `name` of each element: f[...], ... -> f[...], in the dtype of all inputs, which
    broadcast. Halves are computed in float32."""
    x = xs[0]
    dtype = x.dtype
    is_array = type(x) is np.ndarray  # the loop reads addresses where arrays have them
    if is_array and len(xs) == 1 and x.flags.c_contiguous and dtype.itemsize > 2:  # 2.6 -> 1.0 us
        y = np.empty_like(x)
        _loop(name, dtype.char, 1)(x.size, id(x), id(y))
        return y
    kind = dtype if dtype.itemsize > 2 else _SINGLE
    if len(xs) > 1:
        xs = tuple(np.broadcast_arrays(*xs))
    arrays = [np.ascontiguousarray(x, kind) for x in xs]
    y = np.empty(xs[0].shape, kind)
    _loop(name, kind.char, len(xs))(y.size, *map(id, arrays), id(y))
    return y if kind is dtype else y.astype(dtype)


@functools.cache
def _loop(name: str, char: str, arity: int) -> Callable[..., None]:
    """The machine code that takes a count, the inputs and the output: objects of CPython's, since
    NumPy takes 1 us to give an address away, and 1.5 to name a dtype otherwise than by a letter."""
    from tapeflow_kernels import machine  # 20 ms that programs do without that call no function

    dtype = np.dtype(char).name
    symbol = f"elements_{name}_{dtype}"
    code = _keep[0](symbol, lambda: machine.Assembly(_lowered(symbol, name, dtype, arity)))
    kinds = [ctypes.c_int64, *[ctypes.c_void_p] * (arity + 1)]
    call: Callable[..., None] = ctypes.CFUNCTYPE(None, *kinds)(machine.load(code, [symbol])[symbol])
    return call


def _lowered(symbol: str, name: str, dtype: str, arity: int) -> str:
    """LLVM IR of the loop; Numba is imported only now."""
    import numba

    from tapeflow_kernels.cpu import lowering
    from tapeflow_kernels.cpu.vecmath import FUNCTIONS

    operands = [f"x{i}" for i in range(arity)]
    elements = ", ".join(f"{x}[i]" for x in operands)
    scope: dict[str, Any] = {"fn": FUNCTIONS[name][dtype]}
    exec(
        f"def loop(count, {', '.join(operands)}, y):\n"
        f"    for i in range(count):\n"
        f"        y[i] = fn({elements})\n",
        scope,
    )
    element: Any = getattr(numba.types, dtype)
    pointer = numba.types.CPointer(element)  # type: ignore[no-untyped-call]
    kinds = [numba.types.int64, *[pointer] * (arity + 1)]
    lowered = lowering.lower(scope["loop"], kinds)
    arrays = [*operands, "y"]
    given = ", ".join(f"ptr %{x}" for x in arrays)
    data = [
        f"  %at.{x} = getelementptr i8, ptr %{x}, i64 {object.__basicsize__}\n"
        f"  %data.{x} = load ptr, ptr %at.{x}\n"
        for x in arrays
    ]
    passed = ", ".join(f"ptr %data.{x}" for x in arrays)
    return f"""{lowered.text}
define void @{symbol}(i64 %count, {given}) {{
  %result = alloca ptr
  %error = alloca ptr
{"".join(data)}  %status = call i32 @"{lowered.name}"(ptr %result, ptr %error, i64 %count, {passed})
  ret void
}}
"""
