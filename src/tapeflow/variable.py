"""Variable: the one mutable thing. While tracing, a read is an input and a write is an output."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tapeflow import arguments, claims, dispatch, scope
from tapeflow.dtypes import DType, as_dtype
from tapeflow.errors import DTypeError, ShapeError, StateError, TraceError
from tapeflow.ops.casts import cast
from tapeflow.ops.elementwise import Weak, coerce
from tapeflow.ops.index import updated
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor
from tapeflow.tree import map_tree


class Variable:
    """A named tensor that can be replaced by another of the same shape and dtype.

    Args:
        initial_value: a tensor, NumPy array, number or nested lists; or a function that gives one.
        trainable: whether tapes watch it without being told.
        name: below the current name scope; by default `Variable`, `Variable_1`, ...
        dtype: what the initial value is cast to; by default its own.

    Raises: StateError without an initial value; TraceError if that is a traced value.

    >>> v = Variable([1.0, 2.0], name="v")
    >>> v.assign_add([0.5, 0.5]).numpy().tolist()
    [1.5, 2.5]
    """

    __array_priority__ = Tensor.__array_priority__
    __array_function__ = Tensor.__array_function__
    __slots__ = ("__weakref__", "constraint", "name", "tensor", "trainable")

    def __init__(
        self,
        initial_value: Any,
        trainable: bool = True,
        name: str | None = None,
        dtype: object = None,
    ) -> None:
        self.trainable = trainable
        self.constraint: Callable[[Tensor], Tensor] | None = None  # optimizers keep to it
        self.name = scope.unique(name or "Variable")
        if initial_value is None:
            raise StateError(
                "Variable",
                got=f"initial_value=None for {self.name!r}",
                why="a variable always has a value",
                fix="give one, e.g. tf.zeros(shape)",
            )
        with dispatch.tracing(None), dispatch.recording_only(()):  # it outlives any trace
            value = as_tensor(initial_value() if callable(initial_value) else initial_value)
            if value.is_traced:
                raise TraceError(
                    "Variable",
                    got=f"the initial value {value!r} for {self.name!r}",
                    why="a variable made in a compiled function outlives its trace",
                    fix="make it outside, or give a function of no arguments",
                )
            # a tensor of its own: x[i] = v on the one that was given leaves the variable alone
            own = Tensor(value.value)
            self.tensor = own if dtype is None else cast(own, as_dtype(dtype, "Variable"))

    @property
    def value(self) -> Tensor:
        """What it holds now, as a tensor of its own: x[i] = v on that leaves the variable alone."""
        context = dispatch.here.context
        if context.tracer is not None:
            return context.tracer.read(self)
        value = Tensor(self.tensor.value)
        # A program that writes over this memory made its claim before it counted who holds it: it
        # either copied because of `value`, or its claim is seen here, or it has ended.
        if claims.standing:
            value = claims.exclusively((self,), (), self._held)
        return self.accessed(value) if context.recorders else value

    def accessed(self, value: Tensor) -> Tensor:
        """Tell recorders that this value was read; the value."""
        for recorder in dispatch.here.context.recorders:
            recorder.accessed(self, value)
        return value

    def _held(self, claim: claims.Claim) -> Tensor:
        return Tensor(self.tensor.value)

    def __tapeflow_tensor__(self) -> Tensor:
        return self.value

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    @property
    def dtype(self) -> DType:
        return self.tensor.dtype

    @property
    def ndim(self) -> int:
        return self.tensor.ndim

    @property
    def size(self) -> int:
        return self.tensor.size

    @property
    def spec(self) -> Spec:
        return self.tensor.spec

    def numpy(self) -> Array:
        """A copy of what it holds."""
        return self.value.concrete("numpy").copy()

    def assign(self, value: TensorLike) -> Variable:
        """Hold `value` from now on.

        Raises: ShapeError or DTypeError unless it has the variable's shape and dtype.
        """
        x = self._fitting(value)
        tracer = dispatch.tracer()
        if tracer is None:
            claims.exclusively((), (self,), self._hold, x)
        else:
            tracer.write(self, x)
        return self

    def _hold(self, claim: claims.Claim, x: Tensor) -> None:
        self.tensor = x

    def _fitting(self, value: TensorLike) -> Tensor:
        """`value` as a tensor of its own, which may be assigned."""
        x = (
            coerce("assign", self.tensor, value)[1]
            if isinstance(value, int | float | Weak)
            else as_tensor(value)
        )
        if x.shape != self.shape:
            raise ShapeError(
                "assign",
                got=f"{self.name}: {self.spec}, value {x.spec}",
                why="a variable keeps its shape",
                fix="reshape the value, or make a new variable",
            )
        if x.dtype != self.dtype:
            x = self._in_own_dtype(x, value)
        if x.is_traced and dispatch.tracer() is None:
            raise TraceError(
                "assign",
                got=f"{x!r} for {self.name}",
                why="its trace has ended",
                fix="return the value from the compiled function and assign it outside",
            )
        return Tensor(x.value)  # x[i] = v on the one that was given leaves the variable alone

    def _in_own_dtype(self, x: Tensor, value: TensorLike) -> Tensor:
        """Lists of numbers are as weak as one number; a tensor of another dtype is a mistake."""
        if isinstance(value, list | tuple):
            return cast(x, self.dtype)
        raise DTypeError(
            "assign",
            got=f"{self.name}: {self.spec}, value {x.spec}",
            why="a variable keeps its dtype",
            fix=f"cast the value: tf.cast(x, {self.dtype.name!r})",
        )

    def assign_add(self, value: TensorLike) -> Variable:
        """Hold the sum of what it holds and `value`; no other thread writes in between."""
        return self._change(operator.add, self._operand(value))

    def assign_sub(self, value: TensorLike) -> Variable:
        """Hold the difference of what it holds and `value`; no other thread writes in between."""
        return self._change(operator.sub, self._operand(value))

    def _operand(self, value: TensorLike) -> TensorLike:
        given = _read_now(value)
        return cast(as_tensor(given), self.dtype) if isinstance(given, list | tuple) else given

    def __setitem__(self, key: Any, value: TensorLike) -> None:
        """Hold what it holds with `value` in place of its elements at `key`."""
        self._change(updated, _read_now(key), _read_now(value))

    def _change(self, operation: Callable[..., Tensor], *operands: Any) -> Variable:
        self.exchange(lambda x: operation(x, *operands))
        return self

    def exchange(self, operation: Callable[[Tensor], Tensor]) -> Tensor:
        """Hold what `operation` makes of what it holds, and give what it held; no other thread
        writes in between. The operation must read no other variable."""
        if dispatch.tracer() is None:
            return claims.exclusively((), (self,), self._exchanged, operation)
        value = self.value
        self.assign(operation(value))
        return value

    def _exchanged(self, claim: claims.Claim, operation: Callable[[Tensor], Tensor]) -> Tensor:
        value = self.accessed(Tensor(self.tensor.value))
        self.tensor = self._fitting(operation(value))
        return value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.value.__array__(dtype, copy)

    def __repr__(self) -> str:
        return f"<Variable {self.name}: {self.spec}\n{self.value!r}>"

    def __len__(self) -> int:
        return len(self.tensor)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)


def _read_now(x: Any) -> Any:
    """`x` with variables read: two threads that each hold one and ask for the other's would wait
    for ever."""
    return x if type(x) is Tensor else map_tree(_value, x)


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Variable) else x


def variables_in(op: str, given: Iterable[Variable]) -> Sequence[Variable]:
    """`given` as a list. Raises: ArgumentError in the name of `op` unless all are variables."""
    found = arguments.several(op, "variables", given, "variables")
    for v in found:
        if not isinstance(v, Variable):
            raise arguments.wrong(op, "variables", v, "a list of variables")
    return found


_OWN = frozenset(vars(Variable))
_COMPARISONS = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")


def _bind() -> None:
    """Operators, methods and properties of a variable are those of its value."""
    for name, member in list(vars(Tensor).items()):
        if name in _OWN or name in ("__slots__", "__hash__", "value"):
            continue
        if isinstance(member, property):
            setattr(Variable, name, _property(name))
        elif callable(member) and (name in _COMPARISONS or not hasattr(object, name)):
            setattr(Variable, name, _method(name))
    Variable.__hash__ = object.__hash__  # type: ignore[method-assign]


def _property(name: str) -> property:
    def get(self: Variable) -> Any:
        return getattr(self.value, name)

    return property(get, doc=getattr(Tensor, name).__doc__)


def _method(name: str) -> Any:
    def method(self: Variable, *args: Any, **keywords: Any) -> Any:
        return getattr(self.value, name)(*args, **keywords)

    method.__name__ = name
    method.__doc__ = f"`Tensor.{name}` of what the variable holds."
    return method


_bind()
