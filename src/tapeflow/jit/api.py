"""jit(): trace once for each set of types, then run machine code."""

from __future__ import annotations

import functools
import inspect
import threading
import time
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

import numpy as np

from tapeflow import arguments, config, dispatch
from tapeflow.autodiff.batching import Batch, vmap
from tapeflow.jit.arguments import Classified, Kind, Leaf, Parameters, Static, collect
from tapeflow.jit.signature import fitted
from tapeflow.ops.elementwise import Weak
from tapeflow.tensor import Array, Tensor, as_tensor
from tapeflow.tree import LEAF, Structure, flatten, unflatten

if TYPE_CHECKING:  # the compiler is loaded by the first call: LLVM alone takes 60 ms
    from tapeflow.jit.call import Compiled, Recorded
    from tapeflow.jit.explain import Explanation, Lowered
    from tapeflow.jit.reasons import Reason

P = ParamSpec("P")
R = TypeVar("R")
_TENSOR = object()


class Jitted(Generic[P, R]):
    """A function that runs compiled. Made by `jit`."""

    def __init__(
        self,
        fn: Callable[P, R],
        static_argnames: str | Sequence[str] = (),
        input_signature: Sequence[Any] | None = None,
        background: bool = False,
    ) -> None:
        functools.update_wrapper(self, fn)
        self._signature, self._background = input_signature, background
        self.fn = fn
        self._parameters = Parameters(fn, static_argnames)
        self._lock = threading.RLock()
        self.programs: dict[Any, Entry] = {}
        # by id of the instance: those that are equal are still different
        self._methods: dict[int, tuple[Callable[[], Any], Jitted[..., Any]]] = {}
        self._examples: dict[Any, Jitted[..., Any]] = {}  # inside of tf.vmap, by which are many
        self._short: dict[tuple[Any, ...], Entry] = {}  # by what `collect` says
        self.made_in: Batch | None = None  # examples of that one may be in its closure

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        context = dispatch.here.context
        if self._signature is not None:
            args = fitted(self._name, self._signature, args)  # type: ignore[assignment]
        if context.tracer is not None:
            batch = context.tracer if type(context.tracer) is Batch else None
            if batch and batch.is_eager and batch is not self.made_in and not context.records:
                return cast(R, self._for_examples(batch, args, kwargs))
            return self.fn(*args, **kwargs)  # part of the trace that is open
        if kwargs:
            return cast(R, self._mixed(args, kwargs))
        key: list[Any] = [config.numerics()]
        arrays: list[Array] = []
        for x in args:
            if type(x) is not Tensor:
                return cast(R, self._mixed(args, kwargs))
            value = x.value
            if type(value) is not np.ndarray:
                return cast(R, self._general(args, kwargs))
            arrays.append(value)
            key.append(value.shape)
            key.append(value.dtype)
        entry = self._short.get(tuple(key))
        if entry is None or context.records:
            return cast(R, self._general(args, kwargs, tuple(key)))
        return cast(R, entry.finish(entry.compiled.run(arrays)))

    def _mixed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A call with other arguments than tensors by position."""
        given = self._parameters.positional(args, kwargs) if kwargs else args
        if given is None or self._parameters.static:
            return self._general(args, kwargs)
        key: list[Any] = [config.numerics()]
        arrays: list[Array] = []
        if not collect(given, key, arrays, self._name):
            return self._general(args, kwargs)
        entry = self._short.get(tuple(key))
        if entry is None or dispatch.here.context.records:
            return self._general(args, kwargs, tuple(key))
        return entry.finish(entry.compiled.run(arrays))

    def _general(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], key: tuple[Any, ...] | None = None
    ) -> Any:
        """Any call; the next one whose arguments have this `key` takes a shorter way."""
        found = self._parameters.classify(args, kwargs)
        entry = self._entry(found)
        if key is not None:
            self._short[key] = entry
        if dispatch.here.context.records:
            return entry.finish_tensors(entry.record(found.passed))
        return entry.finish(entry.compiled.run([x.value for x in found.passed]))

    def _for_examples(self, batch: Batch, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """A call inside of tf.vmap: what is compiled is the function for all examples."""
        given = self._parameters.positional(args, kwargs)
        if given is None:
            return self.fn(*args, **kwargs)
        leaves, structure = flatten(given)
        lanes = tuple(isinstance(x, Tensor) and batch.owns(x) for x in leaves)
        wholes = [x.value.whole if b else x for x, b in zip(leaves, lanes, strict=True)]
        with batch.outside():
            result = self._mapped(structure, lanes)(*unflatten(structure, wholes))
        outputs, form = flatten(result)
        is_one = True in lanes
        return unflatten(form, [batch.lane(y) if is_one and _is_result(y) else y for y in outputs])

    def _mapped(self, structure: Structure, lanes: tuple[bool, ...]) -> Callable[..., Any]:
        """The compiled function of all examples, which lie along axis 0 of these leaves."""
        if True not in lanes:
            return self
        with self._lock:
            if (structure, lanes) not in self._examples:
                axes = unflatten(structure, [0 if b else None for b in lanes])
                static = tuple(self._parameters.static)
                mapped = Jitted(vmap(self.fn, axes), static, background=self._background)
                mapped.made_in = self.made_in
                self._examples[structure, lanes] = mapped
            return self._examples[structure, lanes]

    @property
    def _name(self) -> str:
        return getattr(self.fn, "__name__", type(self.fn).__name__)

    def _entry(self, found: Classified) -> Entry:
        from tapeflow.jit import reasons

        with self._lock:
            entry = self.programs.get(found.key)
            if entry is not None:
                return entry
            reason = reasons.why(self._parameters, [*self.programs], found.key)
            entry = self._compile(found.structure, found.kinds, reason)
            self.programs[found.key] = entry
            made = [entry.reason for entry in self.programs.values()]
        reasons.report(self._name, made, quietly=self._signature is not None)
        return entry

    def _compile(self, structure: Structure, kinds: tuple[Kind, ...], reason: Reason) -> Entry:
        from tapeflow.jit.call import Compiled
        from tapeflow.jit.trace import trace_state

        start = time.perf_counter()
        results: dict[str, Any] = {}

        def call(symbols: Sequence[Tensor]) -> list[Tensor]:
            given = iter(symbols)
            leaves = [kind.value if isinstance(kind, Static) else next(given) for kind in kinds]
            args, kwargs = unflatten(structure, leaves)
            outputs, shape = flatten(self.fn(*args, **kwargs))
            results["structure"] = shape
            results["constants"] = [_TENSOR if _is_result(y) else y for y in outputs]
            return [as_tensor(y) for y in outputs if _is_result(y)]

        passed = [kind for kind in kinds if isinstance(kind, Leaf)]

        def wrap(i: int, x: Tensor) -> Tensor:
            return Weak(x.value) if passed[i].is_number else x

        traced = trace_state(call, [kind.spec for kind in passed], self._name, wrap)
        seconds = time.perf_counter() - start
        compiled = Compiled(traced, self._background, reason.only_sizes)
        return Entry(compiled, results["structure"], results["constants"], seconds, reason)

    # ---- looking inside

    def lower(self, *args: P.args, **kwargs: P.kwargs) -> Lowered:
        """The program for these arguments: `.graph .kernels .source .memory`."""
        return self._lowered(self._found(args, kwargs))

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """What the program for these arguments does and costs; prints as text, shows in notebooks.

        The traces, why each happened and what avoids it; the graph before and after optimisation;
        each step with its time, operations and bytes beside what the machine does at most, also as
        `.rows` and as a picture, `.roofline(path=None)`; memory, times and source. Steps are timed
        one by one, on copies of variables, when that is first asked for; those with effects are not
        run.
        """
        from tapeflow.jit.explain import Explanation

        found = self._found(args, kwargs)
        lowered = self._lowered(found)
        arrays = [x.value for x in found.passed]
        return Explanation(self._name, [*self.programs.values()], lowered, arrays)

    def _found(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Classified:
        if self._signature is not None:
            args = fitted(self._name, self._signature, args)
        return self._parameters.classify(args, kwargs)

    def _lowered(self, found: Classified) -> Lowered:
        from tapeflow.jit.explain import Lowered

        compiled = self._entry(found).compiled
        return Lowered(compiled.trace, compiled.settled())

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """A method compiles for its instance, and its programs go when that does."""
        if instance is None:
            return self
        with self._lock:
            known, function = self._methods.get(id(instance), (None, None))
            if function is None or known is None or known() is not instance:
                function = self._method_of(instance)
        return BoundJitted(function, instance)

    def _method_of(self, instance: Any) -> Jitted[..., Any]:
        key, methods, fn = id(instance), self._methods, self.fn
        try:
            known: Callable[[], Any] = weakref.ref(instance, lambda gone: methods.pop(key, None))
        except TypeError:  # it has __slots__ without __weakref__: it is kept, as its programs are
            known = functools.partial(_same, instance)

        def method(*args: Any, **kwargs: Any) -> Any:
            return fn(known(), *args, **kwargs)

        functools.update_wrapper(method, fn)
        with suppress(TypeError, ValueError):  # of a built-in function, whose arguments stay
            signature = inspect.signature(types.MethodType(fn, instance))
            method.__signature__ = signature  # type: ignore[attr-defined]
        function: Jitted[..., Any] = Jitted(
            method, tuple(self._parameters.static), self._signature, self._background
        )
        methods[key] = known, function
        return function

    def __repr__(self) -> str:
        return f"<jit {self._name}: {len(self.programs)} traces>"


@dataclass(frozen=True)
class BoundJitted:
    """A compiled method of one object, which lives at least as long."""

    function: Jitted[..., Any]
    instance: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """As Jitted.lower, for this object."""
        return self.function.lower(*args, **kwargs)

    def explain(self, *args: Any, **kwargs: Any) -> Explanation:
        """As Jitted.explain, for this object."""
        return self.function.explain(*args, **kwargs)


@dataclass
class Entry:
    """One trace of a function: its program, and how the results are put together."""

    compiled: Compiled
    structure: Structure
    constants: list[Any]  # _TENSOR where a tensor stands
    trace_seconds: float
    reason: Reason
    _is_one: bool = field(init=False)
    _recorded: Recorded | None = None

    def __post_init__(self) -> None:
        self._is_one = self.structure == LEAF and self.constants[0] is _TENSOR

    def finish(self, arrays: list[Array]) -> Any:
        """The results of a call, from the arrays of the program."""
        if self._is_one:
            return dispatch.wrap(arrays[0])
        return self.finish_tensors([dispatch.wrap(a) for a in arrays])

    def record(self, passed: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results of a call that tapes see: one node, whose derivative is compiled in turn."""
        from tapeflow.jit.call import Recorded

        if self._recorded is None:
            self._recorded = Recorded(self.compiled, Jitted)
        return self.compiled.apply(self._recorded, passed)

    def finish_tensors(self, tensors: Sequence[Tensor]) -> Any:
        given = iter(tensors)
        leaves = [next(given) if c is _TENSOR else c for c in self.constants]
        return unflatten(self.structure, leaves)


