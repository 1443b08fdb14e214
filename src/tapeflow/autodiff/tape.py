"""GradientTape: records what runs, and differentiates it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tapeflow import dispatch, ops
from tapeflow.autodiff.batching import vmap
from tapeflow.autodiff.cotangents import (
    Unconnected,
    apart,
    basis,
    differentiable,
    filled,
    seeds,
)
from tapeflow.autodiff.reverse import Change, between, pullback, settled
from tapeflow.dispatch import Record
from tapeflow.errors import DTypeError, ShapeError, StateError
from tapeflow.tensor import Tensor, TensorLike, as_tensor
from tapeflow.tree import flatten, unflatten
from tapeflow.variable import Variable


class GradientTape:
    """Records what runs inside `with`, for gradient().

    Args:
        persistent: gradient() may be called more than once.
        watch_accessed_variables: trainable variables that are read are watched without being told.

    >>> import tapeflow as tf
    >>> x = tf.asarray(3.0)
    >>> with tf.GradientTape() as tape:
    ...     tape.watch(x)
    ...     y = x * x
    >>> tape.gradient(y, x)
    Tensor(6., f32[])
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self.persistent = persistent
        self.watch_accessed_variables = watch_accessed_variables
        self._is_open = False
        self._forget_all()
        dispatch.listen(self)

    def _forget_all(self) -> None:
        self._records: list[Record] | None = []
        self.record: Callable[[Record], None] = self._records.append
        self._watched: dict[int, Tensor] = {}  # by id of a tensor: what stands for its value then
        self._reads: dict[int, list[Tensor]] = {}  # by id of a variable: what it held when read
        self._variables: list[Variable] = []  # their ids stay valid while they live
        self._changes: list[Change] = []
        self._unchanged: set[int] | None = None  # of a closed tape: ids, from the first change on

    def __enter__(self) -> GradientTape:
        if self._is_open:
            raise StateError(
                "GradientTape",
                got="a tape that is open already",
                why="it would record everything twice",
                fix="use another tape inside, or leave the first `with`",
            )
        self._is_open = True
        dispatch.start(self)
        return self

    def __exit__(self, *exc: object) -> None:
        dispatch.stop(self)
        self._is_open, self._unchanged = False, None

    def watch(self, tensor: Any) -> None:
        """Let gradients flow to `tensor`: a tensor, a variable, or a tree of them.

        A tensor that is rebound later (x[i] = v) is, as a source, what it was when it was watched.

        Raises: DTypeError unless these are floating tensors or variables.
        """
        self._unchanged = None
        for x in flatten(tensor)[0]:
            if isinstance(x, Variable):
                self._note(x, x.value)
            elif not isinstance(x, Tensor):
                raise DTypeError(
                    "watch",
                    got=type(x).__name__,
                    why="only tensors can be watched",
                    fix="make one first: x = tf.asarray(x)",
                )
            else:
                differentiable("watch", x)
                self._watched[id(x)] = x

    def watched_variables(self) -> tuple[Variable, ...]:
        """The variables that were watched, because they were read or by hand, in that order."""
        return tuple(self._variables)

    def reset(self) -> None:
        """Forget all that was recorded and watched; an open tape goes on."""
        is_recording = self._is_recording()
        dispatch.stop(self)
        self._forget_all()
        if is_recording:
            dispatch.start(self)

    @contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Inside, nothing is recorded, as for a step that is not to be differentiated.

        Raises: StateError unless the tape is open, in this thread, and not around a tf.vmap.
        """
        if not self._is_recording():
            raise StateError(
                "stop_recording",
                got="a tape that does not record here",
                why="it is closed, used up, or open around a tf.vmap or in another thread",
                fix="call it inside of `with tape:`, or use tf.no_grad()",
            )
        with dispatch.paused(self):
            yield

    def _is_recording(self) -> bool:
        return any(r is self for r in dispatch.here.context.recorders)

    def rebound(self, x: Tensor, old: Tensor) -> None:
        """Let `old` stand for `x` in all that was recorded until now."""
        if self._records is None or not self._knows(x):
            return
        self._changes.append((len(self._records), x, old))
        if self._watched.get(id(x)) is x:
            self._watched[id(x)] = old

    def _knows(self, x: Tensor) -> bool:
        """Whether `x` may stand in the records: a closed tape keeps no more than one change of each
        tensor, and none of what it has not seen."""
        if self._is_open:
            return True
        if self._unchanged is None:
            seen = [*self._watched.values(), *(t for ts in self._reads.values() for t in ts)]
            self._unchanged = {id(t) for t in seen}
            for _, inputs, _, outputs in self._records or ():
                self._unchanged.update(map(id, inputs))
                self._unchanged.update(map(id, outputs if type(outputs) is tuple else (outputs,)))
        is_known = id(x) in self._unchanged
        self._unchanged.discard(id(x))
        return is_known

    def accessed(self, variable: Variable, value: Tensor) -> None:
        wanted = self.watch_accessed_variables and variable.trainable
        if wanted or id(variable) in self._reads:  # the latter was watched by hand
            self._note(variable, value)

    def _note(self, variable: Variable, value: Tensor) -> None:
        seen = self._reads.setdefault(id(variable), [])
        if not seen:
            self._variables.append(variable)
        if not seen or seen[-1] is not value:  # each read gives a tensor of its own
            seen.append(value)

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: Unconnected = "none",
    ) -> Any:
        """d sum(target) / d source for each of `sources`, in their structure.

        Args:
            target: a floating tensor or a tree of them, whose gradients are summed.
            sources: tensors (watched, or computed from what is), variables, or a tree of them.
                One that x[i] = v rebound is what it was when it was watched last; one that never
                was watched is what it is now.
            output_gradients: cotangents in the structure of `target`; ones by default, and where
                one is None.
            unconnected_gradients: what a source gets that `target` does not depend on: "none" gives
                None, "zero" zeros.

        Raises: StateError if the tape was used up; DTypeError for a target or source of integers;
            ShapeError if an output gradient does not have its target's shape; ArgumentError unless
            there is one for each target, or for another choice of `unconnected_gradients`.
        """
        records = self._open_records()
        targets = [self._read("gradient", y) for y in flatten(target)[0]]
        leaves, structure = flatten(sources)
        for y in targets:
            differentiable("gradient", y, records)
        with dispatch.paused(self):
            cotangents = seeds(targets, output_gradients)
            found = apart(self._pull(records, targets, cotangents, leaves), cotangents)
            found = filled(found, leaves, unconnected_gradients)
        return unflatten(structure, found)

    def jacobian(
        self, target: TensorLike, sources: Any, unconnected_gradients: Unconnected = "none"
    ) -> Any:
        """d target[i...] / d source[j...] for each of `sources`: shape target.shape + source.shape.

        The backward pass runs once, for all elements of `target` together: see tf.vmap, and
        tf.jacobian for complex targets.
        Raises: as gradient().
        """
        y = self._read("jacobian", target)
        differentiable("jacobian", y)

        def column(rows: Tensor, x: Any) -> Tensor:
            return ops.reshape(rows, (*y.shape, *x.shape))

        return self._rows(y, basis(y), sources, column, unconnected_gradients)

    def batch_jacobian(
        self, target: TensorLike, source: Any, unconnected_gradients: Unconnected = "none"
    ) -> Any:
        """d target[b, i...] / d source[b, j...], for each b: shape [n, *i, *j].

        Args:
            target: f[n, ...]; a row of it must depend on the same row of `source` only.
            source: f[n, ...].

        Raises: ShapeError unless both have as many rows, and as gradient().
        """
        y = self._read("batch_jacobian", target)
        differentiable("batch_jacobian", y)
        if not y.ndim or y.shape[:1] != tuple(source.shape)[:1]:
            raise ShapeError(
                "batch_jacobian",
                got=f"target {y.spec}, source {getattr(source, 'spec', source)}",
                why="each row of the target belongs to a row of the source",
                fix="give both the same first axis, or use jacobian",
            )
        one = basis(ops.zeros(y.shape[1:], y.dtype))
        every = ops.broadcast_to(ops.expand_dims(one, 1), (one.shape[0], *y.shape))

        def column(rows: Tensor, x: Any) -> Tensor:
            return ops.reshape(ops.moveaxis(rows, 0, 1), (*y.shape, *x.shape[1:]))

        return self._rows(y, every, source, column, unconnected_gradients)

    def _rows(
        self,
        y: Tensor,
        cotangents: Tensor,
        sources: Any,
        column: Callable[[Tensor, Any], Tensor],
        unconnected: Unconnected,
    ) -> Any:
        """What each of many cotangents of `y` gives each source, put together by `column`."""
        records = self._open_records()
        leaves, structure = flatten(sources)
        with dispatch.paused(self):
            pulled = vmap(lambda g: self._pull(records, [y], [g], leaves))(cotangents)
            rows = filled(pulled, leaves, unconnected, cotangents.shape[:1])
            found = [None if r is None else column(r, x) for r, x in zip(rows, leaves, strict=True)]
        return unflatten(structure, found)

    def _open_records(self) -> Sequence[Record]:
        if self._records is None:
            raise StateError(
                "gradient",
                got="a second call on a tape that is not persistent",
                why="a tape forgets what it recorded once gradient() was called",
                fix="use GradientTape(persistent=True)",
            )
        records = settled(self._records, self._changes)
        if not self.persistent:
            dispatch.stop(self)
            self._records = None
            self.record = _forget  # the bound append would keep all that was recorded alive
        return records

    def _pull(
        self,
        records: Sequence[Record],
        targets: list[Tensor],
        cotangents: list[Tensor],
        leaves: Sequence[Any],
    ) -> list[Tensor | None]:
        tensors = [self._tensors_of(leaf, records, targets) for leaf in leaves]
        grads = iter(pullback(records, targets, cotangents, [t for ts in tensors for t in ts]))
        totals: list[Tensor | None] = []
        for ts in tensors:
            there = [g for g in (next(grads) for _ in ts) if g is not None]
            totals.append(sum(there[1:], start=there[0]) if there else None)
        return totals

    def _read(self, op: str, target: TensorLike) -> Tensor:
        """A target as a tensor; a variable is read, and may be a source too."""
        y = as_tensor(target, op=op)
        if isinstance(target, Variable):
            self._note(target, y)
        return y

    def _tensors_of(
        self, leaf: Any, records: Sequence[Record], targets: Sequence[Tensor] = ()
    ) -> list[Tensor]:
        """The tensors that stand for one source: for a variable, all that it held when read."""
        if isinstance(leaf, Variable):
            first = {id(x): old for _, x, old in reversed(self._changes)}
            return [first.get(id(t), t) for t in self._reads.get(id(leaf), [])]
        if not isinstance(leaf, Tensor):
            raise DTypeError(
                "gradient",
                got=f"a source of type {type(leaf).__name__}",
                why="only tensors and variables can be sources",
                fix="watch a tensor: x = tf.asarray(x); tape.watch(x)",
            )
        differentiable("gradient", leaf)
        if id(leaf) in self._watched:
            return [self._watched[id(leaf)]]
        is_target = any(leaf is y for y in targets)
        return [leaf] if is_target or self._is_watched(leaf, records) else []

    def _is_watched(self, x: Tensor, records: Sequence[Record]) -> bool:
        reads = [t for v in self._variables for t in self._tensors_of(v, records)]
        if any(x is t for t in reads):
            return True
        roots = {id(t) for t in (*self._watched.values(), *reads)}
        between(records, roots)
        return id(x) in roots


def _forget(record: Record) -> None:
    """What a tape that was used up does with a record."""
