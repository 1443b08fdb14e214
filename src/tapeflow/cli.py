"""The command line: `tapeflow COMMAND`. A command's module is loaded only when it is called."""
from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module, metadata

from tapeflow.errors import TapeflowError

# Each module has add_arguments(parser) and run(arguments) -> exit code.
COMMANDS = {
    "bench": ("tapeflow.bench", "measure this machine, beside its own limits"),
    "cache": ("tapeflow.jit.cache_command", "show or delete the compiled code on disk"),
    "demo": ("tapeflow.demo", "train a small net on handwritten digits, and look at the result"),
    "doctor": ("tapeflow.doctor", "look whether all that tapeflow needs is here"),
    "launch": ("tapeflow.distributed.launcher", "run a program as several ranks of one job"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code of the process."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="tapeflow", description="Run and look after tapeflow.")
    parser.add_argument("--version", action="version", version=metadata.version("tapeflow"))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if argv[:1] == [name]:
            import_module(module).add_arguments(command)
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:   # the command's own usage helps more than the list of commands
        commands.choices[arguments.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        return int(import_module(COMMANDS[arguments.command][0]).run(arguments))
    except (TapeflowError, OSError) as error:
        print(f"tapeflow {arguments.command}: {error}", file=sys.stderr)
        return 1
