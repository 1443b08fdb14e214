"""Distributions of floating numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tapeflow import arguments, ops
from tapeflow.dtypes import DType, bfloat16, float16, float32, float64
from tapeflow.primitive import Primitive
from tapeflow.random import noise
from tapeflow.random.generator import Generator, draw
from tapeflow.random.parameters import as_input, check, floating, in_dtype, operands
from tapeflow.tensor import Tensor, TensorLike

_Shape = Any  # int or a sequence of them, whole numbers of NumPy's too
_DIGITS = {float16: 11, bfloat16: 8, float32: 24, float64: 53}

_Sample = Callable[[str, Generator | None, tuple[int, ...], DType], Tensor]


def _of(prim: Primitive) -> _Sample:
    """Numbers of a standard distribution; halves are rounded, but uniform ones are exact."""

    def sample(
        op: str, generator: Generator | None, shape: tuple[int, ...], dtype: DType
    ) -> Tensor:
        wide = dtype if dtype in (float32, float64) else float32
        digits = {"digits": _DIGITS[dtype]} if prim is noise.standard_uniform else {}
        x = prim(draw(op, generator), shape=shape, dtype=wide, **digits)
        return x if wide is dtype else ops.cast(x, dtype)

    return sample


_uniform = _of(noise.standard_uniform)
_normal = _of(noise.standard_normal)
_truncated_normal = _of(noise.standard_truncated_normal)
_exponential = _of(noise.standard_exponential)
_gumbel = _of(noise.standard_gumbel)


def _laplace(
    op: str, generator: Generator | None, shape: tuple[int, ...], dtype: DType
) -> Tensor:
    """The difference of two exponential numbers."""
    return _exponential(op, generator, shape, dtype) - _exponential(op, generator, shape, dtype)


def _scaled_and_shifted(
    op: str,
    sample: _Sample,
    shape: _Shape,
    given: Mapping[str, TensorLike],
    *,
    dtype: Any,
    generator: Generator | None,
) -> Tensor:
    """Numbers of a standard distribution, times the second parameter, plus the first."""
    sizes = arguments.sizes(op, shape)
    location, scale = operands(op, sizes, **given)
    check(op, [*given][1], scale, 0)
    chosen = floating(op, dtype, location, scale)
    x = sample(op, generator, sizes, chosen)
    return _affine(x, in_dtype(scale, chosen, op), in_dtype(location, chosen, op))


def _affine(x: Tensor, scale: TensorLike, shift: TensorLike) -> Tensor:
    y = x if type(scale) is float and scale == 1.0 else x * scale
    return y if type(shift) is float and shift == 0.0 else y + shift


def normal(
    shape: _Shape,
    mean: TensorLike = 0.0,
    stddev: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers.

    Args:
        shape: of the result.
        mean, stddev: numbers, or tensors that broadcast to `shape`; gradients flow to both.
        dtype: by default that of the parameters, if they are floating tensors, else float32.

    Raises: DTypeError unless the dtype is floating; ArgumentError for what is no shape, or a
        negative deviation; ShapeError if the parameters do not broadcast to the shape.
    """
    given = {"mean": mean, "stddev": stddev}
    return _scaled_and_shifted("normal", _normal, shape, given, dtype=dtype, generator=generator)


