"""Loops over arrays for eager code: functions of Python that are compiled when they are first
used, and take arrays as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from tapeflow_kernels import machine

Keep: TypeAlias = "Callable[[str, Callable[[], machine.Assembly]], bytes]"


def _forgotten(symbol: str, begin: Callable[[], machine.Assembly]) -> bytes:
    return begin().finish()


_keep: list[Keep] = [_forgotten]


def kept_by(keep: Keep) -> None:
    """From now on `keep(symbol, begin)` gives the machine code of a loop: code that it has kept
    under this name, or what `begin` begins."""
    _keep[0] = keep


def compiled(
    symbol: str, written: Callable[[], Callable[..., None]], dtype: str, sizes: int, arrays: int
) -> Callable[..., None]:
    """The machine code of the function that `written` gives, which is asked for it if there is no
    code of this symbol yet: of so many sizes, then arrays of this dtype.

    Arrays are given as objects of CPython's, by id(): NumPy takes 1 us to give an address away.
    """
    from tapeflow_kernels import machine  # 20 ms that programs do without that call no function

    def begin() -> machine.Assembly:
        return machine.Assembly(_lowered(symbol, written(), dtype, sizes, arrays))

    code = _keep[0](symbol, begin)
    kinds = [*[ctypes.c_int64] * sizes, *[ctypes.c_void_p] * arrays]
    call: Callable[..., None] = ctypes.CFUNCTYPE(None, *kinds)(machine.load(code, [symbol])[symbol])
    return call


def _lowered(symbol: str, fn: Callable[..., None], dtype: str, sizes: int, arrays: int) -> str:
    """LLVM IR of the loop; Numba is imported only now."""
    import numba

    from tapeflow_kernels.cpu import lowering

    element: Any = getattr(numba.types, dtype)
    pointer = numba.types.CPointer(element)  # type: ignore[no-untyped-call]
    lowered = lowering.lower(fn, [numba.types.int64] * sizes + [pointer] * arrays)
    counts = [f"i64 %n{i}" for i in range(sizes)]
    given = [f"ptr %a{i}" for i in range(arrays)]
    data = [
        f"  %at{i} = getelementptr i8, ptr %a{i}, i64 {object.__basicsize__}\n"
        f"  %data{i} = load ptr, ptr %at{i}\n"
        for i in range(arrays)
    ]
    passed = ", ".join([*counts, *[f"ptr %data{i}" for i in range(arrays)]])
    return f"""{lowered.text}
define void @{symbol}({", ".join([*counts, *given])}) {{
  %result = alloca ptr
  %error = alloca ptr
{"".join(data)}  %status = call i32 @"{lowered.name}"(ptr %result, ptr %error, {passed})
  ret void
}}
"""
