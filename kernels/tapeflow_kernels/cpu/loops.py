"""Loops over arrays for eager code: functions of Python that are compiled when they are first
used, and take arrays as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from numpy.typing import NDArray

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
    symbol: str, load: Callable[[], Callable[..., None]], sizes: int, dtypes: Sequence[str]
) -> Callable[..., None]:
    """The machine code of the function that `load` gives, which is asked for it if there is no
    code of this symbol yet: of so many sizes, then an array of each of these dtypes.

    Arrays are given as objects of CPython's, by id(): NumPy takes 1 us to give an address away.
    """
    from tapeflow_kernels import machine  # 20 ms that programs do without that call no function

    def begin() -> machine.Assembly:
        return machine.Assembly(_lowered(symbol, load(), sizes, dtypes))

    code = _keep[0](symbol, begin)
    kinds = [*[ctypes.c_int64] * sizes, *[ctypes.c_void_p] * len(dtypes)]
    call: Callable[..., None] = ctypes.CFUNCTYPE(None, *kinds)(machine.load(code, [symbol])[symbol])
    return call


def address(x: NDArray[Any]) -> int:
    """Where the elements of x lie: 0.2 us, where NumPy takes 0.8."""
    return ctypes.c_size_t.from_address(id(x) + object.__basicsize__).value


def written(module: str, name: str, sizes: int, dtypes: Sequence[str]) -> Callable[..., None]:
    """The machine code of the function `name` of a module beside this one, which is imported, and
    Numba with it, only if there is no code yet."""

    def load() -> Callable[..., None]:
        fn: Callable[..., None] = getattr(import_module(f"tapeflow_kernels.cpu.{module}"), name)
        return fn

    return compiled(f"{module}_{name}_{dtypes[0]}", load, sizes, dtypes)


def _lowered(symbol: str, fn: Callable[..., None], sizes: int, dtypes: Sequence[str]) -> str:
    """LLVM IR of the loop; Numba is imported only now."""
    import numba

    from tapeflow_kernels.cpu import lowering

    pointer: Any = numba.types.CPointer
    pointers = [pointer(getattr(numba.types, dtype)) for dtype in dtypes]
    lowered = lowering.lower(fn, [numba.types.int64] * sizes + pointers)
    counts = [f"i64 %n{i}" for i in range(sizes)]
    arrays = range(len(dtypes))
    data = [
        f"  %at{i} = getelementptr i8, ptr %a{i}, i64 {object.__basicsize__}\n"
        f"  %data{i} = load ptr, ptr %at{i}\n"
        for i in arrays
    ]
    passed = ", ".join([*counts, *[f"ptr %data{i}" for i in arrays]])
    return f"""{lowered.text}
define void @{symbol}({", ".join([*counts, *[f"ptr %a{i}" for i in arrays]])}) {{
  %result = alloca ptr
  %error = alloca ptr
{"".join(data)}  %status = call i32 @"{lowered.name}"(ptr %result, ptr %error, {passed})
  ret void
}}
"""