def truncated_normal(
    shape: _Shape,
    mean: TensorLike = 0.0,
    stddev: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers of which none is further than 2 stddev from the mean.

    Arguments and errors are those of normal().
    """
    given = {"mean": mean, "stddev": stddev}
    return _scaled_and_shifted(
        "truncated_normal", _truncated_normal, shape, given, dtype=dtype, generator=generator
    )


def gumbel(
    shape: _Shape,
    loc: TensorLike = 0.0,
    scale: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of the Gumbel distribution, exp(-exp(-(x - loc) / scale)).

    Arguments and errors are those of normal().
    """
    given = {"loc": loc, "scale": scale}
    return _scaled_and_shifted("gumbel", _gumbel, shape, given, dtype=dtype, generator=generator)


def exponential(
    shape: _Shape,
    scale: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of the exponential distribution with this mean, to which gradients flow.

    Raises: as normal().
    """
    given = {"loc": 0.0, "scale": scale}
    return _scaled_and_shifted(
        "exponential", _exponential, shape, given, dtype=dtype, generator=generator
    )


def laplace(
    shape: _Shape,
    loc: TensorLike = 0.0,
    scale: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of the Laplace distribution, of density exp(-|x - loc| / scale) / (2 scale).

    Arguments and errors are those of normal().
    """
    given = {"loc": loc, "scale": scale}
    return _scaled_and_shifted("laplace", _laplace, shape, given, dtype=dtype, generator=generator)


def uniform(
    shape: _Shape,
    minval: TensorLike = 0.0,
    maxval: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Evenly distributed numbers from `minval` up to `maxval`, to which gradients flow.

    Raises: DTypeError unless the dtype is floating; ArgumentError for what is no shape; ShapeError
        if the bounds do not broadcast to the shape.
    """
    sizes = arguments.sizes("uniform", shape)
    low, high = operands("uniform", sizes, minval=minval, maxval=maxval)
    chosen = floating("uniform", dtype, low, high)
    x = _uniform("uniform", generator, sizes, chosen)
    low, high = (in_dtype(bound, chosen, "uniform") for bound in (low, high))
    if type(low) is float and low == 0.0:
        return _affine(x, high, low)
    if _are_within(ops.finfo(chosen).max / 2, low, high):
        return _affine(x, high - low, low)
    return _affine(x, high * 0.5 - low * 0.5, low * 0.5) * 2.0  # since their difference overflows


def _are_within(limit: float, *bounds: TensorLike) -> bool:
    """Whether bounds are known to be that small."""
    values = [x.value if isinstance(x, Tensor) and not x.is_traced else x for x in bounds]
    return not any(isinstance(v, Tensor) or not np.all(np.abs(v) < limit) for v in values)


def gamma(
    shape: _Shape,
    alpha: TensorLike,
    beta: TensorLike = 1.0,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of the gamma distribution of density x^(alpha - 1) exp(-beta x), but for a factor.

    Args:
        alpha: the shape, at least 0. Gradients flow to it, of first and second order: a third
            derivative raises ArgumentError.
        beta: the rate, to which gradients flow.

    Source of the gradient: Figurnov, Mohamed & Mnih (2018), arXiv:1805.08498.

    Raises: as normal().
    """
    sizes = arguments.sizes("gamma", shape)
    alpha, beta = operands("gamma", sizes, alpha=alpha, beta=beta)
    check("gamma", "alpha", alpha, 0)
    check("gamma", "beta", beta, np.nextafter(0, 1))
    chosen = floating("gamma", dtype, alpha, beta)
    each = ops.broadcast_to(as_input(alpha, chosen, "gamma"), sizes)
    x = noise.standard_gamma(draw("gamma", generator), each, shape=sizes, dtype=chosen)
    return x if type(beta) is float and beta == 1.0 else x / in_dtype(beta, chosen, "gamma")


def beta(
    shape: _Shape,
    alpha: TensorLike,
    beta: TensorLike,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers of the beta distribution, of density x^(alpha - 1) (1 - x)^(beta - 1), but for a
    factor: each is the share of a gamma number of shape alpha in its sum with one of shape beta.

    Gradients flow to alpha and beta, as those of gamma() do to its shape.

    Raises: as normal().
    """
    sizes = arguments.sizes("beta", shape)
    a, b = operands("beta", sizes, alpha=alpha, beta=beta)
    check("beta", "alpha", a, np.nextafter(0, 1))
    check("beta", "beta", b, np.nextafter(0, 1))
    chosen = floating("beta", dtype, a, b)
    a, b = (ops.broadcast_to(as_input(x, float64, "beta"), sizes) for x in (a, b))
    # A number of a small shape a underflows. Its logarithm does not: it is that of a number of
    # shape a + 1, less an exponential number over a (Marsaglia & Tsang, 2000).
    ratio = ops.log(_raised(a, generator)) - ops.log(_raised(b, generator))
    first, second = (_exponential("beta", generator, sizes, float64) for _ in range(2))
    log_odds = ratio - (first - second * (a / b)) / a  # each over its own might overflow alike
    return ops.cast(ops.sigmoid(log_odds), chosen)


def _raised(alpha: Tensor, generator: Generator | None) -> Tensor:
    """Numbers of gamma distributions of shape alpha + 1."""
    state = draw("beta", generator)
    return noise.standard_gamma(state, alpha + 1.0, shape=alpha.shape, dtype=float64)
