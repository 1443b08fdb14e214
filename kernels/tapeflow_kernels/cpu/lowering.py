"""Python functions of scalars and pointers as LLVM IR, by the front of Numba's compiler.

Its own optimisation and code generation are left out: `machine` does both once, when a kernel and
all that it calls are in one module, and at the full width of the vectors. This is the one module
that knows Numba's internals.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
from llvmlite import ir
from numba.core import cgutils, compiler, typed_passes, untyped_passes  # type: ignore[import-untyped]
from numba.core.codegen import CPUCodeLibrary  # type: ignore[import-untyped]
from numba.core.compiler_lock import global_compiler_lock  # type: ignore[import-untyped]
from numba.core.compiler_machinery import PassManager  # type: ignore[import-untyped]
from numba.core.registry import cpu_target  # type: ignore[import-untyped]
from numba.core.runtime import rtsys  # type: ignore[import-untyped]
from numba.cpython import mathimpl, numbers, rangeobj, tupleobj  # noqa: F401  # type: ignore[import-untyped]
from numba.extending import intrinsic  # type: ignore[import-untyped]

_PASSES = (
    untyped_passes.TranslateByteCode,
    untyped_passes.FixupArgs,
    untyped_passes.IRProcessing,
    untyped_passes.ReconstructSSA,
    typed_passes.NopythonTypeInference,
    typed_passes.PreLowerStripPhis,
    typed_passes.IRLegalization,
    typed_passes.NativeLowering,
)


@dataclass(frozen=True)
class Lowered:
    """A function in LLVM IR: `i32 name(result*, error**, ...)`, as Numba's functions are."""

    name: str
    returns: Any  # a Numba type
    text: str     # of a module that defines it and all that it calls


def lower(fn: Callable[..., Any], arguments: Sequence[Any]) -> Lowered:
    """`fn` for arguments of these Numba types. Pointers among them must not overlap."""
    flags = compiler.Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.noalias = True
    flags.error_model = "numpy"
    with global_compiler_lock, _numbers_alone():
        context, typing = cpu_target.target_context, cpu_target.typing_context
        context.refresh()
        library = _Library(context.codegen(), fn.__name__)
        found = compiler.compile_extra(
            typing, context, fn, tuple(arguments), None, flags, {}, library=library,
            pipeline_class=_Pipeline,
        )  # fmt: skip
        return Lowered(found.fndesc.llvm_func_name, found.fndesc.restype, library.linked())


@contextmanager
def _numbers_alone() -> Iterator[None]:
    """Inside, Numba does not load what it knows of arrays, in 0.3 s, at the first miss.

    Lowering needs numbers, ranges and tuples: the modules imported above.
    """
    context = cpu_target.target_context

    def load() -> None:
        rtsys.initialize(context)
        context.install_registry(mathimpl.registry)   # abs of a float is in it

    outer = vars(context).get("load_additional_registries")
    context.load_additional_registries = load
    try:
        yield
    finally:
        if outer is None:
            del context.load_additional_registries


def inlined(fn: Callable[..., Any]) -> Any:
    """`fn` for use in functions that are lowered: it becomes part of them."""
    return by_type(fn.__name__, len(inspect.signature(fn).parameters), lambda *arguments: fn)


def by_type(name: str, arity: int, choose: Callable[..., Callable[..., Any]]) -> Any:
    """The function that `choose` gives for the Numba types it is called with, inlined."""
    known: dict[Any, Lowered] = {}

    def called(context: Any, *arguments: Any) -> Any:
        if arguments not in known:
            known[arguments] = lower(choose(*arguments), arguments)
        lowered = known[arguments]

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            context.active_code_library.include(lowered)
            kind = context.call_conv.get_function_type(signature.return_type, signature.args)
            callee = cgutils.get_or_insert_function(builder.module, kind, lowered.name)
            _, result = context.call_conv.call_function(
                builder, callee, signature.return_type, signature.args, args
            )
            return result

        return lowered.returns(*arguments), generate

    return of_arity(name, arity, called)


def of_arity(name: str, arity: int, called: Callable[..., Any]) -> Any:
    """The Numba intrinsic that `called(context, *operands)` defines, for so many operands."""
    fixed: dict[int, Callable[..., Any]] = {
        1: lambda context, x: called(context, x),
        2: lambda context, x, y: called(context, x, y),
        3: lambda context, x, y, z: called(context, x, y, z),
        4: lambda context, x, y, z, w: called(context, x, y, z, w),
    }
    fixed[arity].__name__ = name
    return intrinsic(fixed[arity])


class _Library(CPUCodeLibrary):  # type: ignore[misc]
    """Collects the IR of one function and of what it calls."""

    def __init__(self, codegen: Any, name: str) -> None:
        super().__init__(codegen, name)
        self._text = ""
        self._called: dict[str, Lowered] = {}

    def add_ir_module(self, module: ir.Module) -> None:
        self._text = str(module)

    def include(self, lowered: Lowered) -> None:
        """Define `lowered` in this module too."""
        self._called[lowered.name] = lowered

    def linked(self) -> str:
        """The module, with what it calls linked in, for inlining."""
        context = llvm.create_context()
        module = llvm.parse_assembly(self._text, context)
        for lowered in self._called.values():
            module.link_in(llvm.parse_assembly(lowered.text, context))
        inner = {name for lowered in self._called.values() for name in _defined(lowered.text)}
        for function in module.functions:
            if function.name in inner:
                function.linkage = llvm.Linkage.linkonce_odr
                function.add_function_attribute("alwaysinline")
        return str(module)


class _Pipeline(compiler.CompilerBase):  # type: ignore[misc]
    """From bytecode to IR by way of types, without rewrites that generated text has no use for."""

    def define_pipelines(self) -> list[Any]:
        passes = PassManager("tapeflow")
        for each in _PASSES:
            passes.add_pass(each, each.__name__)
        passes.finalize()
        return [passes]


def _defined(text: str) -> list[str]:
    return re.findall(r'^define [^@\n]*@"?([^"(\s]+)"?\(', text, flags=re.MULTILINE)
