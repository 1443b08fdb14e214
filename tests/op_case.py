"""What a row of op_cases.py is: an operation, its NumPy meaning, inputs that fit, and that do not.

Inputs are written as types: `f[2,3]` is any float, `f+[3]` positive, `f01[3]` between 0 and 1,
`c[2]` complex, `i32[4]` small integers, `bool[2]`. An array stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapeflow.dtypes import OF_SHORT
from tapeflow.errors import (
    DTypeError,
    ShapeError,
    TapeflowError,
)

Inputs = Sequence[Any]


@dataclass(frozen=True)
class Bad:
    """Inputs that the op refuses, and with which error."""

    error: type[TapeflowError]
    inputs: Inputs
    kwargs: dict[str, Any] | None = None  # by default those of the case


@dataclass(frozen=True)
class Case:
    """`fn(*inputs, **kwargs)` gives what `ref` gives."""

    fn: Callable[..., Any]
    ref: Callable[..., Any]
    inputs: Inputs
    kwargs: dict[str, Any] = field(default_factory=dict)
    bad: Sequence[Bad] = ()
    smooth: bool = True  # whether floating inputs are differentiated
    traceable: bool = True  # whether all inputs can be symbols
    name: str = ""

    def __str__(self) -> str:
        name = self.name or getattr(self.fn, "__name__", "op")
        given = "-".join(i if isinstance(i, str) else "array" for i in self.inputs)
        extra = ",".join(f"{k}={v}" for k, v in self.kwargs.items())
        return f"{name}({given}{';' if extra else ''}{extra})"


_TYPE = re.compile(r"(f01|f\+|f|\w+)\[([\d,]*)\]")


def sample(text: Any, floating: Any, random: np.random.Generator) -> Any:
    """An array of the type `text`, its floats in `floating`; anything else as it is."""
    matched = _TYPE.fullmatch(text) if isinstance(text, str) else None
    if matched is None:
        return (
            text.astype(floating)
            if isinstance(text, np.ndarray) and text.dtype == np.float64
            else text
        )
    kind, sizes = matched.groups()
    shape = tuple(int(n) for n in sizes.split(",") if n)
    if kind == "c":
        parts = random.uniform(-2.0, 2.0, (2, *shape))
        return np.asarray(parts[0] + 1j * parts[1]).astype(np.result_type(floating, np.complex64))
    ranges = {"f": (-2.0, 2.0), "f+": (0.3, 3.0), "f01": (0.05, 0.95)}
    if kind in ranges:
        return random.uniform(*ranges[kind], shape).astype(floating)
    dtype = OF_SHORT[kind]
    if kind == "bool":
        return random.integers(0, 2, shape).astype(bool)
    return random.integers(1 if kind[0] == "u" else -4, 6, shape).astype(dtype)


I2 = [Bad(DTypeError, ["i32[2]"], {}), Bad(DTypeError, ["bool[2]"], {})]
APART = [
    Bad(ShapeError, ["f[2]", "f[3]"]),
    Bad(DTypeError, ["f[2]", "i32[2]"]),
    Bad(DTypeError, [np.zeros(2, np.uint64), np.zeros(2, np.int64)]),
]


def unary(
    fn: Any, ref: Any, kind: str = "f", bad: Sequence[Bad] = I2, smooth: bool = True
) -> list[Case]:
    """A floating function of one input: a matrix, a number, nothing."""
    first, *rest = (
        Case(fn, ref, [f"{kind}[{shape}]"], smooth=smooth) for shape in ("2,3", "", "0,3")
    )
    return [Case(fn, ref, first.inputs, bad=bad, smooth=smooth), *rest]


def binary(
    fn: Any,
    ref: Any,
    kinds: tuple[str, str] = ("f", "f"),
    bad: Sequence[Bad] = (),
    smooth: bool = True,
) -> list[Case]:
    """A function of two inputs: equal shapes, broadcast ones, numbers, nothing."""
    a, b = kinds
    if a.startswith("f"):
        bad = [*bad, *APART]
    shapes = [("2,3", "2,3"), ("2,1", "3"), ("", "2"), ("0,3", "3"), ("", "")]
    return [
        Case(fn, ref, [f"{a}[{s}]", f"{b}[{t}]"], bad=bad if not i else (), smooth=smooth)
        for i, (s, t) in enumerate(shapes)
    ]


def integers(fn: Any, ref: Any, *inputs: Any, **rules: Any) -> Case:
    return Case(fn, ref, inputs, smooth=False, **rules)


INTS = Bad(DTypeError, ["i32[2]", "i32[2]"])
FLOATS = Bad(DTypeError, ["f[2]", "f[2]"])
BOOLS = Bad(DTypeError, ["bool[2]", "bool[2]"])
