"""Settings: every environment name that tapeflow reads, and what can be set from Python.

| name | meaning | default |
|---|---|---|
| TAPEFLOW_CACHE_DIR | folder of compiled code | the platform's user cache folder |
| TAPEFLOW_JIT | 0: compiled functions are interpreted node by node | 1 |
| TAPEFLOW_DUMP | folder into which generated source is written | none |
| TAPEFLOW_CHECK_NUMERICS | 1: `tf.debug.check_numerics()` from the start | 0 |
| TAPEFLOW_NUM_THREADS | threads of programs | NUMBA_NUM_THREADS, else this process's cores |
| TAPEFLOW_JOB_TOKEN | secret that all ranks of a job share | none |
| TAPEFLOW_TIMEOUT | seconds that a rank waits for its peers, a download for its server | 60 |
| TAPEFLOW_DATA_DIR | folder of downloaded data sets | `data` beside the cache folder |
"""

from __future__ import annotations

import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, overload

from tapeflow import arguments
from tapeflow.errors import ArgumentError, user_frame, warn

__all__ = [
    "cache_dir",
    "data_dir",
    "matmul_precision",
    "num_threads",
    "policy",
    "set_num_threads",
    "warn_on_float64",
]

_THREADS = ("TAPEFLOW_NUM_THREADS", "NUMBA_NUM_THREADS")

POLICIES = ("float32", "mixed_bfloat16")
PRECISIONS = ("float32", "bfloat16_6x", "bfloat16_3x", "bfloat16")

_threads: int | None = None


class Numerics(NamedTuple):
    """The settings that are compiled into programs: another one means another trace."""

    matmul_precision: str = "float32"
    policy: str = "float32"


class _Here(threading.local):
    """What stands for the settings in a thread that traces again what was traced under others."""

    numerics: Numerics | None = None


_numerics = Numerics()
_here = _Here()


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tapeflow"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tapeflow"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tapeflow"


def cache_dir() -> Path:
    """The folder of compiled code."""
    named = os.environ.get("TAPEFLOW_CACHE_DIR")
    return Path(named) if named else _user_cache() / "code"


def data_dir() -> Path:
    """The folder where downloaded data sets are kept."""
    named = os.environ.get("TAPEFLOW_DATA_DIR")
    return Path(named) if named else _user_cache() / "data"


def jit_enabled() -> bool:
    """Whether compiled functions run as machine code; if not they are interpreted node by node.

    Raises: ArgumentError if TAPEFLOW_JIT is neither 0 nor 1.
    """
    return _switch_in("TAPEFLOW_JIT", "1")


def numerics_checked() -> bool:
    """Whether NaN and infinities are errors from the start.

    Raises: ArgumentError if TAPEFLOW_CHECK_NUMERICS is neither 0 nor 1.
    """
    return _switch_in("TAPEFLOW_CHECK_NUMERICS", "0")


def _switch_in(name: str, default: str) -> bool:
    """Whether an environment variable says 1."""
    text = os.environ.get(name) or default
    if text not in ("0", "1"):
        raise _not_in(name, text, "0 or 1")
    return text == "1"


def dump_dir() -> Path | None:
    """The folder into which generated source is written, if any."""
    named = os.environ.get("TAPEFLOW_DUMP")
    return Path(named) if named else None


def job_token() -> str:
    """The secret that all ranks of a job share; empty where none was given."""
    return os.environ.get("TAPEFLOW_JOB_TOKEN", "")


def timeout() -> float:
    """Seconds that a rank waits for its peers before it names who is missing, and that a download
    waits for its server.

    Raises: ArgumentError if TAPEFLOW_TIMEOUT is no number.
    """
    return _number_in("TAPEFLOW_TIMEOUT", "60")


def num_threads() -> int:
    """How many threads compiled programs use.

    Raises: ArgumentError if TAPEFLOW_NUM_THREADS or NUMBA_NUM_THREADS is no whole number of at
        least 1.
    """
    global _threads
    if _threads is None:  # read once: every call of a compiled program asks
        name = next((n for n in _THREADS if os.environ.get(n)), None)
        _threads = cores() if name is None else _count_in(name)
    return _threads


def _count_in(name: str) -> int:
    """The whole number of at least 1 that an environment variable holds."""
    number = _number_in(name, "")
    if number < 1 or number != int(number):
        raise _not_in(name, os.environ[name], "a whole number of at least 1")
    return int(number)


