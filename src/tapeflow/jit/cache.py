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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import tapeflow_kernels
from tapeflow import config
from tapeflow.errors import warn
from tapeflow.jit import codegen
from tapeflow.jit.codegen import cpu
from tapeflow.jit.interrupts import held_back
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
_unwritable: set[str] = set()  # folders that were warned of
_addresses: dict[Code, int] = {}


def addresses(codes: Iterable[Code]) -> dict[Code, int]:
    """Where the machine code of each lies in this process. What is not known yet is compiled, on
    several threads."""
    wanted = dict.fromkeys(codes)
    missing = [code for code in wanted if code not in _addresses]
    # what Numba lowers comes last: that is done here, while other threads generate code
    missing.sort(key=lambda code: code.language == "python")
    keys = [_key(code.language, code.symbol, *code.parameters) for code in missing]
    begins = [functools.partial(_begin, code) for code in missing]
    if missing:
        compiled = _fetch(dict(zip(keys, begins, strict=True)))
        at = machine.load_all(compiled, [code.symbol for code in missing])
        _addresses.update((code, at[code.symbol]) for code in missing)
    return {code: _addresses[code] for code in wanted}


def holds(code: Code) -> bool:
    """Whether the machine code is here or on disk already."""
    if code in _addresses:
        return True
    key = _key(code.language, code.symbol, *code.parameters)
    return (config.cache_dir() / key[:2] / f"{key}.o").exists()


def driver_addresses() -> dict[str, int]:
    """The functions of the driver."""
    text = driver.source()
    compiled = _fetch({_key("driver", text): lambda: machine.Assembly(text)})
    return machine.load_all(compiled, driver.SYMBOLS)


def keep(symbol: str, begin: Callable[[], machine.Assembly]) -> bytes:
    """The code of a loop of eager code, of this symbol; `begin` where there is none yet."""

    def begun() -> machine.Assembly:
        with held_back():
            return begin()

    (compiled,) = _fetch({_key("elements", symbol): begun})
    return compiled


def _begin(code: Code) -> machine.Assembly:
    if code.language == "python":
        return cpu.begin(code)
    return machine.Assembly(code.text, optimise=False)


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


def _fetch(wanted: Mapping[str, Callable[[], machine.Assembly]]) -> list[bytes]:
    """The code of each entry: from disk, or compiled from what its function begins."""
    paths = {key: config.cache_dir() / key[:2] / f"{key}.o" for key in wanted}
    codes = {key: _read(path) for key, path in paths.items()}
    missing = {key: begin for key, begin in wanted.items() if codes[key] is None}
    statistics.found += len(wanted) - len(missing)
    if missing:
        start = time.perf_counter()
        for key, code in zip(missing, _compile([*missing.values()]), strict=True):
            _write(paths[key], code)
            codes[key] = code
        statistics.compiled += len(missing)
        statistics.seconds += time.perf_counter() - start
    return [code for code in codes.values() if code is not None]


def _compile(begins: Sequence[Callable[[], machine.Assembly]]) -> Iterator[bytes]:
    """The code of each, in order: begun in this thread, finished in any of the threads allowed."""
    threads = min(config.num_threads(), len(begins))
    if threads == 1:
        yield from (begin().finish() for begin in begins)
        return
    from concurrent.futures import ThreadPoolExecutor  # 10 ms that a warm start does without

    pool = ThreadPoolExecutor(threads, thread_name_prefix="tapeflow-compiler")
    try:
        jobs = [pool.submit(begin().finish) for begin in begins]
        yield from (job.result() for job in jobs)
    finally:
        pool.shutdown(cancel_futures=True)


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
        folder = str(path.parent.parent)
        if folder not in _unwritable:
            _unwritable.add(folder)
            warn(
                f"compiled code cannot be kept in {folder} ({error}): it will be compiled again in "
                "the next process. Set TAPEFLOW_CACHE_DIR to a folder that can be written.",
                CacheWarning,
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
