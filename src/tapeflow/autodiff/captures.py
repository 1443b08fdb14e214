"""What a function uses besides its arguments, and what it gives depends on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from tapeflow import dispatch
from tapeflow.autodiff.reverse import Change, settled
from tapeflow.dispatch import Record
from tapeflow.dtypes import is_inexact
from tapeflow.tensor import Tensor
from tapeflow.variable import Variable


def held_outside(used: Mapping[int, Tensor]) -> set[int]:
    """The ids of those inexact tensors of `used` that others hold too: nobody else knows a constant
    that a function made, once that has ended, so nobody asks for its derivative."""
    alone = Tensor(np.zeros(()))  # held by this name, as the others are by `used`
    every = {0: alone, **used}  # 0 is the id of nothing
    holders = {key: sys.getrefcount(x) for key, x in every.items()}
    return {key for key, x in used.items() if holders[key] > holders[0] and is_inexact(x.dtype)}


class Captures:
    """A recorder of one run of a function, whose arguments are `given`: inside of `with` it runs.
    Where nobody would ask for a gradient, nothing is recorded."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        self._given = given
        self._records: list[Record] = []
        self._changes: list[Change] = []
        self._read: list[tuple[Variable, Tensor]] = []

    def __enter__(self) -> Captures:
        self._is_heard = dispatch.is_heard()
        if self._is_heard:
            dispatch.listen(self)
            dispatch.start(self)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_heard:
            dispatch.stop(self)

    def record(self, record: Record) -> None:
        self._records.append(record)

    def accessed(self, variable: Variable, value: Tensor) -> None:
        self._read.append((variable, value))

    def rebound(self, x: Tensor, old: Tensor) -> None:
        self._changes.append((len(self._records), x, old))

    def of(self, results: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
        """What `results` depend on, in a way that has a gradient, but the arguments; each with a
        text that tells what it is. To be called as the function ends."""
        first = {id(x): old for _, x, old in reversed(self._changes)}
        inside = {id(first.get(id(x), x)) for x in self._given}
        read = {id(first.get(id(x), x)): f"{v.name}: {x.spec}" for v, x in self._read}
        used = {id(y): y for y in results}
        for prim, inputs, _, outputs in reversed(settled(self._records, self._changes)):
            made = [*map(id, outputs)] if isinstance(outputs, tuple) else [id(outputs)]
            if not used.keys().isdisjoint(made) and read.keys().isdisjoint(made):
                for x in prim.flowing(inputs):
                    used[id(x)] = x
            inside.update(made)
        inside.difference_update(read)
        outside = [x for key, x in used.items() if key not in inside and is_inexact(x.dtype)]
        return [(read.get(id(x), str(x.spec)), x) for x in outside]
