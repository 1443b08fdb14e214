"""Spec and Tensor: what a value looks like, and the value itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from tapeflow import arrays, config
from tapeflow.arrays import Array as Array
from tapeflow.dtypes import SHORT, DType, as_dtype, default_of
from tapeflow.errors import ArgumentError, DTypeError, TraceError

if TYPE_CHECKING:
    from tapeflow.graph import Var

Axis: TypeAlias = int | Sequence[int] | None


@dataclass(frozen=True, slots=True)
class Spec:
    """Shape and dtype: all that a shape rule may look at. Prints as `f32[32,784]`."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{SHORT[self.dtype]}[{','.join(map(str, self.shape))}]"


class Tensor:
    """An immutable array: a NumPy array, or while tracing a variable of the graph.

    Arithmetic, indexing and the other methods are bound in `tapeflow.ops`, from the operations.
    """

    __slots__ = ("value",)
    __hash__ = None  # type: ignore[assignment]   # == compares elements
    __array_priority__ = 1000.0  # NumPy arrays on the left leave the operation to us

    value: Any  # NDArray | Var: a union would cost a cast at every use

    if TYPE_CHECKING:  # bound in tapeflow.ops

        def __add__(self, other: TensorLike) -> Tensor: ...
        def __radd__(self, other: TensorLike) -> Tensor: ...
        def __sub__(self, other: TensorLike) -> Tensor: ...
        def __rsub__(self, other: TensorLike) -> Tensor: ...
        def __mul__(self, other: TensorLike) -> Tensor: ...
        def __rmul__(self, other: TensorLike) -> Tensor: ...
        def __truediv__(self, other: TensorLike) -> Tensor: ...
        def __rtruediv__(self, other: TensorLike) -> Tensor: ...
        def __floordiv__(self, other: TensorLike) -> Tensor: ...
        def __rfloordiv__(self, other: TensorLike) -> Tensor: ...
        def __mod__(self, other: TensorLike) -> Tensor: ...
        def __rmod__(self, other: TensorLike) -> Tensor: ...
        def __pow__(self, other: TensorLike) -> Tensor: ...
        def __rpow__(self, other: TensorLike) -> Tensor: ...
        def __matmul__(self, other: TensorLike) -> Tensor: ...
        def __rmatmul__(self, other: TensorLike) -> Tensor: ...
        def __and__(self, other: TensorLike) -> Tensor: ...
        def __rand__(self, other: TensorLike) -> Tensor: ...
        def __or__(self, other: TensorLike) -> Tensor: ...
        def __ror__(self, other: TensorLike) -> Tensor: ...
        def __xor__(self, other: TensorLike) -> Tensor: ...
        def __rxor__(self, other: TensorLike) -> Tensor: ...
        def __lshift__(self, other: TensorLike) -> Tensor: ...
        def __rlshift__(self, other: TensorLike) -> Tensor: ...
        def __rshift__(self, other: TensorLike) -> Tensor: ...
        def __rrshift__(self, other: TensorLike) -> Tensor: ...
        def __lt__(self, other: TensorLike) -> Tensor: ...
        def __le__(self, other: TensorLike) -> Tensor: ...
        def __gt__(self, other: TensorLike) -> Tensor: ...
        def __ge__(self, other: TensorLike) -> Tensor: ...
        def __eq__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: object) -> Tensor: ...  # type: ignore[override]
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: TensorLike) -> None: ...
        def __iter__(self) -> Iterator[Tensor]: ...
        def astype(self, dtype: object, *, copy: bool = True) -> Tensor: ...
        def reshape(self, shape: int | Sequence[int]) -> Tensor: ...
        def transpose(self, axes: Sequence[int] | None = None) -> Tensor: ...
        def sum(self, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor: ...
        def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
        def min(self, axis: Axis = None, keepdims: bool = False) -> Tensor: ...

        def to_device(self, device: object, /, *, stream: object = None) -> Tensor: ...
        def __dlpack__(self, **keywords: Any) -> Any: ...
        def __dlpack_device__(self) -> tuple[int, int]: ...

        T: Tensor
        mT: Tensor
        device: str

    def __init__(self, value: Array | Var):
        self.value = value

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return cast("tuple[int, ...]", self.value.shape)

    @property
    def dtype(self) -> DType:
        """The type of the elements."""
        return cast("DType", self.value.dtype)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.value.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.value.shape)

    @property
    def spec(self) -> Spec:
        return Spec(self.value.shape, self.value.dtype)

    @property
    def is_traced(self) -> bool:
        """Whether this stands for a value that a compiled function will compute."""
        return not isinstance(self.value, np.ndarray)

    @property
    def name(self) -> str | None:
        """The name in the graph being traced; None for a tensor that has a value."""
        return self.value.name if self.is_traced else None

    def concrete(self, op: str) -> Array:
        """The array. Raises: TraceError in the name of `op` if there is none yet."""
        if not isinstance(self.value, np.ndarray):
            from tapeflow import dispatch  # which makes tensors

            if not dispatch.here.context.traces:
                raise ended(op, self)
            raise TraceError(
                op,
                got=f"a traced value of type {self.spec}",
                why=self.value.valueless,
                fix=self.value.fixes.get(op, "return it from the function, and use it outside"),
            )
        return self.value

    def numpy(self) -> Array:
        """The elements as a read-only NumPy array that shares memory; copy it to write to it."""
        view = self.concrete("numpy").view()
        view.flags.writeable = False
        return view

    def item(self) -> Any:
        """The only element, as a Python number. Raises: ArgumentError if it is not the only one."""
        return self._only("item").item()

    def _only(self, op: str) -> Array:
        array = self.concrete(op)
        if array.size != 1:
            raise ArgumentError(
                op,
                got=self.spec,
                why=f"there are {array.size} elements, not one",
                fix="index the element you want, or use .numpy().tolist()",
            )
        return array

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self.concrete("tolist").tolist()

    def _number(self, op: str) -> Array:
        array = self.concrete(op)
        if array.size != 1 or array.ndim:
            raise ArgumentError(
                op,
                got=self.spec,
                why=f"{op}() needs a tensor without axes",
                fix="reduce it first, e.g. tf.all(x), tf.any(x) or tf.sum(x)",
            )
        return array

    def __bool__(self) -> bool:
        return bool(self._number("bool"))

    def _real(self, op: str) -> Array:
        array = self._number(op)
        if array.dtype.kind == "c":  # NumPy would drop the imaginary part
            raise DTypeError(
                op,
                got=self.spec,
                why=f"a complex number is no {op}",
                fix="take tf.real(x), tf.imag(x) or tf.abs(x) first",
            )
        return array

    def __int__(self) -> int:
        return int(self._real("int"))

    def __float__(self) -> float:
        return float(self._real("float"))

    def __complex__(self) -> complex:
        return complex(self._number("complex"))

    def __index__(self) -> int:
        array = self._number("index")
        if array.dtype.kind not in "iu":
            raise DTypeError(
                "index",
                got=self.spec,
                why="only integers can be an index",
                fix="cast it: tf.cast(x, tf.int64)",
            )
        return int(array)

    def __len__(self) -> int:
        if not self.shape:
            raise DTypeError(
                "len",
                got=self.spec,
                why="a tensor without axes has no length",
                fix="use .size, or .item() for its value",
            )
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = self.numpy() if not copy else self.concrete("numpy").copy()
        if dtype is None or array.dtype == dtype:
            return array
        if copy is False:
            raise ValueError(
                f"__array__: {self.spec} cannot become {np.dtype(dtype)} without a copy"
            )
        return array.astype(dtype)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's functions take tensors for arrays: some would call our method of their name with
        arguments of their own."""
        return function(*_arrays(args), **{name: _arrays(x) for name, x in kwargs.items()})

    def __repr__(self) -> str:
        if self.is_traced:
            return f"<traced {self.name}: {self.spec}>"
        text = np.array2string(
            self.value, separator=", ", threshold=100, edgeitems=3, prefix="Tensor("
        )
        return f"Tensor({text}, {self.spec})"

    def __format__(self, form: str) -> str:
        """One element as a number formats: `f"{loss:.3f}"`."""
        return format(self._only("format").item(), form) if form else repr(self)

    def _repr_html_(self) -> str:
        text = repr(self).replace("&", "&amp;").replace("<", "&lt;")
        return f"<pre>{text}</pre>"


def ended(op: str, x: Tensor) -> TraceError:
    """The error for a traced value where it is not known, as when its trace is over."""
    return TraceError(op, got=repr(x), why=x.value.unknown, fix=x.value.fixes["kept"])


def _arrays(x: Any) -> Any:
    """x, a tensor, or lists and tuples of them, with arrays instead."""
    if isinstance(x, list | tuple):
        return [*map(_arrays, x)] if isinstance(x, list) else tuple(map(_arrays, x))
    return np.asarray(x) if hasattr(x, "__array_function__") else x


TensorLike: TypeAlias = (
    Any  # Tensor | Variable | NDArray | bool | int | float | complex | nested lists of them
)


NUMBER_TYPES = (float, int, bool, complex)


def is_number(x: object) -> bool:
    """Whether `x` is a Python number, which takes the dtype of the tensor beside it."""
    return type(x) in NUMBER_TYPES


def as_tensor(x: TensorLike, dtype: DType | None = None, *, op: str = "asarray") -> Tensor:
    """`x` as a Tensor: a tensor as it is, all else copied; numbers in `dtype`, else the default.

    Raises: DTypeError in the name of `op` if `x` is not numeric, or elements of it are masked.
    """
    if type(x) is Tensor:
        return x
    if hasattr(x, "__tapeflow_tensor__"):
        return cast("Tensor", x.__tapeflow_tensor__())
    if isinstance(x, np.ndarray | np.generic):
        if type(x) is not np.ndarray and hasattr(x, "filled"):
            arrays.refuse_masked(x, op)
        native = x.dtype.newbyteorder("=")
        as_dtype(native, op)
        if native == np.float64:
            config.float64_arises(op, "a NumPy array of float64 becomes a tensor")
        return Tensor(np.array(x, native, order="C"))
    if is_number(x):
        return Tensor(arrays.of_number(x, dtype or default_of(x), op))
    return Tensor(arrays.of_numbers(x, dtype, op))