def _number_in(name: str, default: str) -> float:
    """The number that an environment variable holds."""
    text = os.environ.get(name, default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _not_in(name, text, "a number")
    return number


def _not_in(name: str, text: str, wanted: str) -> ArgumentError:
    return ArgumentError(
        name, got=f"{name}={text}", why=f"it must hold {wanted}", fix=f"unset it, or set {wanted}"
    )


def cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_num_threads(count: int | None) -> None:
    """Let compiled programs use `count` threads; None goes back to the default.

    Raises: ArgumentError unless `count` is at least 1.
    """
    global _threads
    _threads = None if count is None else _at_least_one("set_num_threads", "count", count)


def _at_least_one(op: str, name: str, given: object) -> int:
    count = arguments.integer(op, name, given)
    if count < 1:
        raise ArgumentError(
            op, got=f"{name}={count}", why="there is at least one thread", fix="give 1 or more"
        )
    return count



def numerics() -> Numerics:
    """The settings that are compiled into programs."""
    return _here.numerics or _numerics


@contextmanager
def as_traced(traced: Numerics) -> Iterator[None]:
    """Inside, in this thread, the settings are those of an earlier trace."""
    before, _here.numerics = _here.numerics, traced
    try:
        yield
    finally:
        _here.numerics = before


class Setting:
    """A setting that was just made. In a `with` statement it lasts as long as the block."""

    def __init__(self, restore: Callable[[], object]) -> None:
        self._restore = restore

    def __enter__(self) -> Setting:
        return self

    def __exit__(self, *exc: object) -> None:
        self._restore()


def _set(new: Numerics) -> Setting:
    global _numerics
    made = Setting(functools.partial(_set, numerics()))
    if _here.numerics is None:
        _numerics = new
    else:
        _here.numerics = new
    return made


@overload
def matmul_precision(mode: None = None) -> str: ...


@overload
def matmul_precision(mode: str) -> Setting: ...


def matmul_precision(mode: str | None = None) -> str | Setting:
    """Set how exact products of float32 must be at least in compiled functions, of matrices and in
    convolutions; without argument, what is set. `with` a mode, it holds inside the block, for all
    threads.

    Args:
        mode: "float32" multiplies as it is, and is the default. "bfloat16" rounds both factors to
            8 bits. "bfloat16_3x" and "bfloat16_6x" write them as sums of two or three such numbers
            and add up three or six products: about 16 bits, and nearly those of float32. A CPU
            that gains nothing by a mode computes with more bits than it asks for. Eager products
            are always exact.

    Raises: ArgumentError if there is no such mode.

    >>> with matmul_precision("bfloat16"):
    ...     matmul_precision()
    'bfloat16'
    >>> matmul_precision()
    'float32'
    """
    if mode is None:
        return numerics().matmul_precision
    chosen = _one_of("matmul_precision", "mode", mode, PRECISIONS)
    return _set(numerics()._replace(matmul_precision=chosen))


@overload
def policy(name: None = None) -> str: ...


@overload
def policy(name: str) -> Setting: ...


def policy(name: str | None = None) -> str | Setting:
    """Set in which dtypes layers compute; without argument, what is set. `with` a policy, it holds
    inside the block, for all threads.

    Args:
        name: "float32" computes in the dtype of the input, and is the default. "mixed_bfloat16"
            keeps variables in float32 and lets Dense, also inside MultiHeadAttention, and layers of
            convolutions compute in bfloat16, which they give; recurrent layers and the losses
            compute in float32.

    Raises: ArgumentError if there is no such policy.
    """
    if name is None:
        return numerics().policy
    chosen = _one_of("policy", "name", name, POLICIES)
    return _set(numerics()._replace(policy=chosen))


def _one_of(op: str, name: str, given: object, known: tuple[str, ...]) -> str:
    if not isinstance(given, str) or given not in known:
        raise ArgumentError(
            op,
            got=f"{name}={given!r}",
            why=f"there is no such {name}",
            fix="use one of " + ", ".join(known),
        )
    return given


# ---- float64


class Float64Warning(UserWarning):
    """A tensor is of float64 that nobody asked for by name."""


_warned: set[tuple[str, int]] | None = None  # the lines that were warned of; None does not warn


def warn_on_float64(on: bool = True) -> Setting:
    """Warn at the user's line where a float64 tensor comes of a NumPy array, or of a float64 tensor
    that meets another; once a line. `with` it, it holds inside the block, for all threads.

    What is asked for by a dtype is no surprise: tf.zeros(3, dtype="float64") does not warn.

    Raises: ArgumentError unless `on` is True or False.
    """
    global _warned
    is_on = arguments.switch("warn_on_float64", "on", on)
    before, _warned = _warned, set() if is_on else None
    return Setting(functools.partial(_keep_warned, before))


def _keep_warned(before: set[tuple[str, int]] | None) -> None:
    global _warned
    _warned = before


def float64_arises(op: str, why: str) -> None:
    """Warn that there is a float64 tensor, if somebody wants to know."""
    if _warned is None:
        return
    file, line, _ = user_frame() or ("", 0, "")
    if (file, line) not in _warned:
        _warned.add((file, line))
        warn(
            f"{op}: {why}; cast it where it comes in, x.astype('float32') or "
            "tf.cast(x, tf.float32), if float64 is not meant",
            Float64Warning,
        )
