"""Machine code of generated loops: Numba lowers the text to LLVM IR, llvmlite does the rest.

Numba is imported when the first kernel is compiled: a program found in the cache needs none of it.
"""
from __future__ import annotations

import linecache
import threading
from collections.abc import Callable
from typing import Any

from tapeflow import config
from tapeflow.jit.interrupts import held_back
from tapeflow.jit.kernel import Code
from tapeflow_kernels import machine

_lowering = threading.Lock()


def begin(code: Code) -> machine.Assembly:
    """The object that holds `code` as `void symbol(i64 start, i64 stop, i64* args)`, begun."""
    # Numba half imported, or with half its registries, fails ever after
    with _lowering, held_back():
        text = lower_to_ir(code)
    return machine.Assembly(text)


def lower_to_ir(code: Code) -> str:
    """The LLVM IR of `code`, not optimised, with the project's calling convention."""
    from tapeflow.jit.codegen import names
    from tapeflow_kernels.cpu import lowering

    fn = load_text(code.text, code.symbol, names.namespace())
    types = [names.type_of(p) for p in ("i64", "i64", *code.parameters)]
    lowered = lowering.lower(fn, types)
    return lowered.text + _entry(lowered.name, code)


def load_text(text: str, symbol: str, namespace: dict[str, Any]) -> Callable[..., None]:
    """The function that `text` defines, with its text findable by every Python tool."""
    filename = f"<tapeflow {symbol}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    folder = config.dump_dir()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{symbol}.py").write_text(text)
    scope = dict(namespace)
    exec(compile(text, filename, "exec"), scope)
    loaded: Callable[..., None] = scope[symbol]
    return loaded


def _entry(inner: str, code: Code) -> str:
    """A function that unpacks the argument block and calls the one named `inner`."""
    lines, arguments = [], ["ptr %result", "ptr %error", "i64 %start", "i64 %stop"]
    for i, parameter in enumerate(code.parameters):
        kind = "ptr" if parameter.endswith("*") else "i64"
        lines += [f"  %at{i} = getelementptr i64, ptr %args, i64 {i}",
                  f"  %a{i} = load {kind}, ptr %at{i}"]
        arguments.append(f"{kind} %a{i}")
    head = f"\ndefine void @{code.symbol}(i64 %start, i64 %stop, ptr %args) {{"
    call = f'  %status = call i32 @"{inner}"({", ".join(arguments)})'
    return "\n".join([head, "  %result = alloca ptr", "  %error = alloca ptr", *lines, call,
                      "  ret void", "}\n"])
