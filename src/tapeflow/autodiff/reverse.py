"""Reverse mode: pullback() walks records backwards; GradientTape gathers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from tapeflow import dispatch, ops
from tapeflow.dispatch import Record
from tapeflow.dtypes import is_inexact
from tapeflow.errors import ArgumentError, DTypeError, ShapeError, StateError
from tapeflow.ops import shape
from tapeflow.tensor import Tensor, TensorLike, as_tensor
from tapeflow.tree import flatten, unflatten
from tapeflow.variable import Variable

Gradients = dict[int, Tensor]  # by id of the tensor that each belongs to; the records keep it alive


def pullback(
    records: Sequence[Record],
    targets: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    sources: Sequence[Tensor],
) -> list[Tensor | None]:
    """Carry the cotangents of `targets` back to each of `sources`; None where nothing arrives.

    Adjoints are made of ops, so an outer tape or a tracer sees them too: second derivatives and
    traced backward passes need no further code. Each tensor of the records holds one value: see
    settled().
    """
    kept = {id(s) for s in sources}
    on_path = _between(records, set(kept))
    grads: Gradients = {}
    passed: Gradients = {}  # what went through a source to those that it was computed from
    for y, g in zip(targets, cotangents, strict=True):
        grads[id(y)] = g if id(y) not in grads else grads[id(y)] + g
    for (prim, inputs, attrs, outputs), wanted in reversed(on_path):
        arrived: Any
        if type(outputs) is tuple:
            arrived = _taken_together(grads, outputs, kept, passed)
        else:
            arrived = grads.pop(id(outputs), None)
            if id(outputs) in kept and arrived is not None:
                passed[id(outputs)] = arrived
        if arrived is None:
            continue
        pulled = prim.pull(arrived, outputs, inputs, attrs, wanted)
        for x, gx in zip(inputs, pulled):  # noqa: B905   # strict costs a tenth of the loop
            if gx is not None:
                key = id(x)
                known = grads.get(key)
                grads[key] = gx if known is None else known + gx
    return [grads.get(id(s), passed.get(id(s))) for s in sources]


Change = tuple[int, Tensor, Tensor]  # how many records there were, a tensor, what it was till then


def settled(records: Sequence[Record], changes: Sequence[Change]) -> Sequence[Record]:
    """The records, where a tensor that was rebound (x[i] = v) is, before each change, the one that
    stands for what it was."""
    if not changes:
        return records
    was: dict[int, Tensor] = {}
    found: list[Record] = []
    end = len(records)
    for position, x, old in reversed(changes):
        found += (_with(was, record) for record in reversed(records[position:end]))
        was[id(x)] = old
        end = position
    found += (_with(was, record) for record in reversed(records[:end]))
    return found[::-1]


def _with(was: dict[int, Tensor], record: Record) -> Record:
    prim, inputs, attrs, outputs = record
    xs = tuple([was.get(id(x), x) for x in inputs])
    if type(outputs) is tuple:
        return prim, xs, attrs, tuple([was.get(id(y), y) for y in outputs])
    return prim, xs, attrs, was.get(id(outputs), outputs)


def _between(records: Sequence[Record], active: set[int]) -> list[tuple[Record, list[bool]]]:
    """The records that depend on tensors whose ids are `active`, and by which of their inputs.

    Afterwards `active` holds the ids of all tensors that do.
    """
    on_path = []
    for record in records:
        depends = [id(x) in active for x in record[1]]
        if True in depends:
            on_path.append((record, depends))
            outputs = record[3]
            if type(outputs) is tuple:
                active.update(map(id, outputs))
            else:
                active.add(id(outputs))
    return on_path


def _taken_together(
    grads: Gradients, outputs: tuple[Tensor, ...], kept: set[int], passed: Gradients
) -> tuple[Tensor | None, ...] | None:
    """What arrived at several outputs of one record; None if nothing did."""
    gs = tuple(grads.pop(id(y), None) for y in outputs)
    passed.update(
        (id(y), g) for y, g in zip(outputs, gs, strict=True) if g is not None and id(y) in kept
    )
    return gs if any(g is not None for g in gs) else None


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
        self._records: list[Record] | None = []
        self.record: Callable[[Record], None] = self._records.append
        self._watched: dict[int, Tensor] = {}  # by id of a tensor: what stands for its value then
        self._reads: dict[int, list[Tensor]] = {}  # by id of a variable: what it held when read
        self._variables: list[Variable] = []  # their ids stay valid while they live
        self._changes: list[Change] = []
        self._is_open = False
        self._unchanged: set[int] | None = None  # of a closed tape: ids, from the first change on
        dispatch.listen(self)

    def __enter__(self) -> GradientTape:
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
                _differentiable("watch", x)
                self._watched[id(x)] = x

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
        unconnected_gradients: Literal["none", "zero"] = "none",
    ) -> Any:
        """d sum(target) / d source for each of `sources`, in their structure.

        Args:
            target: a floating tensor or a tree of them, whose gradients are summed.
            sources: tensors (watched, or computed from what is), variables, or a tree of them.
                One that x[i] = v rebound is what it was when it was watched last; one that never
                was watched is what it is now.
            output_gradients: cotangents in the structure of `target`; ones by default.
            unconnected_gradients: what a source gets that `target` does not depend on: "none" gives
                None, "zero" zeros.

        Raises: StateError if the tape was used up; DTypeError for a target or source of integers;
            ShapeError if an output gradient does not have its target's shape.
        """
        records = self._open_records()
        targets = [as_tensor(y) for y in flatten(target)[0]]
        leaves, structure = flatten(sources)
        with dispatch.paused(self):
            cotangents = _seeds(targets, output_gradients)
            found = _apart(self._pull(records, targets, cotangents, leaves), cotangents)
            if unconnected_gradients == "zero":
                found = [
                    ops.zeros_like(x) if g is None else g
                    for x, g in zip(leaves, found, strict=True)
                ]
            elif unconnected_gradients != "none":
                raise ArgumentError(
                    "gradient",
                    got=f"unconnected_gradients={unconnected_gradients!r}",
                    why="there is no such choice",
                    fix='use "none" or "zero"',
                )
        return unflatten(structure, found)

    def jacobian(self, target: TensorLike, sources: Any) -> Any:
        """d target[i...] / d source[j...] for each of `sources`: shape target.shape + source.shape.

        Raises: as gradient().
        """
        y = as_tensor(target)
        records = self._open_records()
        leaves, structure = flatten(sources)
        _differentiable("jacobian", y)
        with dispatch.paused(self):
            rows = [
                self._pull(
                    records,
                    [y],
                    [ops.reshape(ops.one_hot(i, y.size, dtype=y.dtype), y.shape)],
                    leaves,
                )
                for i in range(y.size)
            ]
            columns = [
                _stacked(y, x, column)
                for x, column in zip(
                    leaves, zip(*rows, strict=True) if rows else [()] * len(leaves), strict=True
                )
            ]
        return unflatten(structure, columns)

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
        tensors = [self._tensors_of(leaf, records) for leaf in leaves]
        grads = iter(pullback(records, targets, cotangents, [t for ts in tensors for t in ts]))
        totals: list[Tensor | None] = []
        for ts in tensors:
            there = [g for g in (next(grads) for _ in ts) if g is not None]
            totals.append(sum(there[1:], start=there[0]) if there else None)
        return totals

    def _tensors_of(self, leaf: Any, records: Sequence[Record]) -> list[Tensor]:
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
        _differentiable("gradient", leaf)
        if id(leaf) in self._watched:
            return [self._watched[id(leaf)]]
        return [leaf] if self._is_watched(leaf, records) else []

    def _is_watched(self, x: Tensor, records: Sequence[Record]) -> bool:
        reads = [t for v in self._variables for t in self._tensors_of(v, records)]
        if any(x is t for t in reads):
            return True
        roots = {id(t) for t in (*self._watched.values(), *reads)}
        _between(records, roots)
        return id(x) in roots


def _apart(grads: Sequence[Tensor | None], given: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients as different objects: x[i] = v on one leaves the others and `given` alone."""
    seen = set(map(id, given))
    found: list[Tensor | None] = []
    for g in grads:
        found.append(shape.another(g) if g is not None and id(g) in seen else g)
        seen.add(id(g))
    return found


