"""apply(): the one door through which every operation goes.

No trace open: the primitive runs on arrays. A trace open: a node is written into its graph. Either
way every recorder (tape or forward accumulator) is told, so that tracing and differentiating are
independent of each other.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from tapeflow.arrays import silent
from tapeflow.errors import OutOfMemoryError
from tapeflow.tensor import Tensor

if TYPE_CHECKING:
    from tapeflow.primitive import Primitive

NO_ATTRS: Mapping[str, Any] = {}  # ** takes 0.1 us longer to unpack a proxy
Outputs: TypeAlias = "Tensor | tuple[Tensor, ...]"
# What a tape keeps of one op: a plain tuple, since the garbage collector walks it and an object
# would cost 0.7 us. The outputs are one tensor, or a tuple where the op has several.
Record: TypeAlias = "tuple[Primitive, tuple[Tensor, ...], Mapping[str, Any], Outputs]"


def as_tuple(outputs: Outputs) -> tuple[Tensor, ...]:
    """The outputs of an op, one or several."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


class Recorder(Protocol):
    """A tape or forward accumulator."""

    def record(self, record: Record, /) -> None: ...

    def accessed(self, variable: Any, value: Tensor) -> None: ...


class Listener(Protocol):
    """Who knows tensors by their objects, and so must hear of x[i] = v also while it is paused, or
    closed, or open in another thread."""

    def rebound(self, x: Tensor, old: Tensor, /) -> None: ...


class Tracer(Protocol):
    """Where ops go in place of arrays: a graph that is being written, or many examples at once."""

    outer: Tracer | None  # what it is inside of, and may use values of
    is_symbolic: bool  # whether tensors have no values yet

    @property
    def is_heard(self) -> bool: ...  # whether recorders around it are told of steps

    def emit(
        self, prim: Primitive, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]
    ) -> tuple[Tensor, ...]: ...

    def told(self, record: Record) -> None: ...

    def knows(self, v: Any) -> bool: ...

    def read(self, variable: Any) -> Tensor: ...

    def write(self, variable: Any, value: Tensor) -> None: ...


class Context:
    """What is open in one thread."""

    __slots__ = (
        "check", "is_aside", "is_muted", "quiet", "recorders", "records", "tracer", "traces"
    )  # fmt: skip

    def __init__(self) -> None:
        self.check = _check
        self.tracer: Tracer | None = None
        self.traces = 0  # how many are open, one inside the other, suspended or not
        self.is_aside = False  # whether this is part of a function with a derivative of its own
        self.is_muted = False  # whether the recorders around a vmap are told nothing either
        self.recorders: tuple[Recorder, ...] = ()
        self.records: tuple[Callable[[Record], None], ...]  # the check, and their record methods
        self.record_with(())
        self.quiet = silent()

    def record_with(self, recorders: tuple[Recorder, ...]) -> None:
        self.recorders = recorders
        records = tuple(r.record for r in recorders)
        self.records = records if self.check is None else (self.check, *records)


Check: TypeAlias = "Callable[[Record], None] | None"
_check: Check = None  # of threads that start from now on


class _Here(threading.local):
    def __init__(self) -> None:
        self.context = Context()


here = _Here()
_new = object.__new__
_ndarray = np.ndarray


def apply(prim: Primitive, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any] = NO_ATTRS) -> Any:
    """The output of `prim`, or a tuple of them; recorded, and traced where a trace is open."""
    context = here.context
    if context.tracer is not None:
        outputs = _traced(context.tracer, prim, inputs, attrs)
    else:
        try:
            if len(inputs) == 2:  # unrolled: 0.2 us of 1.6 for a matmul
                a, b = inputs
                value = context.quiet(prim.eager, a.value, b.value, **attrs)
            else:
                value = context.quiet(prim.eager, *[x.value for x in inputs], **attrs)
        except (ValueError, TypeError, IndexError, AttributeError, MemoryError) as error:
            _explain(prim, inputs, attrs, error)
            raise
        outputs = tuple(map(wrap, value)) if prim.multiple else wrap(value)
    for record in context.records:
        record((prim, inputs, attrs, outputs))
    return outputs


