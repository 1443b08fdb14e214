"""Source: one kernel as nested lines of Python, with its parameters and what they are bound to."""
from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tapeflow.dtypes import SHORT, DType
from tapeflow.jit.kernel import Code, Launch, Pointer

Lines: TypeAlias = "Sequence[str | Lines]"   # an inner list is indented

_SHARE = 32768     # elements that are worth a thread of their own


@dataclass
class Source:
    """A kernel as it is written: each parameter with its type and its argument."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    arguments: list[Pointer | int] = field(default_factory=list)

    def pointer(self, name: str, dtype: DType, to: Pointer) -> str:
        """A parameter that points to elements of `dtype`."""
        return self._parameter(name, f"{SHORT[dtype]}*", to)

    def number(self, name: str, value: int) -> str:
        """A parameter that is a size or a stride."""
        return self._parameter(name, "i64", value)

    def _parameter(self, name: str, kind: str, argument: Pointer | int) -> str:
        if name not in self.parameters:
            self.parameters[name] = kind
            self.arguments.append(argument)
        return name

    def launch(self, body: Lines, extent: int, elements: int) -> Launch:
        """The kernel with this body on `extent` work items of so many elements each."""
        head = f"(start, stop, {', '.join(self.parameters)}):"
        lines = "\n".join(_indented(body, 1))
        kinds = tuple(self.parameters.values())
        digest = hashlib.sha256(f"{head}{lines}{kinds}".encode()).hexdigest()[:12]
        symbol = f"{self.name}_{digest}"
        code = Code("python", symbol, f"def {symbol}{head}\n{lines}\n", kinds)
        return Launch(code, tuple(self.arguments), extent, max(1, _SHARE // max(1, elements)))


def _indented(lines: Lines, depth: int) -> Iterator[str]:
    for line in lines:
        if isinstance(line, str):
            yield "    " * depth + line
        else:
            yield from _indented(line, depth + 1)