def _same(instance: Any) -> Any:
    return instance


@overload
def jit(
    fn: Callable[P, R],
    static_argnames: str | Sequence[str] = (),
    input_signature: Sequence[Any] | None = None,
    background: bool = False,
) -> Jitted[P, R]: ...


@overload
def jit(
    fn: None = None,
    static_argnames: str | Sequence[str] = (),
    input_signature: Sequence[Any] | None = None,
    background: bool = False,
) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...


def jit(
    fn: Any = None,
    static_argnames: str | Sequence[str] = (),
    input_signature: Sequence[Any] | None = None,
    background: bool = False,
) -> Any:
    """`fn` compiled: traced on its first call for each set of argument types, then machine code.

    Tensors, NumPy arrays, Python numbers and trees of them are passed to the compiled program;
    strings, bools, modules and other hashable objects are compiled in, and another one means
    another trace. Variables that are read and assigned, tapes, optimizers and random numbers all
    work inside. Tensors of a closure are compiled in, and gradients flow to them. Numbers named in
    `static_argnames` are compiled in too, e.g. sizes. With an `input_signature`, a tf.TensorSpec
    for each argument, arguments of other types are refused.
    With `background` the first calls do not wait for machine code: what was traced runs op by op
    until a thread has compiled it. Where that fails, the next call says so. A function that is made
    inside of tf.vmap runs op by op there.

    A function that was traced 17 times warns once of the argument that keeps changing; the logger
    `tapeflow.jit` tells of each trace.

    A host random number (NumPy's, Python's) would be the same in every call, so it is refused; what
    a generator gives that `fn` itself makes from a fixed seed is the same in any case. Of a clock
    that is read a TraceWarning tells.

    Raises: TraceError where a value is needed that only a run has, or for a host random number;
        ShapeError or DTypeError where an argument does not fit the signature; what `fn` itself
        raises.

    >>> import tapeflow as tf
    >>> @tf.jit
    ... def f(x, y):
    ...     return tf.tanh(x) * y
    >>> f(tf.zeros(2), 3.0)
    Tensor([0., 0.], f32[2])
    """
    if fn is None:
        return lambda f: jit(f, static_argnames, input_signature, background)
    function = arguments.function("jit", "fn", fn)
    jitted = Jitted(function, static_argnames, input_signature, background)
    tracer = dispatch.tracer()
    jitted.made_in = tracer if isinstance(tracer, Batch) else None
    return jitted


def _is_result(y: Any) -> bool:
    """Whether a result is passed out of the program; what is not was compiled in."""
    return isinstance(y, Tensor | np.ndarray | np.generic) or hasattr(y, "__tapeflow_tensor__")
