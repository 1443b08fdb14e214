"""Distributions of whole numbers, orders and choices. No gradient flows through them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapeflow import arguments, ops
from tapeflow.dtypes import DType, as_dtype, bool_, float32, float64, int64, is_floating, is_integer
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.random import noise
from tapeflow.random.continuous import exponential, gumbel, uniform
from tapeflow.random.generator import Generator, draw, known
from tapeflow.random.parameters import as_input, check, operands
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor

_Shape = Any  # int or a sequence of them, whole numbers of NumPy's too


def bernoulli(
    shape: _Shape, p: TensorLike = 0.5, dtype: Any = None, generator: Generator | None = None
) -> Tensor:
    """True with probability `p`, a number or a tensor that broadcasts to `shape`; bool by default.

    Raises: ArgumentError for what is no shape, or no probability; DTypeError if p is no number;
        ShapeError if it does not broadcast to the shape.
    """
    sizes = arguments.sizes("bernoulli", shape)
    (p,) = operands("bernoulli", sizes, p=p)
    check("bernoulli", "p", p, 0, 1)
    wide = float64 if isinstance(p, Tensor) and p.dtype == float64 else float32
    hits = uniform(sizes, dtype=wide, generator=known("bernoulli", generator)) < p
    return ops.cast(hits, bool_ if dtype is None else dtype)


def _integral(op: str, dtype: Any) -> DType:
    chosen = int64 if dtype is None else as_dtype(dtype, op)
    if not is_integer(chosen):
        raise DTypeError(
            op,
            got=chosen.name,
            why="these numbers are integers",
            fix="use tf.random.uniform, or cast the result",
        )
    return chosen


def poisson(
    shape: _Shape,
    lam: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """How often something happens that happens `lam` times on average; int64 by default.

    Raises: as bernoulli(), for a negative mean; DTypeError unless the dtype is of integers.
    """
    sizes, chosen = arguments.sizes("poisson", shape), _integral("poisson", dtype)
    (lam,) = operands("poisson", sizes, lam=lam)
    check("poisson", "lam", lam, 0)
    mean = as_input(lam, float64, "poisson")
    return noise.random_poisson(draw("poisson", generator), mean, shape=sizes, dtype=chosen)


def binomial(
    shape: _Shape,
    n: TensorLike,
    p: TensorLike = 0.5,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """How many of `n` trials succeed that each do with probability `p`; int64 by default.

    Raises: as bernoulli(), for a negative count too; DTypeError unless the dtype is of integers.
    """
    sizes, chosen = arguments.sizes("binomial", shape), _integral("binomial", dtype)
    n, p = operands("binomial", sizes, n=n, p=p)
    check("binomial", "n", n, 0)
    check("binomial", "p", p, 0, 1)
    inputs = as_input(n, int64, "binomial"), as_input(p, float64, "binomial")
    return noise.random_binomial(draw("binomial", generator), *inputs, shape=sizes, dtype=chosen)


def randint(
    shape: _Shape,
    low: TensorLike,
    high: TensorLike,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Whole numbers from `low` up to, but without, `high`, all equally likely; int64 by default.

    Args:
        low, high: whole numbers, or tensors of them that broadcast to `shape`.

    Raises: ArgumentError if there is no such number; DTypeError unless the dtype is of integers;
        ShapeError if the bounds do not broadcast to the shape.
    """
    sizes, chosen = arguments.sizes("randint", shape), _integral("randint", dtype)
    if isinstance(low, Tensor | np.ndarray) or isinstance(high, Tensor | np.ndarray):
        low, high = operands("randint", sizes, low=low, high=high)
        first, last = (as_input(x, chosen, "randint") for x in (low, high - 1))
    else:
        first, last = (Tensor(np.array(n, chosen)) for n in _bounds(low, high, chosen))
    state = draw("randint", generator)
    return noise.random_integers(state, first, last, shape=sizes, dtype=chosen)


def _bounds(low: Any, high: Any, dtype: DType) -> tuple[int, int]:
    """The least and the greatest number that may come out."""
    limits = np.iinfo(dtype.name)
    first = arguments.integer("randint", "low", low)
    end = arguments.integer("randint", "high", high)
    if not limits.min <= first < end <= limits.max + 1:
        raise ArgumentError(
            "randint",
            got=f"low={low}, high={high}, {dtype.name}",
            why="there are no such numbers",
            fix="give low < high, both within the dtype",
        )
    return first, end - 1


