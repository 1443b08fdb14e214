"""Machine code: in memory for this process, on disk for the next.

An entry is named by a digest of all that its code depends on: its symbol (which is made of a digest
of what it does), parameter types, CPU name and features, the versions of the compilers, and what
writes code. It holds a digest of its name and its code, so that a damaged one, or one that lies
under another's name, is compiled anew; it is written under another name and renamed, so that a
reader never sees half of it and processes need no lock. A folder that cannot be written is reported
once and done without.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import tapeflow_kernels
from tapeflow import config
from tapeflow.jit import codegen
from tapeflow.jit.codegen import cpu
from tapeflow.jit.kernel import Code
from tapeflow_kernels import machine
from tapeflow_kernels.cpu import driver

_MAGIC = b"tapeflow code 2\n"
_DIGEST = 32
_LIMIT = 512 * 2**20  # bytes of the folder; above it the entries unused for longest go


class CacheWarning(UserWarning):
    """The folder of compiled code cannot be used; programs are compiled anew in each process."""


@dataclass
class Statistics:
    """What this process has compiled and found, and how long compiling took."""

    compiled: int = 0
    found: int = 0
    seconds: float = 0.0


statistics = Statistics()
_addresses: dict[Code, int] = {}


def address(code: Code) -> int:
    """Where the machine code of `code` lies in this process; compiled unless it is known."""
    if code not in _addresses:
        compiled = _fetch(
            _key(code.language, code.symbol, *code.parameters),
            functools.partial(_compile, code),
        )
        _addresses[code] = machine.load(compiled, [code.symbol])[code.symbol]
    return _addresses[code]


def driver_addresses() -> dict[str, int]:
    """The functions of the driver."""
    text = driver.source()
    return machine.load(
        _fetch(_key("driver", text), lambda: machine.assemble(text)), driver.SYMBOLS
    )


def _compile(code: Code) -> bytes:
    if code.language == "python":
        return cpu.compile_python(code)
    return machine.assemble(code.text, optimise=False)


@functools.cache
def _toolchain() -> str:
    host = machine.host()
    versions = [f"{name} {metadata.version(name)}" for name in ("tapeflow", "numba", "llvmlite")]
    return "\n".join([host.cpu, host.features, *versions, _emitters()])


def _emitters() -> str:
    """A digest of what writes code, so that a symbol names the code of one state of it."""
    digest = hashlib.sha256()
    for package in (tapeflow_kernels, codegen):
        for path in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _key(*parts: str) -> str:
    digest = hashlib.sha256(_toolchain().encode())
    for part in parts:
        digest.update(f"\n{len(part)}\n{part}".encode())
    return digest.hexdigest()


def _fetch(key: str, compile_it: Callable[[], bytes]) -> bytes:
    path = config.cache_dir() / key[:2] / f"{key}.o"
    code = _read(path)
    if code is not None:
        statistics.found += 1
        return code
    start = time.perf_counter()
    code = compile_it()
    statistics.compiled += 1
    statistics.seconds += time.perf_counter() - start
    _write(path, code)
    return code


def _read(path: Path) -> bytes | None:
    """The code in `path`; None if there is none, or it is not whole, or another entry's."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[len(_MAGIC) + _DIGEST :]
    whole = data.startswith(_MAGIC) and data[len(_MAGIC) :][:_DIGEST] == _digest(path, body)
    return body if whole else None


def _digest(path: Path, code: bytes) -> bytes:
    """What shows that `code` is whole, and belongs into this entry."""
    return hashlib.sha256(path.name.encode() + b"\n" + code).digest()


def _write(path: Path, code: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + _digest(path, code) + code)
            os.replace(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        _trim_once()
    except OSError as error:
        _warn_once(str(path.parent.parent), str(error))


@functools.cache
def _warn_once(folder: str, why: str) -> None:
    warnings.warn(
        f"compiled code cannot be kept in {folder} ({why}): it will be compiled again in the "
        "next process. Set TAPEFLOW_CACHE_DIR to a folder that can be written.",
        CacheWarning,
        stacklevel=2,
    )


def entries() -> Iterator[Path]:
    """The files of the cache on disk."""
    return config.cache_dir().glob("??/*.o")


@functools.cache
def _trim_once() -> None:
    """Delete what was unused for longest, until the folder is within its limit."""
    known = sorted(_sizes(), key=lambda entry: entry[1])
    excess = sum(size for _, _, size in known) - _LIMIT
    for path, _, size in known:
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _sizes() -> Iterator[tuple[Path, float, int]]:
    """Entries, when they were last used, and their bytes."""
    for path in entries():
        try:
            stat = path.stat()
        except FileNotFoundError:  # another process has trimmed it
            continue
        yield path, stat.st_atime, stat.st_size


def clear() -> int:
    """Delete the cache on disk; gives the number of entries that were there."""
    found = list(entries())
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)
