"""The table that module.summary() gives."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tapeflow.autodiff.functional import no_grad
from tapeflow.nn.module import Module, observing
from tapeflow.tensor import Tensor
from tapeflow.tree import flatten
from tapeflow.variable import Variable


@dataclass(frozen=True)
class Row:
    """One module: its name and class, the types of its outputs, and what its own variables hold."""

    name: str
    kind: str
    outputs: str
    trainable: int
    frozen: int


@dataclass(frozen=True, repr=False)
class Summary:
    """A row for each module that has variables of its own or no parts; prints as a table."""

    rows: tuple[Row, ...]

    @property
    def trainable(self) -> int:
        """How many numbers training changes."""
        return sum(row.trainable for row in self.rows)

    @property
    def frozen(self) -> int:
        """How many numbers training leaves as they are."""
        return sum(row.frozen for row in self.rows)

    def __str__(self) -> str:
        cells = [("module", "class", "output", "numbers")]
        cells += [(row.name, row.kind, row.outputs, f"{row.trainable + row.frozen:,}")
                  for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join([*(c.ljust(w) for c, w in zip(row[:3], widths, strict=False)),
                            row[3].rjust(widths[3])]) for row in cells]
        rule = "─" * len(lines[0])
        total = f"{self.trainable:,} trainable, {self.frozen:,} frozen"
        return "\n".join([lines[0], rule, *lines[1:], rule, total])

    __repr__ = __str__


def summarize(model: Module, inputs: tuple[Any, ...]) -> Summary:
    """The summary of `model`, called on `inputs` first if there are any."""
    outputs: dict[int, str] = {}

    def observe(module: Module, result: Any) -> None:
        tensors = [y for y in flatten(result)[0] if isinstance(y, Tensor)]
        outputs[id(module)] = ", ".join(str(y.spec) for y in tensors)

    if inputs:
        with observing(observe), no_grad():
            model(*inputs)
    return Summary(tuple(_row(path, module, outputs.get(id(module), ""))
                         for path, module in model.named_modules().items()
                         if not module.children() or any(module.held(Variable))))


def _row(path: str, module: Module, outputs: str) -> Row:
    own: list[Variable] = [v for _, v in module.held(Variable)]
    trainable = sum(v.size for v in own if v.trainable)
    return Row(path or type(module).__name__, type(module).__name__, outputs, trainable,
               sum(v.size for v in own) - trainable)