def _forget(record: Record) -> None:
    """What a tape that was used up does with a record."""


def _seeds(targets: Sequence[Tensor], output_gradients: Any) -> list[Tensor]:
    for y in targets:
        _differentiable("gradient", y)
    if output_gradients is None:
        return [ops.ones_like(y) for y in targets]
    given = [as_tensor(g) for g in flatten(output_gradients)[0]]
    if len(given) != len(targets):
        raise ArgumentError(
            "gradient",
            got=f"{len(given)} output gradients for {len(targets)} targets",
            why="each target needs one",
            fix="give them in the structure of the target",
        )
    for y, g in zip(targets, given, strict=True):
        if y.shape != g.shape:
            raise ShapeError(
                "gradient",
                got=f"target {y.spec}, output gradient {g.spec}",
                why="an output gradient has the shape of its target",
                fix="broadcast it: tf.broadcast_to(g, target.shape)",
            )
    return [ops.cast(g, y.dtype) for y, g in zip(targets, given, strict=True)]


def _differentiable(op: str, x: Tensor) -> None:
    if not is_inexact(x.dtype):
        raise DTypeError(
            op,
            got=x.spec,
            why="only floating tensors have gradients",
            fix="cast it before the tape: tf.cast(x, tf.float32)",
        )


def _stacked(y: Tensor, x: Any, rows: Sequence[Tensor | None]) -> Tensor | None:
    if rows and all(r is None for r in rows):
        return None
    if not rows:
        return ops.zeros((*y.shape, *x.shape), dtype=y.dtype)
    zero = ops.zeros_like(x)
    return ops.reshape(ops.stack([zero if r is None else r for r in rows]), (*y.shape, *x.shape))
