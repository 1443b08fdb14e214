"""Random numbers: `tf.random`.

Bits come from Philox, which is a function of a key and a counter: Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3" (2011). The state is a Variable of two numbers: the seed, which is the
key, and how many calls there were, which is the upper part of the counter, so that each call has
2**64 blocks of its own. Ops read and advance it: eager and compiled code give the same numbers.
"""
from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tapeflow import arguments, ops
from tapeflow.dtypes import DType, as_dtype, bfloat16, bool_, float16, float32, float64, int64
from tapeflow.dtypes import is_floating as _is_floating
from tapeflow.dtypes import is_integer as _is_integer
from tapeflow.errors import ArgumentError, DTypeError
from tapeflow.ops.elementwise import operand
from tapeflow.primitive import discrete
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable

__all__ = ["Generator", "bernoulli", "choice", "normal", "permutation", "randint", "seed",
           "truncated_normal", "uniform"]

_Shape = int | Sequence[int]
_STEP = np.array([0, 1], np.uint64)


class Generator:
    """A stream of random numbers of its own.

    Args:
        seed: any integer; without one it is chosen by the operating system.

    Raises: ArgumentError if the seed is no integer.

    >>> first, second = Generator(7), Generator(7)
    >>> bool(uniform((), generator=first) == uniform((), generator=second))
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        self.state = Variable(_first_state(seed), trainable=False, name="generator")

    def seed(self, seed: int) -> None:
        """Begin the stream that belongs to `seed`."""
        self.state.assign(_first_state(seed))

    def draw(self) -> Tensor:
        """The state of this call, u64[2], which no other call gets."""
        return self.state.exchange(lambda state: state + Tensor(_STEP))


def _first_state(seed: int | None) -> Array:
    number = (int.from_bytes(os.urandom(8)) if seed is None else
              arguments.integer("seed", "seed", seed) % 2**64)
    return np.array([number, 0], np.uint64)


_default = Generator()


def seed(seed: int) -> None:
    """Let the functions below, where they are given no generator, begin the stream of `seed`.

    Raises: ArgumentError if that is no integer.
    """
    _default.seed(seed)


# ---- functions of the state

def _bits(state: Array) -> np.random.Generator:
    key, calls = state
    counter = np.array([0, calls, 0, 0], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=np.array([key, 0], np.uint64)))


def _shaped(state: Spec, *, shape: tuple[int, ...], dtype: DType, **_: int) -> Spec:
    return Spec(shape, dtype)


_SIGNIFICANT = {float16: 11, bfloat16: 8}


def _wide(dtype: DType) -> Literal["float32", "float64"]:
    """The dtype that NumPy draws in."""
    return "float64" if dtype == float64 else "float32"


@discrete(name="standard_uniform", spec=_shaped)
def _standard_uniform(state: Array, *, shape: tuple[int, ...], dtype: DType) -> Array:
    """Numbers from 0 up to, but without, 1."""
    if dtype in _SIGNIFICANT:   # rounding wider numbers would give 1
        scale = 2 ** _SIGNIFICANT[dtype]
        return np.asarray(_bits(state).integers(scale, size=shape) / scale, dtype)
    return np.asarray(_bits(state).random(shape, _wide(dtype)))


@discrete(name="standard_normal", spec=_shaped)
def _standard_normal(state: Array, *, shape: tuple[int, ...], dtype: DType) -> Array:
    """Numbers of mean 0 and variance 1."""
    return np.asarray(_bits(state).standard_normal(shape, _wide(dtype))).astype(dtype, copy=False)


@discrete(name="standard_truncated_normal", spec=_shaped)
def _standard_truncated_normal(state: Array, *, shape: tuple[int, ...], dtype: DType) -> Array:
    """Normal numbers between -2 and 2; those outside are drawn again."""
    bits = _bits(state)
    y = np.asarray(bits.standard_normal(math.prod(shape)))
    while (outside := np.abs(y) > 2).any():
        y[outside] = bits.standard_normal(np.count_nonzero(outside))
    return y.reshape(shape).astype(dtype)


@discrete(name="random_integers", spec=_shaped)
def _random_integers(state: Array, *, shape: tuple[int, ...], dtype: DType, low: int,
                     high: int) -> Array:
    """Whole numbers from `low` up to, but without, `high`."""
    return np.asarray(_bits(state).integers(low, high, shape, dtype))


@discrete(name="random_order", spec=lambda state, *, count: Spec((count,), int64))
def _random_order(state: Array, *, count: int) -> Array:
    """The numbers from 0 to count - 1, in any order."""
    return _bits(state).permutation(count)


# ---- distributions

def _draw(op: str, generator: Generator | None) -> Tensor:
    if generator is None:
        return _default.draw()
    if not isinstance(generator, Generator):
        raise arguments.wrong(op, "generator", generator, "a tf.random.Generator")
    return generator.draw()


def _float(op: str, dtype: Any) -> DType:
    chosen = float32 if dtype is None else as_dtype(dtype, op)
    if not _is_floating(chosen):
        raise DTypeError(op, got=chosen.name, why="these numbers are floating",
                         fix="use tf.random.randint, or cast the result")
    return chosen


def normal(shape: _Shape, mean: TensorLike = 0.0, stddev: TensorLike = 1.0, dtype: Any = None,
           generator: Generator | None = None) -> Tensor:
    """Normally distributed numbers, by default in float32. Gradients flow to mean and stddev.

    Raises: DTypeError unless the dtype is floating, ArgumentError for what is no shape.
    """
    chosen, sizes = _float("normal", dtype), arguments.sizes("normal", shape)
    x = _standard_normal(_draw("normal", generator), shape=sizes, dtype=chosen)
    return _scaled(x, stddev, mean)


def truncated_normal(shape: _Shape, mean: TensorLike = 0.0, stddev: TensorLike = 1.0,
                     dtype: Any = None, generator: Generator | None = None) -> Tensor:
    """Normally distributed numbers, those further than 2 stddev from the mean drawn again.

    Raises: DTypeError unless the dtype is floating, ArgumentError for what is no shape.
    """
    chosen = _float("truncated_normal", dtype)
    sizes = arguments.sizes("truncated_normal", shape)
    state = _draw("truncated_normal", generator)
    return _scaled(_standard_truncated_normal(state, shape=sizes, dtype=chosen), stddev, mean)


def uniform(shape: _Shape, minval: TensorLike = 0.0, maxval: TensorLike = 1.0, dtype: Any = None,
            generator: Generator | None = None) -> Tensor:
    """Evenly distributed numbers from `minval` up to `maxval`, by default in float32.

    Raises: DTypeError unless the dtype is floating, ArgumentError for what is no shape.
    """
    return _uniform("uniform", shape, minval, maxval, dtype, generator)


def _uniform(op: str, shape: _Shape, minval: TensorLike, maxval: TensorLike, dtype: Any,
             generator: Generator | None) -> Tensor:
    chosen, sizes = _float(op, dtype), arguments.sizes(op, shape)
    low, high = operand(op, minval), operand(op, maxval)
    x = _standard_uniform(_draw(op, generator), shape=sizes, dtype=chosen)
    from_zero = type(low) is float and low == 0.0
    return _scaled(x, high if from_zero else high - low, low)


def _scaled(x: Tensor, scale: TensorLike, shift: TensorLike) -> Tensor:
    y = x if type(scale) is float and scale == 1.0 else x * scale
    return y if type(shift) is float and shift == 0.0 else y + shift


def bernoulli(shape: _Shape, p: TensorLike = 0.5, dtype: Any = None,
              generator: Generator | None = None) -> Tensor:
    """True with probability `p`, by default as bool.

    Raises: ArgumentError for what is no shape, DTypeError if p is no number.
    """
    hits = _uniform("bernoulli", shape, 0.0, 1.0, None, generator) < operand("bernoulli", p)
    return ops.cast(hits, bool_ if dtype is None else dtype)


def randint(shape: _Shape, low: int, high: int, dtype: Any = None,
            generator: Generator | None = None) -> Tensor:
    """Whole numbers from `low` up to, but without, `high`, all equally likely; int64 by default.

    Raises: ArgumentError if there is no such number, DTypeError unless the dtype is of integers.
    """
    chosen = int64 if dtype is None else as_dtype(dtype, "randint")
    if not _is_integer(chosen):
        raise DTypeError("randint", got=chosen.name, why="these numbers are integers",
                         fix="use tf.random.uniform, or cast the result")
    limits = np.iinfo(chosen.name)
    first = arguments.integer("randint", "low", low)
    end = arguments.integer("randint", "high", high)
    if not limits.min <= first < end <= limits.max + 1:
        raise ArgumentError("randint", got=f"low={low}, high={high}, {chosen.name}",
                            why="there are no such numbers",
                            fix="give low < high, both within the dtype")
    sizes = arguments.sizes("randint", shape)
    return _random_integers(_draw("randint", generator), shape=sizes, dtype=chosen,
                            low=first, high=end)


def permutation(x: int | TensorLike, generator: Generator | None = None) -> Tensor:
    """The numbers from 0 to x - 1 in any order, or the rows of a tensor x.

    Raises: ArgumentError for a negative count, or a tensor without rows.
    """
    count, rows = _counted("permutation", x)
    order = _random_order(_draw("permutation", generator), count=count)
    return order if rows is None else ops.take(rows, order, axis=0)


def _counted(op: str, x: int | TensorLike) -> tuple[int, Tensor | None]:
    """The count that x is, or that of its rows, and these."""
    if isinstance(x, int | np.integer):
        return arguments.size(op, "x", x), None
    rows = as_tensor(x, op=op)
    if not rows.ndim:
        raise ArgumentError(op, got=rows.spec, why="a tensor without axes has no rows",
                            fix="give a whole number, or a tensor with rows")
    return rows.shape[0], rows


def choice(x: int | TensorLike, shape: _Shape = (), replace: bool = True,
           p: TensorLike | None = None, generator: Generator | None = None) -> Tensor:
    """Rows of x, or numbers from 0 to x - 1, drawn at random.

    Args:
        x: a count, or a tensor with rows.
        shape: how many are drawn.
        replace: whether one may be drawn again.
        p: how likely each is, f[n]; by default all are alike.

    Raises: ArgumentError if there are not enough to draw without replacement.
    """
    sizes = arguments.sizes("choice", shape)
    count, rows = _counted("choice", x)
    drawn = math.prod(sizes)
    if not count or (not replace and drawn > count):
        raise ArgumentError("choice", got=f"{drawn} of {count}", why="there are not so many",
                            fix="draw fewer, or with replace=True")
    if replace:
        places = _with_replacement(sizes, count, p, generator)
    else:
        places = ops.reshape(_without_replacement(count, p, generator)[:drawn], sizes)
    return places if rows is None else ops.take(rows, places, axis=0)


def _with_replacement(sizes: tuple[int, ...], count: int, p: TensorLike | None,
                      generator: Generator | None) -> Tensor:
    if p is None:
        return randint(sizes, 0, count, generator=generator)
    limits = ops.cumsum(ops.cast(p, float64))
    level = uniform(sizes, dtype=float64, generator=generator) * limits[-1]
    return ops.searchsorted(limits, level, side="right")


def _without_replacement(count: int, p: TensorLike | None, generator: Generator | None) -> Tensor:
    if p is None:
        return permutation(count, generator)
    # the order of log p plus Gumbel noise is that of drawing one after the other
    noise = -ops.log(-ops.log(uniform((count,), dtype=float64, generator=generator)))
    return ops.argsort(ops.log(ops.cast(p, float64)) + noise, descending=True)
