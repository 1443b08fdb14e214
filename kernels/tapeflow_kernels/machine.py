"""Native code from LLVM IR text, by llvmlite alone: assemble, load, describe the host."""

from __future__ import annotations

import ctypes
import functools
import itertools
import platform
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18

_lock = threading.Lock()  # the linker is not safe to share
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

    def has(self, feature: str) -> bool:
        """Whether `features` names this one as there."""
        return f"+{feature}" in self.features.split(",")


# CPUs that code can be made for on any machine, to read it and to test what they lack or have.
BASELINE = Host("x86-64", "", vector_bytes=16, registers=16)
AVX512 = Host("skylake-avx512", "-prefer-256-bit", vector_bytes=64, registers=32)
AVX512_BF16 = Host("cooperlake", "-prefer-256-bit,+avx512bf16,+f16c", vector_bytes=64, registers=32)
AMX = Host(
    "sapphirerapids",
    "-prefer-256-bit,+amx-bf16,+amx-tile,+avx512bf16,+f16c",
    vector_bytes=64,
    registers=32,
)
AVX2 = Host("haswell", "+avx2,+fma,+f16c", vector_bytes=32, registers=16)


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


class Assembly:
    """A module on its way to machine code. Making one checks the text; `finish` does the work, in
    any thread, while other threads finish others: each has an LLVM context and a target of its own.

    Without `optimise` the text goes straight to code generation, which suits text that already
    says which vectors live in which registers: the optimiser's passes take twice its time.
    Raises: RuntimeError if the text does not parse or does not verify.
    """

    def __init__(self, ir: str, target: Host | None = None, *, optimise: bool = True) -> None:
        self._machine = _target_machine(target or host())
        self._module = _module(ir, self._machine)
        self._builder = _pass_builder(self._machine) if optimise else None
        self._passes = self._builder.getModulePassManager() if self._builder else None
        self._error = llvm.ffi.OutputString()

    def finish(self) -> bytes:
        """The relocatable object; can be asked for once.

        Raises: RuntimeError if there is no code for the module.
        """
        try:
            return self._emitted(_unlocked())
        finally:
            # now, and in order: a collector of cycles might free the context before its module
            vars(self).clear()

    def _emitted(self, native: Any) -> bytes:
        if self._passes is not None:
            native.LLVMPY_RunNewModulePassManager(self._passes, self._module, self._builder)
        buffer = native.LLVMPY_TargetMachineEmitToMemory(
            self._machine, self._module, 1, self._error
        )
        if not buffer:
            raise RuntimeError(str(self._error))
        try:
            start = native.LLVMPY_GetBufferStart(buffer)
            return ctypes.string_at(start, native.LLVMPY_GetBufferSize(buffer))
        finally:
            native.LLVMPY_DisposeMemoryBuffer(buffer)


@functools.cache
def amx_is_permitted() -> bool:
    """Whether the operating system lets this process use the tile registers; asked for once.

    Source: Linux, Documentation/arch/x86/xstate.rst.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    system = ctypes.CDLL(None, use_errno=True)
    return int(system.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)) == 0


def assemble(ir: str, target: Host | None = None, *, optimise: bool = True) -> bytes:
    """The relocatable object for a module of LLVM IR, compiled for `target` (this host if None).

    Raises: RuntimeError if the text does not parse or does not verify.
    """
    return Assembly(ir, target, optimise=optimise).finish()


def assembly(ir: str, target: Host | None = None, *, optimise: bool = True) -> str:
    """The assembly text of what `assemble` would give, for tests and for reading."""
    machine = _target_machine(target or host())
    module = _module(ir, machine)
    if optimise:
        builder = _pass_builder(machine)
        builder.getModulePassManager().run(module, builder)
    return str(machine.emit_assembly(module))


def load(code: bytes, symbols: Iterable[str]) -> dict[str, int]:
    """Addresses of `symbols` in an object from `assemble`, now linked into this process for good.

    The code may call whatever the process exports, such as `expf` or `memcpy`.
    Raises: RuntimeError if a symbol is missing.
    """
    return load_all([code], symbols)


def load_all(objects: Iterable[bytes], symbols: Iterable[str]) -> dict[str, int]:
    """As load, of several objects: 98 of them in a third of the time."""
    names = tuple(symbols)
    with _lock:
        builder = llvm.JITLibraryBuilder().add_current_process()
        for code in objects:
            builder.add_object_img(code)
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


def _target_machine(target: Host) -> Any:
    host()  # initialises LLVM
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=3
    )


@functools.cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(_target_machine(host()))


def _module(ir: str, machine: Any) -> Any:
    module = llvm.parse_assembly(ir, llvm.create_context())
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    module.verify()
    return module


@functools.cache
def _unlocked() -> Any:
    """What `finish` calls, without llvmlite's lock, which lets one thread in at a time: LLVM asks
    for none where threads share no context. 32 kernels on 2 cores: 1.09 -> 0.64 s."""
    library = ctypes.CDLL(llvm.ffi.lib._name)
    for name in (
        "LLVMPY_RunNewModulePassManager",
        "LLVMPY_TargetMachineEmitToMemory",
        "LLVMPY_GetBufferStart",
        "LLVMPY_GetBufferSize",
        "LLVMPY_DisposeMemoryBuffer",
    ):
        known, own = getattr(llvm.ffi.lib, name), getattr(library, name)
        own.argtypes, own.restype = known.argtypes, known.restype
    return library


def _pass_builder(machine: Any) -> Any:
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    return llvm.create_pass_builder(machine, options)
