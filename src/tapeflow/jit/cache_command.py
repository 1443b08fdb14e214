"""`tapeflow cache`: how much compiled code is kept on disk, and how to be rid of it."""

from __future__ import annotations

import argparse
import contextlib

from tapeflow import config
from tapeflow.jit import cache


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `tapeflow cache`."""
    parser.add_argument(
        "action",
        choices=("info", "clear"),
        help="info: say where it is and what it takes; clear: delete it",
    )


def usage() -> tuple[int, int]:
    """The number of entries on disk, and their bytes."""
    sizes = []
    for path in cache.entries():
        with contextlib.suppress(FileNotFoundError):  # another process has just deleted it
            sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


def run(arguments: argparse.Namespace) -> int:
    """Show or delete the entries."""
    count, nbytes = usage()
    if arguments.action == "info":
        print(f"folder   {config.cache_dir()}\nentries  {count:,}\nbytes    {nbytes:,}")
    else:
        print(f"deleted {cache.clear():,} entries, {nbytes:,} bytes, in {config.cache_dir()}")
    return 0
