"""`launch(fn)`: a function as several ranks, from a notebook cell or a program.

The function travels as the place where its text is, its arguments and results as msgpack.
"""
from __future__ import annotations

import inspect
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]

from tapeflow import config
from tapeflow.distributed.launcher import Plan, environments, free_port, new_token
from tapeflow.distributed.supervise import Ranks
from tapeflow.errors import ArgumentError, DistributedError


def launch(fn: Callable[..., Any], nproc: int = 2, args: Sequence[Any] = ()) -> list[Any]:
    """[fn(*args) of each rank], each in a fresh process of this host.

    Args:
        fn: a function of a module, of the running script, or of a notebook cell; the last must
            itself import what it uses.
        args: plain values: numbers, strings, lists, dicts. So must the results be.

    Raises: DistributedError if a rank fails; its traceback has then been printed.
    """
    if nproc < 1:
        raise ArgumentError("launch", got=f"nproc={nproc}", why="there must be a rank",
                            fix="give at least 1")
    with tempfile.TemporaryDirectory(prefix="tapeflow-") as name:
        folder = Path(name)
        call = [_source(fn, folder), fn.__qualname__, list(args), sys.path]
        (folder / "call").write_bytes(plain("args", call))
        plan = Plan(nproc, port=free_port(), token=new_token())
        command = [sys.executable, "-m", "tapeflow.distributed.called", name]
        with Ranks(command, environments(plan, os.environ, config.cores()),
                   sys.stdout.write, sys.stderr.write) as ranks:
            code = ranks.wait()
        if code:
            raise DistributedError("launch", got=f"{fn.__qualname__}, {nproc} ranks",
                                   why=f"a rank ended with exit code {code}",
                                   fix="see its traceback above")
        return [msgpack.unpackb((folder / str(rank)).read_bytes()) for rank in range(nproc)]


def _source(fn: Callable[..., Any], folder: Path) -> str:
    """The module, or the file, in which a rank finds `fn`."""
    if "<" in fn.__qualname__:
        raise ArgumentError("launch", got=fn.__qualname__,
                            why="a rank cannot find a function that is made inside another",
                            fix="define it at the top of a module, script or cell")
    if fn.__module__ != "__main__":
        return fn.__module__
    script = inspect.getsourcefile(fn)
    if script is not None and Path(script).is_file():
        return str(Path(script).resolve())
    cell = folder / "cell.py"
    cell.write_text(textwrap.dedent(inspect.getsource(fn)))
    return str(cell)


def plain(what: str, value: object) -> bytes:
    """`value` as msgpack; raises ArgumentError if there is more in it than plain values."""
    try:
        return bytes(msgpack.packb(value))
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError("launch", got=f"{value!r:.200}",
                            why=f"the {what} cannot travel: {error}",
                            fix="use numbers, strings, lists and dicts, e.g. x.tolist()") from None