def tell(record: Record) -> None:
    """Let recorders know of a step that is no op of its own."""
    context = here.context
    for tell_one in context.records:
        tell_one(record)
    if context.tracer is not None:
        context.tracer.told(record)


def is_heard() -> bool:
    """Whether a step would be told to anybody."""
    context = here.context
    return bool(context.records) or (context.tracer is not None and context.tracer.is_heard)


def _traced(
    tracer: Tracer, prim: Primitive, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]
) -> Outputs:
    emitted = tracer.emit(prim, inputs, attrs)
    return emitted if prim.multiple else emitted[0]


def _explain(
    prim: Primitive, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any], error: Exception
) -> None:
    """Raise what the shape rule says of inputs that the array function did not take."""
    for x in inputs:
        x.concrete(prim.name)
    specs = prim.output_specs(tuple(x.spec for x in inputs), attrs)
    if isinstance(error, MemoryError) and not isinstance(error, OutOfMemoryError):
        raise OutOfMemoryError(
            prim.name,
            got=", ".join(str(x.spec) for x in inputs),
            why=f"{' and '.join(map(str, specs))}, {sum(s.nbytes for s in specs):,} bytes, cannot "
            "be had",
            fix="work on a part at a time, or in a narrower dtype",
        ) from error


def wrap(value: Any) -> Tensor:
    """An array or NumPy scalar as a Tensor, without copying."""
    tensor = _new(Tensor)
    tensor.value = value if type(value) is _ndarray else np.asarray(value)
    return tensor


def unary(prim: Primitive, x: Tensor, attrs: Mapping[str, Any] = NO_ATTRS) -> Tensor:
    """`prim` of one tensor, with one output: the short way of apply()."""
    context = here.context
    if context.tracer is not None:
        return apply(prim, (x,), attrs)  # type: ignore[no-any-return]
    tensor = _new(Tensor)
    try:
        value = context.quiet(prim.eager, x.value, **attrs)
    except (ValueError, TypeError, IndexError, AttributeError, MemoryError) as error:
        _explain(prim, (x,), attrs, error)
        raise
    tensor.value = value if type(value) is _ndarray else np.asarray(value)
    for record in context.records:
        record((prim, (x,), attrs, tensor))
    return tensor


def binary(
    prim: Primitive, general: Callable[[Any, Any], Tensor], kinds: str
) -> Callable[[Any, Any], Tensor]:
    """`prim`, defined for dtypes of these `kinds`, as an operator: two eager tensors of one dtype,
    or such a tensor and a Python number, take a short way, all else `general`."""
    array_fn = prim.array_fn
    numbers = (float, int) if "f" in kinds else ()

    def operator(x: Any, y: Any) -> Tensor:
        context = here.context
        if context.tracer is None and type(x) is Tensor:
            a = x.value
            if type(y) is Tensor:
                b = y.value
                alike = a.shape == b.shape or not context.records  # tapes see broadcasting
                if alike and a.dtype is b.dtype and a.dtype.kind in kinds:
                    tensor = _new(Tensor)
                    try:
                        value = context.quiet(array_fn, a, b)
                    except (TypeError, ValueError, MemoryError):  # which `general` explains
                        return general(x, y)
                    tensor.value = value if type(value) is _ndarray else np.asarray(value)
                    for record in context.records:
                        record((prim, (x, y), NO_ATTRS, tensor))
                    return tensor
            elif type(y) in numbers and a.dtype.kind == "f":
                try:
                    tensor = wrap(context.quiet(array_fn, a, y))
                except (TypeError, OverflowError, MemoryError):
                    return general(x, y)
                for record in context.records:
                    record((prim, (x, wrap(context.quiet(np.array, y, a.dtype))), NO_ATTRS, tensor))
                return tensor
        return general(x, y)

    return operator