def categorical(
    shape: _Shape,
    logits: TensorLike,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Places along the last axis of `logits`, each as likely as exp(logits) says, up to a factor.

    Args:
        shape: of the result; logits without their last axis broadcast to it.
        logits: f[..., k]; -inf is never drawn.
        dtype: of integers; int64 by default.

    Raises: DTypeError unless logits are floating and the dtype of integers; ShapeError unless they
        broadcast to the shape; ArgumentError if there is nothing to choose from, or, where logits
        have values by now, for a NaN or for -inf everywhere.
    """
    sizes, chosen = arguments.sizes("categorical", shape), _integral("categorical", dtype)
    x = as_tensor(logits, op="categorical")
    if not is_floating(x.dtype):
        raise DTypeError(
            "categorical",
            got=x.spec,
            why="logits are logarithms of probabilities",
            fix="give tf.log(p), or cast the input: tf.cast(x, tf.float32)",
        )
    if not x.shape or not x.shape[-1]:
        raise ArgumentError(
            "categorical",
            got=f"logits {x.spec}",
            why="there is nothing to choose from",
            fix="give logits f[..., k] for k choices",
        )
    _refuse_impossible(x)
    (x,) = operands("categorical", (*sizes, x.shape[-1]), logits=x)
    wide = x if x.dtype in (float32, float64) else ops.cast(x, float32)
    # the greatest of logits with Gumbel noise is at a place with the probability of its logit
    perturbed = wide + gumbel((*sizes, x.shape[-1]), dtype=wide.dtype,
                              generator=known("categorical", generator))  # fmt: skip
    return ops.cast(ops.argmax(perturbed, axis=-1), chosen)


def _refuse_impossible(logits: Tensor) -> None:
    """Raise ArgumentError for logits that give no choice a probability, where that is known."""
    most = np.empty(0) if logits.is_traced else logits.value.max(-1)  # NaN where any is NaN
    if not (most > -np.inf).all():
        raise ArgumentError(
            "categorical",
            got=f"logits {logits.spec}, {'NaN among them' if (most != most).any() else 'all -inf'}",
            why="they say of no choice how likely it is",
            fix="look for where they come from with tf.debug.check_numerics()",
        )


# ---- orders and choices


def permutation(x: int | TensorLike, generator: Generator | None = None) -> Tensor:
    """The numbers from 0 to x - 1 in any order, or the rows of a tensor x.

    Raises: ArgumentError for a negative count, or a tensor without rows.
    """
    return _permuted("permutation", x, generator)


def shuffle(x: TensorLike, generator: Generator | None = None) -> Tensor:
    """The rows of a tensor x in any order: x itself stays as it is, and gradients flow to it.

    Raises: ArgumentError for a tensor without rows.
    """
    return _permuted("shuffle", as_tensor(x, op="shuffle"), generator)


def _permuted(op: str, x: int | TensorLike, generator: Generator | None) -> Tensor:
    count, rows = _counted(op, x)
    order = noise.random_order(draw(op, generator), count=count, drawn=count)
    return order if rows is None else ops.take(rows, order, axis=0)


def _counted(op: str, x: int | TensorLike) -> tuple[int, Tensor | None]:
    """The count that x is, or that of its rows, and these."""
    if isinstance(x, int | np.integer):
        return arguments.size(op, "x", x), None
    rows = as_tensor(x, op=op)
    if not rows.ndim:
        raise ArgumentError(
            op,
            got=rows.spec,
            why="a tensor without axes has no rows",
            fix="give a whole number, or a tensor with rows",
        )
    return rows.shape[0], rows


def choice(
    x: int | TensorLike,
    shape: _Shape = (),
    replace: bool = True,
    p: TensorLike | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Rows of x, or numbers from 0 to x - 1, drawn at random.

    Args:
        x: a count, or a tensor with rows.
        shape: how many are drawn.
        replace: whether one may be drawn again.
        p: how likely each is, f[n], up to a factor; by default all are alike.

    Raises: ArgumentError if there are not enough to draw without replacement, or a weight is
        negative; ShapeError unless there is a weight for each.
    """
    sizes = arguments.sizes("choice", shape)
    count, rows = _counted("choice", x)
    drawn = math.prod(sizes)
    if not count or (not replace and drawn > count):
        raise ArgumentError(
            "choice",
            got=f"{drawn} of {count}",
            why="there are not so many",
            fix="draw fewer, or with replace=True",
        )
    weights = None if p is None else _weights(p, count, 1 if replace else drawn)
    generator = known("choice", generator)
    if replace:
        places = _with_replacement(sizes, count, weights, generator)
    else:
        places = ops.reshape(_without_replacement(drawn, count, weights, generator), sizes)
    return places if rows is None else ops.take(rows, places, axis=0)


def _weights(p: TensorLike, count: int, needed: int) -> Tensor:
    """p in float64. Raises where less than `needed` of them are known to be positive."""
    weights = ops.cast(as_tensor(p, op="choice"), float64)
    if weights.shape != (count,):
        raise ShapeError(
            "choice",
            got=f"p {weights.spec}",
            why=f"there are {count} to choose from",
            fix=f"give weights {Spec((count,), float64)}",
        )
    check("choice", "p", weights, 0)
    if not weights.is_traced and np.count_nonzero(weights.value) < needed:
        raise ArgumentError(
            "choice",
            got=f"{np.count_nonzero(weights.value)} positive weights, {needed} to draw",
            why="what has no weight is never drawn",
            fix="draw fewer, or give more positive weights",
        )
    return weights


def _with_replacement(
    sizes: tuple[int, ...], count: int, weights: Tensor | None, generator: Generator | None
) -> Tensor:
    if weights is None:
        return randint(sizes, 0, count, generator=generator)
    limits = ops.cumsum(weights)
    level = uniform(sizes, dtype=float64, generator=generator) * limits[-1]
    return ops.searchsorted(limits, level, side="right")


def _without_replacement(
    drawn: int, count: int, weights: Tensor | None, generator: Generator | None
) -> Tensor:
    if weights is None:
        return noise.random_order(draw("choice", generator), count=count, drawn=drawn)
    # who waits for an exponential time at this rate comes in the order of drawing one by one
    times = exponential((count,), dtype=float64, generator=generator)
    return ops.argsort(times / weights)[:drawn]
