"""TensorSpec: types that a compiled function states for its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tapeflow import arguments
from tapeflow.dtypes import SHORT, DType, as_dtype, float32
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.tensor import Tensor, as_tensor, is_number


@dataclass(frozen=True)
class TensorSpec:
    """The type of an argument. Prints as `f32[?,784]`.

    Args:
        shape: sizes; None stands for any size.
        dtype: of the elements.
        name: shown in errors.

    Raises: ArgumentError unless the shape is a list of sizes, DTypeError if there is no such dtype.
    """

    shape: tuple[int | None, ...]
    dtype: DType = float32
    name: str | None = None

    def __post_init__(self) -> None:
        given = arguments.several("TensorSpec", "shape", self.shape, "sizes, None for any")
        shape = [None if n is None else arguments.size("TensorSpec", "shape", n) for n in given]
        object.__setattr__(self, "shape", tuple(shape))
        object.__setattr__(self, "dtype", as_dtype(self.dtype, "TensorSpec"))

    def __str__(self) -> str:
        sizes = ",".join("?" if n is None else str(n) for n in self.shape)
        return f"{SHORT[self.dtype]}[{sizes}]"


def fitted(op: str, signature: Sequence[Any], args: Sequence[Any]) -> tuple[Any, ...]:
    """The arguments as tensors of the types that `signature`, a tree of TensorSpec, states.

    Raises: ArgumentError if there are more or fewer arguments, ShapeError or DTypeError if one is
        of another type; Python numbers and lists take the dtype stated.
    """
    signature = arguments.several("jit", "input_signature", signature, "tf.TensorSpec")
    if len(signature) != len(args):
        raise ArgumentError(
            op,
            got=f"{len(args)} positional arguments",
            why=f"its input_signature has {len(signature)}",
            fix="call it with the arguments of its input_signature",
        )
    pairs = enumerate(zip(signature, args, strict=True))
    return tuple(_fitted_tree(op, f"argument {i}", wanted, x) for i, (wanted, x) in pairs)


def _fitted_tree(op: str, name: str, wanted: Any, x: Any) -> Any:
    if isinstance(wanted, TensorSpec):
        return _fitted(op, wanted.name or name, wanted, x)
    if not isinstance(wanted, dict | list | tuple):
        raise arguments.wrong("jit", "input_signature", wanted, "a list of tf.TensorSpec")
    fits = (
        isinstance(x, dict) and x.keys() == wanted.keys()
        if isinstance(wanted, dict)
        else (isinstance(x, list | tuple) and len(x) == len(wanted))
    )
    if not fits:
        raise ArgumentError(
            op,
            got=f"{name}: {type(x).__name__} {list(x) if isinstance(x, dict) else ''}".strip(),
            why=f"its input_signature has a {type(wanted).__name__} of {len(wanted)}",
            fix="give the structure of the input_signature",
        )
    if isinstance(wanted, dict):
        return {k: _fitted_tree(op, f"{name}[{k!r}]", w, x[k]) for k, w in wanted.items()}
    return type(wanted)(
        _fitted_tree(op, f"{name}[{i}]", w, part)
        for i, (w, part) in enumerate(zip(wanted, x, strict=True))
    )


def _fitted(op: str, name: str, wanted: TensorSpec, x: Any) -> Tensor:
    tensor = as_tensor(x, wanted.dtype if is_number(x) or isinstance(x, list) else None, op=op)
    same_rank = len(tensor.shape) == len(wanted.shape)
    if not same_rank or any(
        w not in (None, n) for w, n in zip(wanted.shape, tensor.shape, strict=True)
    ):
        raise ShapeError(
            op,
            got=f"{name} {tensor.spec}",
            why=f"its input_signature says {wanted}",
            fix="reshape it, or let None stand for sizes that vary",
        )
    if tensor.dtype != wanted.dtype:
        raise DTypeError(
            op,
            got=f"{name} {tensor.spec}",
            why=f"its input_signature says {wanted}",
            fix=f"cast it: tf.cast(x, {wanted.dtype.name!r})",
        )
    return tensor
