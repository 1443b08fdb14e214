"""`tapeflow doctor`: whether tapeflow has what it needs here, and how to mend what it lacks."""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

import numpy as np

import tapeflow as tf
from tapeflow import config
from tapeflow.distributed import shared
from tapeflow.jit import cache_command
from tapeflow_kernels import machine

_NEEDED = (3, 11)
_LARGEST_HOST = 64  # ranks


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Without a `fix` it is well; an essential one must be."""

    subject: str
    said: str
    fix: str = ""
    is_essential: bool = False

    @property
    def is_wrong(self) -> bool:
        """Whether tapeflow cannot do its work like this."""
        return bool(self.fix) and self.is_essential

    def __str__(self) -> str:
        mark = "wrong" if self.is_wrong else "note" if self.fix else "ok"
        line = f"{mark:6}{self.subject:14}{self.said}"
        return f"{line}\n{'':20}fix: {self.fix}" if self.fix else line


def findings() -> Iterator[Finding]:
    """All that there is to say."""
    yield _python()
    yield from _packages()
    yield _processor()
    yield _compiler()
    yield _code_cache()
    yield _network()
    yield _shared_memory()


def _python() -> Finding:
    fix = "" if sys.version_info >= _NEEDED else "install Python 3.11 or newer"
    said = f"{platform.python_version()} on {platform.system()}, {sys.executable}"
    return Finding("Python", said, fix, is_essential=True)


def _packages() -> Iterator[Finding]:
    """What `pip install tapeflow` brings, then its extras."""
    yield Finding("tapeflow", metadata.version("tapeflow"))
    extras: defaultdict[str, list[str]] = defaultdict(list)
    for requirement in metadata.requires("tapeflow") or ():
        name = re.split(r"[^\w.-]", requirement)[0]
        if name != "tapeflow":   # the extra `all` is made of the others
            marked = re.search(r"""extra == ["'](\w+)["']""", requirement)
            extras[marked[1] if marked else ""].append(name)
    for name in extras.pop("", []):
        version = _version(name)
        yield Finding(name, version or "is not installed",
                      "" if version else f"pip install {name}", is_essential=True)
    for extra, names in extras.items():
        missing = [name for name in names if _version(name) is None]
        yield Finding(f"[{extra}]", f"not installed: {', '.join(missing)}" if missing else
                      ", ".join(f"{name} {_version(name)}" for name in names),
                      f"pip install 'tapeflow[{extra}]', if you want it" if missing else "")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> Finding:
    host = machine.host()
    return Finding("CPU", f"{host.cpu}, vectors of {8 * host.vector_bytes} bits, "
                          f"{config.num_threads()} threads of {os.cpu_count()} cores")


def _compiler() -> Finding:
    """Compile a function that was never compiled before, and run it."""
    number = float(np.random.default_rng().random())
    try:
        result = tf.jit(lambda x: tf.exp(x) + number)(tf.zeros(3, dtype=tf.float64)).numpy()
    except (RuntimeError, OSError, ImportError) as error:
        return Finding("compiler", f"fails: {error}",
                       "reinstall it: pip install --force-reinstall numba llvmlite", True)
    right = bool(np.allclose(result, 1 + number))
    return Finding("compiler", "works" if right else f"gives {result}, not {1 + number}",
                   "" if right else "report this, with the lines above", is_essential=True)


def _code_cache() -> Finding:
    folder = config.cache_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            count, nbytes = cache_command.usage()
    except OSError as error:
        return Finding("cache", f"{folder} cannot be written: {error.strerror}",
                       "set TAPEFLOW_CACHE_DIR to a folder that can, so that code is compiled once")
    return Finding("cache", f"{folder}: {count:,} entries, {nbytes:,} bytes")


def _network() -> Finding:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as error:
        return Finding("network", f"no connection over 127.0.0.1: {error}",
                       "allow connections of this host to itself; tapeflow launch needs them", True)
    return Finding("network", "connections over 127.0.0.1 work")


def _shared_memory() -> Finding:
    folder, needed = shared.folder(), shared.block_bytes(_LARGEST_HOST)
    free = shutil.disk_usage(folder).free
    return Finding("shared memory", f"{free:,} bytes are free in {folder}",
                   "" if free >= needed else
                   f"ranks of one host need up to {needed:,}; containers get more by --shm-size")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`tapeflow doctor` has no options."""


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; 1 if something essential is wrong."""
    wrong = 0
    for finding in findings():
        print(finding, flush=True)
        wrong += finding.is_wrong
    print("all is well" if not wrong else f"{wrong} of these must be mended")
    return int(wrong > 0)
