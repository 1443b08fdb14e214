"""What a rank of `launch(fn)` runs: find the function, call it, leave its result."""
from __future__ import annotations

import importlib
import os
import runpy
import sys
from functools import reduce
from pathlib import Path

import msgpack  # type: ignore[import-untyped]

from tapeflow.distributed.call import plain

_RUN_NAME = "__tapeflow_rank__"   # not __main__: a script's own start must not run again


def _main(folder: Path) -> None:
    source, name, args, path = msgpack.unpackb((folder / "call").read_bytes())
    sys.path[:] = path
    if source.endswith(".py"):
        scope = runpy.run_path(source, run_name=_RUN_NAME)
        fn = reduce(getattr, name.split(".")[1:], scope[name.split(".")[0]])
    else:
        fn = reduce(getattr, name.split("."), importlib.import_module(source))
    result = fn(*args)
    (folder / os.environ["RANK"]).write_bytes(plain("result", result))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
