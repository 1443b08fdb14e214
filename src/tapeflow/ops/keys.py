"""Keys: what `x[key]` takes, for integers, slices, None, `...`, arrays of integers and of bools.

As NumPy has it: slices first, then elements at indices. Arrays of indices, and integers beside
them, broadcast together; what they find stands in their place if neighbours, else in front.
A mask is the indices of its true elements, one array for each of its axes; one without axes is an
index of a new axis of size 1.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np

from tapeflow.dtypes import bool_, int64, is_integer
from tapeflow.errors import (
    ArgumentError,
    DTypeError,
    OutOfRangeError,
    ShapeError,
    TapeflowError,
)
from tapeflow.ops import create
from tapeflow.ops.movement import Ints
from tapeflow.ops.places import require_integer
from tapeflow.tensor import Spec, Tensor, as_tensor


@dataclass(frozen=True, slots=True)
class Key:
    """First a slice of every axis of x, then axes of size 1 dropped and inserted, then elements at
    `indices` along the axes `at` of what is left."""

    starts: Ints
    sizes: Ints
    steps: Ints
    shape: Ints                    # after dropping and inserting
    at: Ints
    indices: tuple[Tensor, ...]

    @property
    def order(self) -> Ints:
        """The axes with those of `at` together: in front, unless they are neighbours already."""
        if not self.at:
            return tuple(range(len(self.shape)))
        rest = tuple(a for a in range(len(self.shape)) if a not in self.at)
        before = self.at[0] if self.at == tuple(range(self.at[0], self.at[-1] + 1)) else 0
        return rest[:before] + self.at + rest[before:]

    @property
    def axis(self) -> int:
        """The first of the axes `at`, in that order."""
        return self.order.index(self.at[0])

    def is_whole(self, shape: Ints) -> bool:
        """Whether the slices take all of a tensor of this shape, in order."""
        return self.sizes == shape and all(s == 1 for s in self.steps)


class _At(NamedTuple):
    """Indices along an axis, which has `size` elements if a mask says so."""

    places: Tensor
    size: int | None = None


class _New(NamedTuple):
    """Indices along a new axis of size 1: of a mask without axes."""

    places: Tensor


_Item = int | slice | EllipsisType | None | _At | _New


@dataclass(slots=True)
class _Reader:
    """What has been read of a key, item by item."""

    op: str
    x: Spec
    ranges: list[tuple[int, int, int]] = field(default_factory=list)   # start, size, step
    shape: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)

    def take(self, item: _Item) -> None:
        """Let `item` take what it takes, mostly the next axis."""
        if item is None:
            self.shape.append(1)
        elif isinstance(item, _New):
            self._find(item.places, 1)
        elif isinstance(item, _At):
            n = self._next()
            if item.size not in (None, n):
                raise OutOfRangeError(self.op, got=f"a mask with {item.size} elements along an axis"
                                      f" of size {n}", why="a mask has the sizes of the axes that "
                                      "it selects from", fix="make the mask of the tensor itself")
            self.ranges.append((0, n, 1))
            self._find(item.places, n)
        elif isinstance(item, slice):
            start, stop, step = self._bounds(item)
            size = len(range(start, stop, step))
            self.ranges.append((start if size else 0, size, step))
            self.shape.append(size)
        else:
            assert isinstance(item, int), "`...` has become slices"
            self.ranges.append((self._position(item), 1, 1))

    def _next(self) -> int:
        """The size of the next axis of x."""
        return self.x.shape[len(self.ranges)]

    def _bounds(self, item: slice) -> tuple[int, int, int]:
        try:
            return item.indices(self._next())
        except TapeflowError:   # a tensor says itself why it is no bound
            raise
        except TypeError as error:
            raise DTypeError(self.op, got=item, why=str(error), fix="give whole numbers") from None
        except ValueError as error:
            raise ArgumentError(self.op, got=item, why=str(error), fix="give a step") from None

    def _find(self, index: Tensor, size: int) -> None:
        self.at.append(len(self.shape))
        self.indices.append(index)
        self.shape.append(size)

    def _position(self, i: int) -> int:
        n = self._next()
        if not -n <= i < n:
            raise OutOfRangeError(self.op, got=f"index {i} on an axis of size {n}",
                                  why=f"indices are between {-n} and {n - 1}" if n else
                                  "the axis has no elements", fix="check the index, or the axis")
        return i % n

    def key(self) -> Key:
        starts, sizes, steps = zip(*self.ranges, strict=True) if self.ranges else ((), (), ())
        return Key(starts, sizes, steps, tuple(self.shape), tuple(self.at), tuple(self.indices))


def parsed(op: str, x: Spec, key: Any) -> Key:
    """What `key` takes of x.

    Raises: DTypeError for what is no key, OutOfRangeError for more indices than axes, for one that
        is not there and for a mask of other sizes than x, TraceError for a traced mask.
    """
    reader = _Reader(op, x)
    items = _expanded(op, x, key)
    advanced = any(isinstance(item, _At | _New) for item in items)
    for item in items:
        # beside arrays an integer takes part in broadcasting
        reader.take(_At(as_tensor(item)) if advanced and isinstance(item, int) else item)
    return reader.key()


def _expanded(op: str, x: Spec, key: Any) -> list[_Item]:
    """The items of a key, with slices for `...` and for the axes that it leaves out."""
    items = [found for item in (key if isinstance(key, tuple) else (key,))
             for found in _items(op, item)]
    used = sum(isinstance(item, int | slice | _At) for item in items)
    dots = [i for i, item in enumerate(items) if isinstance(item, EllipsisType)]
    if used > x.ndim or len(dots) > 1:
        raise OutOfRangeError(op, got=f"{x} and {used} indices", fix="give fewer",
                              why="there are more indices than axes" if used > x.ndim else
                              "`...` can stand only once")
    at = dots[0] if dots else len(items)
    return [*items[:at], *[slice(None)] * (x.ndim - used), *items[at + 1:]]


def _items(op: str, item: Any) -> list[_Item]:
    if item is None or isinstance(item, slice | EllipsisType):
        return [item]
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return [int(item)]
    if isinstance(item, float | complex | str):
        raise DTypeError(op, got=f"index {item!r}", why="it is neither integer, slice nor array",
                         fix="index with integers, slices, None, ... or integer tensors")
    index = as_tensor(item, op=op)
    if index.dtype == bool_:
        return _of_mask(index)
    if not index.size and not is_integer(index.dtype):   # []
        return [_At(create.zeros(index.shape, int64))]
    require_integer(op, index.spec)
    return [_At(index)]


def _of_mask(mask: Tensor) -> list[_Item]:
    array = mask.concrete("boolean mask")
    if not array.ndim:
        return [_New(create.zeros((int(array),), int64))]
    return [_At(Tensor(places), n)
            for places, n in zip(np.nonzero(array), array.shape, strict=True)]


def require_mask(op: str, x: Spec, mask: Spec) -> None:
    """Raise OutOfRangeError unless the mask has the sizes of the first axes of x."""
    if mask.shape != x.shape[:mask.ndim]:
        raise OutOfRangeError(op, got=f"{x}, mask {mask}", fix="make the mask of the tensor itself",
                              why="a mask has the sizes of the axes that it selects from")


def of_numpy(key: Any) -> Any:
    """The key with arrays for its tensors, as NumPy takes it.

    Raises: TypeError for what only parsed() can judge.
    """
    if isinstance(key, tuple):
        return tuple([of_numpy(item) for item in key])
    if type(key) is Tensor:
        return key.value
    if type(key) is list:
        return np.asarray(key)
    if key is None or isinstance(key, int | slice | EllipsisType | np.ndarray | np.generic):
        return key
    raise TypeError("parsed() knows more")


def is_fixed(key: Any) -> bool:
    """Whether a key is made of Python's integers and slices of them, None and `...` only: what it
    takes depends on nothing that changes."""
    if type(key) is slice:
        return key.start.__class__ in _FIXED and key.stop.__class__ in _FIXED \
            and key.step.__class__ in _FIXED
    return key.__class__ in _FIXED or key is ... or (type(key) is tuple and all(map(is_fixed, key)))


_FIXED = (int, type(None))


def broadcast_update(op: str, value: Spec, shape: Ints) -> Ints:
    """The shape of `value` without the leading ones that NumPy allows in assignments to `shape`.

    Raises: ShapeError if that does not broadcast to `shape`.
    """
    extra = max(len(value.shape) - len(shape), 0)
    kept = value.shape[extra:]
    if value.shape[:extra] != (1,) * extra or any(
            n not in (1, m) for n, m in zip(kept[::-1], shape[::-1], strict=False)):
        raise ShapeError(op, got=f"value {value} for {list(shape)}", fix="reshape the value",
                         why="the value does not broadcast to the elements it replaces")
    return kept
