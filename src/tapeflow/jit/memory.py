"""Memory of programs: an arena planned by liveness, and output arrays that are used again."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from tapeflow.dtypes import DType
from tapeflow.tensor import Array
from tapeflow_kernels import memory

K = TypeVar("K", bound=Hashable)
_REUSED = 64 * 1024  # bytes from which an output's memory is kept for a later call
_KEPT = 2  # arrays kept for one output: the caller's last result, and the one in work


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The steps from which, and to which, a value needs its bytes."""

    first: int
    last: int
    nbytes: int


def arrange(lifetimes: Mapping[K, Lifetime]) -> tuple[dict[K, int], int]:
    """An offset for each value, so that no two that live at once overlap; and the bytes in all.

    Larger values are placed first, each in the lowest gap that is free during its life.
    """
    offsets: dict[K, int] = {}
    total = 0
    for key in sorted(lifetimes, key=lambda k: (-lifetimes[k].nbytes, lifetimes[k].first)):
        life = lifetimes[key]
        taken = sorted(
            (offsets[k], offsets[k] + _rounded(lifetimes[k].nbytes))
            for k in offsets
            if lifetimes[k].first <= life.last and life.first <= lifetimes[k].last
        )
        offsets[key] = _lowest_gap(taken, _rounded(life.nbytes))
        total = max(total, offsets[key] + _rounded(life.nbytes))
    return offsets, total


def _rounded(nbytes: int) -> int:
    return -(-nbytes // memory.ALIGNMENT) * memory.ALIGNMENT


def _lowest_gap(taken: Sequence[tuple[int, int]], nbytes: int) -> int:
    at = 0
    for start, stop in taken:
        if at + nbytes <= start:
            return at
        at = max(at, stop)
    return at


def references(array: Array) -> int:
    """How many others hold this array, or the memory it is a view of, besides the caller's name.

    Value semantics allow a write in place only where the answer is the number that is known.
    """
    own = sys.getrefcount(array) - 3  # the caller's name, our parameter, getrefcount's
    base = array.base
    shared = 0 if base is None else sys.getrefcount(base) - 3  # array.base, our name, getrefcount's
    return own + shared


class Outputs:
    """Arrays for one output of a program: an earlier one if nobody holds it any more.

    Freed memory would be handed back to the system and paged in anew by every call.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        self.shape, self.dtype = shape, dtype
        made = memory.empty(shape, dtype)
        self._kept: list[Array] = [made] if made.nbytes >= _REUSED else []
        self._small = not self._kept

    def take(self) -> Array:
        """An array to write to."""
        if self._small:
            return np.empty(self.shape, self.dtype)
        for i in range(len(self._kept)):
            array = self._kept[i]
            if references(array) == 1:  # our list
                return array
        array = memory.empty(self.shape, self.dtype)
        self._kept = [*self._kept[1 - _KEPT :], array]
        return array
