"""What a compiled program is made of: layouts of values, code, and launches of it.

Every kernel has the signature `void kernel(i64 start, i64 stop, i64* args)`: it does the work items
start to stop - 1, in any division over threads, and reads pointers and extents from `args`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tapeflow.graph import Var


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the elements of a value lie: in the memory of `base`, from `offset` on, `strides` apart
    (both in elements). A value with memory of its own is its own base, contiguous."""

    base: Var
    offset: int
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Source of one kernel. Equal code is compiled once, whatever uses it."""

    language: Literal["python", "llvm"]
    symbol: str  # the function that it defines; made of a digest, so that it says what it does
    source: str | Callable[[], str] = field(compare=False, repr=False)
    parameters: tuple[str, ...] = ()  # python: a type each, `f32*` or `i64`, after start and stop

    @property
    def text(self) -> str:
        """The source; written only now where a warm start does without it."""
        return self.source if isinstance(self.source, str) else self.source()


@dataclass(frozen=True, slots=True)
class Scratch:
    """Memory that only the launches of one node use; `index` tells several apart."""

    index: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """The address of an element: of `of` itself, `offset` bytes on."""

    of: Var | Scratch
    offset: int = 0


ENDS = -1
"""The extent of a row without work items, whose code says whether to end the program: it is
`i64 kernel(i64 pool, i64 extent, i64* args)` and gives 0, or 1."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One row of the program table: `code` on `extent` work items, shared out in shares of at
    least `grain`, so many for each thread: one that starts late then finds less to do, not too
    little. An extent of ENDS stands for none."""

    code: Code
    arguments: tuple[Pointer | int, ...]
    extent: int
    grain: int
    shares: int = 4
