"""Elements at tuples of indices."""
from __future__ import annotations

import math
from collections.abc import Sequence

from tapeflow import arguments
from tapeflow.errors import ShapeError
from tapeflow.ops import create, index, joining, places
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce
from tapeflow.tensor import Tensor, TensorLike, as_tensor


def _columns(op: str, indices: TensorLike, ndim: int) -> tuple[Tensor, ...]:
    """The indices of each axis, from tuples of at most `ndim` along the last axis."""
    i = as_tensor(indices, op=op)
    places.require_integer(op, i.spec)
    if not i.ndim or i.shape[-1] > ndim:
        raise ShapeError(op, got=f"indices {i.spec} of a tensor with {ndim} axes",
                         why="the last axis of the indices holds one index for each axis",
                         fix="give int[..., k], with k no more than the axes")
    return joining.unstack(i, axis=-1)


def gather_nd(params: TensorLike, indices: TensorLike, batch_dims: int = 0) -> Tensor:
    """The slices of params at tuples of indices: any[n1,...,nk,...], int[s,k] -> any[s,...].

    Args:
        params: any[...].
        indices: int[..., k]; negative ones count from the end.
        batch_dims: how many leading axes both have in common.

    Raises: ShapeError if there are more indices than axes or the leading axes differ,
        OutOfRangeError if an index is not there.

    >>> gather_nd([[1, 2], [3, 4]], [[0, 1], [1, 0]])
    Tensor([2, 3], i64[2])
    """
    x, i = as_tensor(params, op="gather_nd"), as_tensor(indices, op="gather_nd")
    batch = arguments.size("gather_nd", "batch_dims", batch_dims)
    if batch >= max(i.ndim, 1) or x.shape[:batch] != i.shape[:batch]:
        raise ShapeError("gather_nd", got=f"params {x.spec}, indices {i.spec}, batch_dims {batch}",
                         why="both must have the same leading axes",
                         fix="choose fewer batch_dims, or repeat the smaller one")
    columns = _columns("gather_nd", i, x.ndim - batch)
    around = i.shape[:-1]
    own = tuple(_along(n, a, len(around)) for a, n in enumerate(x.shape[:batch]))
    if not own and not columns:
        return _shape.broadcast_to(x, (*around, *x.shape))
    return index.getitem(x, (*own, *columns), "gather_nd")


def _along(n: int, axis: int, ndim: int) -> Tensor:
    """0 to n - 1 along one of `ndim` axes."""
    return _shape.reshape(create.arange(n), [n if a == axis else 1 for a in range(ndim)])


def scatter_nd(indices: TensorLike, updates: TensorLike, shape: Sequence[int]) -> Tensor:
    """Zeros of this shape, to which updates are added at tuples of indices; what meets is added up.

    Args:
        indices: int[..., k].
        updates: any[..., rest], with the rest of `shape` behind its first k sizes.

    Raises: ShapeError if the updates do not fit, OutOfRangeError if an index is not there.

    >>> scatter_nd([[1], [3], [1]], [5, 6, 7], (4,))
    Tensor([ 0, 12,  0,  6], i64[4])
    """
    sizes = arguments.sizes("scatter_nd", shape)
    return _scattered("scatter_nd", indices, as_tensor(updates, op="scatter_nd"), sizes)


def _scattered(op: str, indices: TensorLike, v: Tensor, sizes: tuple[int, ...]) -> Tensor:
    columns = _columns(op, indices, len(sizes))
    count = len(columns)
    around = as_tensor(indices).shape[:-1]
    if v.shape != (*around, *sizes[count:]):
        raise ShapeError(op, got=f"updates {v.spec} for indices {as_tensor(indices).spec}",
                         why=f"{list(around)} slices of {list(sizes[count:])} are needed",
                         fix="give one update for each tuple of indices")
    block = math.prod(sizes[:count])
    i = (places.flat_index(*columns, sizes=sizes[:count], op=op) if columns
         else create.zeros(around, dtype="int64"))
    y = places.add_at(v, i, axis=0, size=block, op=op)
    return _shape.reshape(y, sizes)


def tensor_scatter_nd_add(x: TensorLike, indices: TensorLike, updates: TensorLike) -> Tensor:
    """x with updates added at tuples of indices; what meets at one place is added up.

    Args, raises: as scatter_nd(), whose zeros x replaces.
    """
    t, v = coerce("tensor_scatter_nd_add", x, updates)
    return t + _scattered("tensor_scatter_nd_add", indices, v, t.shape)


def tensor_scatter_nd_update(x: TensorLike, indices: TensorLike, updates: TensorLike) -> Tensor:
    """x with updates in place of its slices at tuples of indices; the last of equal ones stays.

    Raises: ShapeError if the updates do not fit, OutOfRangeError if an index is not there.
    """
    op = "tensor_scatter_nd_update"
    t, v = coerce(op, x, updates)
    columns = _columns(op, indices, t.ndim)
    wanted = (*as_tensor(indices).shape[:-1], *t.shape[len(columns):])
    if not columns or v.shape != wanted:
        raise ShapeError(op, got=f"{t.spec}, indices {as_tensor(indices).spec}, updates {v.spec}",
                         why=f"updates {list(wanted)} are needed, and an index for each",
                         fix="give one update for each tuple of indices")
    return index.updated(t, columns, v, op)
