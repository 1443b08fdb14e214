"""Machine code of generated loops: Numba lowers the text to LLVM IR, llvmlite does the rest.

Numba's own optimisation and code generation are left out, so that neither is paid for twice and
vectors get the full width. This is the one module that knows Numba's internals.
"""
from __future__ import annotations

import functools
import hashlib
import linecache
import re
from collections.abc import Callable
from typing import Any

from tapeflow_kernels import machine

from tapeflow import config
from tapeflow.jit.kernel import Code

_POINTEES = {"bool": "uint8", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8",
             "u16": "uint16", "u32": "uint32", "u64": "uint64", "f32": "float32", "f64": "float64"}


def compile_python(code: Code) -> bytes:
    """The object that holds `code` as `void symbol(i64 start, i64 stop, i64* args)`."""
    return machine.assemble(lower_to_ir(code))


def load_text(text: str, symbol: str, namespace: dict[str, Any]) -> Callable[..., None]:
    """The function that `text` defines, with its text findable by every Python tool."""
    filename = f"<tapeflow {symbol} {hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    folder = config.dump_dir()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{symbol}.py").write_text(text)
    scope = dict(namespace)
    exec(compile(text, filename, "exec"), scope)
    loaded: Callable[..., None] = scope[symbol]
    return loaded


def lower_to_ir(code: Code) -> str:
    """The LLVM IR of `code`, not optimised, with the project's calling convention."""
    import numba
    from numba.core import compiler
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    kinds = {short: getattr(numba.types, name) for short, name in _POINTEES.items()}
    types = [numba.types.CPointer(kinds[p[:-1]]) if p.endswith("*") else kinds[p]
             for p in ("i64", "i64", *code.parameters)]
    flags = compiler.Flags()
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.noalias = True
    flags.error_model = "numpy"
    fn = load_text(code.text, code.symbol, _namespace())
    context = cpu_target.target_context
    context.refresh()
    cpu_target.typing_context.refresh()
    with global_compiler_lock:
        library = context.codegen().create_library(code.symbol)
        library._optimize_functions = _nothing
        result = compiler.compile_extra(cpu_target.typing_context, context, fn, tuple(types),
                                        numba.types.none, flags, {}, library=library)
        text = str(library._final_module)
    return _with_entry(text, result.fndesc.llvm_func_name, code)


def _nothing(*_: object) -> None:
    """Stands for a step of Numba's that is done elsewhere."""


@functools.cache
def _namespace() -> dict[str, Any]:
    """What generated text may name: dtypes and functions."""
    from tapeflow.jit.codegen import builtins
    return builtins.namespace()


def _with_entry(ir: str, inner: str, code: Code) -> str:
    """`ir` with a function that unpacks the argument block and calls the one named `inner`."""
    quoted = re.escape(f'"{inner}"') if f'@"{inner}"' in ir else re.escape(inner)
    name = f'@"{inner}"' if f'@"{inner}"' in ir else f"@{inner}"
    ir = re.sub(rf"^define [^@\n]*@{quoted}\(", f"define internal i32 {name}(", ir, flags=re.MULTILINE)
    lines, arguments = [], ["ptr %ret", "ptr %error", "i64 %start", "i64 %stop"]
    for i, parameter in enumerate(code.parameters):
        kind = "ptr" if parameter.endswith("*") else "i64"
        lines += [f"  %at{i} = getelementptr i64, ptr %args, i64 {i}", f"  %a{i} = load {kind}, ptr %at{i}"]
        arguments.append(f"{kind} %a{i}")
    return (f"{ir}\ndefine void @{code.symbol}(i64 %start, i64 %stop, ptr %args) {{\n"
            "  %ret = alloca ptr\n  %error = alloca ptr\n" + "\n".join(lines)
            + f"\n  %status = call i32 {name}({', '.join(arguments)})\n  ret void\n}}\n")
