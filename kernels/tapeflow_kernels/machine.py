"""Native code from LLVM IR text, by llvmlite alone: assemble, load, describe the host."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]

_lock = threading.Lock()  # LLVM's global context and the linker are not safe to share
_libraries = itertools.count()
_loaded: list[Any] = []  # a resource tracker that dies takes its code with it


@dataclass(frozen=True)
class Host:
    """A CPU as the emitters see it: what keys a cache of machine code and picks tiles.

    `cpu` and `features` are LLVM's names; a vector register has `vector_bytes` bytes and there
    are `registers` of them.
    """

    cpu: str
    features: str
    vector_bytes: int
    registers: int


BASELINE = Host("x86-64", "", vector_bytes=16, registers=16)
AVX512 = Host("skylake-avx512", "-prefer-256-bit", vector_bytes=64, registers=32)
AVX2 = Host("haswell", "+avx2,+fma", vector_bytes=32, registers=16)


@functools.cache
def host() -> Host:
    """The CPU this process runs on."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    flags = llvm.get_host_cpu_features()
    # Some CPUs with 512-bit registers ask for 256-bit code; long loops are faster without.
    if flags.get("avx512f"):
        flags["prefer-256-bit"] = False
    features = ",".join(("+" if on else "-") + name for name, on in sorted(flags.items()))
    vector_bytes, registers = _vectors(flags)
    return Host(llvm.get_host_cpu_name(), features, vector_bytes, registers)


def assemble(ir: str, target: Host | None = None, *, optimise: bool = True) -> bytes:
    """The relocatable object for a module of LLVM IR, compiled for `target` (this host if None).

    Without `optimise` the text goes straight to code generation, which suits text that already
    says which vectors live in which registers: the optimiser's passes take twice its time.
    Raises: RuntimeError if the text does not parse or does not verify.
    """
    with _lock:
        machine = _target_machine(target or host())
        return bytes(machine.emit_object(_module(ir, machine, optimise)))


def assembly(ir: str, target: Host | None = None, *, optimise: bool = True) -> str:
    """The assembly text of what `assemble` would give, for tests and for reading."""
    with _lock:
        machine = _target_machine(target or host())
        return str(machine.emit_assembly(_module(ir, machine, optimise)))


def load(code: bytes, symbols: Iterable[str]) -> dict[str, int]:
    """Addresses of `symbols` in an object from `assemble`, now linked into this process for good.

    The code may call whatever the process exports, such as `expf` or `memcpy`.
    Raises: RuntimeError if a symbol is missing.
    """
    names = tuple(symbols)
    with _lock:
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name in names:
            builder.export_symbol(name)
        library = builder.link(_linker(), f"tapeflow_{next(_libraries)}")
        _loaded.append(library)
        return {name: library[name] for name in names}


def _vectors(flags: dict[str, bool]) -> tuple[int, int]:
    if flags.get("avx512f"):
        return 64, 32
    if flags.get("avx2") and flags.get("fma"):
        return 32, 16
    return (16, 32) if flags.get("neon") else (16, 16)


@functools.cache
def _target_machine(target: Host) -> Any:
    host()  # initialises LLVM
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=3
    )


@functools.cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(_target_machine(host()))


def _module(ir: str, machine: Any, optimise: bool) -> Any:
    module = llvm.parse_assembly(ir, llvm.create_context())
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    if optimise:
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.loop_vectorization = True
        options.slp_vectorization = True
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    return module