def reflected(
    prim: Primitive, general: Callable[[Any, Any], Tensor], kinds: str
) -> Callable[[Any, Any], Tensor]:
    """`prim` as the operator of a value on its left, mostly a Python number."""
    array_fn = prim.array_fn
    numbers = (float, int) if "f" in kinds else ()

    def operator(y: Any, x: Any) -> Tensor:
        context = here.context
        if type(x) in numbers and type(y) is Tensor and context.tracer is None:
            b = y.value
            if b.dtype.kind == "f":
                try:
                    tensor = wrap(context.quiet(array_fn, x, b))
                except (TypeError, OverflowError, MemoryError):
                    return general(x, y)
                for record in context.records:
                    record((prim, (wrap(context.quiet(np.array, x, b.dtype)), y), NO_ATTRS, tensor))
                return tensor
        return general(x, y)

    return operator


def tracer() -> Tracer | None:
    """The trace that is open in this thread."""
    return here.context.tracer


def start(recorder: Recorder) -> None:
    """Tell `recorder` of every op from now on."""
    context = here.context
    context.record_with((*context.recorders, recorder))


_listeners: list[weakref.ref[Listener]] = []  # each step on it is a single one of the interpreter


def listen(listener: Listener) -> None:
    """Tell `listener` of every tensor that is rebound, while it lives."""
    _listeners.append(weakref.ref(listener, _listeners.remove))


def rebind(x: Tensor, value: Any, old: Tensor) -> None:
    """Let `x` hold `value` from now on. What it was until now is `old`."""
    for held in _listeners.copy():
        listener = held()
        if listener is not None:
            listener.rebound(x, old)
    x.value = value


def stop(recorder: Recorder) -> None:
    """Tell `recorder` no more."""
    context = here.context
    if recorder in context.recorders:
        context.record_with(tuple(r for r in context.recorders if r is not recorder))


class recording_only:  # a class: contextmanager would cost 1 us more
    """Inside, only `recorders` are told."""

    __slots__ = ("_context", "_previous", "_recorders")

    def __init__(self, recorders: tuple[Recorder, ...]) -> None:
        self._recorders = recorders

    def __enter__(self) -> None:
        self._context = here.context
        self._previous = self._context.recorders
        self._context.record_with(self._recorders)

    def __exit__(self, *exc: object) -> None:
        self._context.record_with(self._previous)


def check_with(check: Check) -> Check:
    """Let `check` see each op, before recorders do and while they are paused, in this thread and
    those that start later; gives the one until now."""
    global _check
    context = here.context
    before, _check, context.check = context.check, check, check
    context.record_with(context.recorders)
    return before


class within:
    """Inside, ops go to `tracer` and these recorders are told, and those around a vmap, unless
    muted."""

    __slots__ = ("_before", "_is_muted", "_recorders", "_tracer")

    def __init__(
        self, tracer: Tracer | None, recorders: tuple[Recorder, ...], is_muted: bool
    ) -> None:
        self._tracer, self._recorders, self._is_muted = tracer, recorders, is_muted

    def __enter__(self) -> None:
        context = here.context
        self._before = context.tracer, context.recorders, context.is_muted
        context.tracer, context.is_muted = self._tracer, self._is_muted
        context.record_with(self._recorders)

    def __exit__(self, *exc: object) -> None:
        context = here.context
        context.tracer, recorders, context.is_muted = self._before
        context.record_with(recorders)


def paused(recorder: Recorder) -> recording_only:
    """Inside, `recorder` is not told."""
    return recording_only(tuple(r for r in here.context.recorders if r is not recorder))


def muted() -> within:
    """Inside, no recorder is told of anything."""
    return within(here.context.tracer, (), is_muted=True)


@contextmanager
def aside() -> Iterator[None]:
    """Inside, what runs is part of a function that has a derivative of its own."""
    context = here.context
    before, context.is_aside = context.is_aside, True
    try:
        yield
    finally:
        context.is_aside = before


@contextmanager
def tracing(new_tracer: Tracer | None) -> Iterator[None]:
    """Inside, ops go to `new_tracer`; None suspends tracing, for values that outlive it."""
    context = here.context
    previous, context.tracer = context.tracer, new_tracer
    context.traces += new_tracer is not None
    try:
        yield
    finally:
        context.tracer = previous
        context.traces -= new_tracer is not None
