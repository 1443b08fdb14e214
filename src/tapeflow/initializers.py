"""First values of weights. Each function here gives an initializer: `init(shape, dtype) -> Tensor`.

Layers take a name ("he_normal"), an initializer, or any function of (shape, dtype). The numbers
come from tf.random: `tf.random.seed(n)` makes them the same in every run.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tapeflow import arguments, ops, random
from tapeflow.dtypes import DType, float32
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.lookup import by_name
from tapeflow.tensor import Tensor

__all__ = ["Initializer", "constant", "get", "glorot_normal", "glorot_uniform", "he_normal",
           "he_uniform", "lecun_normal", "normal", "ones", "orthogonal", "truncated_normal",
           "uniform", "variance_scaling", "zeros"]

Initializer: TypeAlias = Callable[..., Tensor]   # (shape, dtype=float32) -> Tensor
Shape: TypeAlias = Sequence[int]
Fan: TypeAlias = Literal["fan_in", "fan_out", "fan_avg"]
Distribution: TypeAlias = Literal["uniform", "normal", "truncated_normal"]

# The standard deviation of the normal distribution cut off at 2: so much is lost by cutting.
_CUT = 0.87962566103423978


def zeros() -> Initializer:
    """All zero."""
    return constant(0.0)


def ones() -> Initializer:
    """All one."""
    return constant(1.0)


def constant(value: float = 0.0) -> Initializer:
    """All `value`."""
    return lambda shape, dtype=float32: ops.full(shape, value, dtype)


def uniform(minval: float = -0.05, maxval: float = 0.05) -> Initializer:
    """Evenly spread between `minval` and `maxval`."""
    return lambda shape, dtype=float32: random.uniform(shape, minval, maxval, dtype=dtype)


def normal(mean: float = 0.0, stddev: float = 0.05) -> Initializer:
    """Normally distributed."""
    return lambda shape, dtype=float32: random.normal(shape, mean, stddev, dtype=dtype)


def truncated_normal(mean: float = 0.0, stddev: float = 0.05) -> Initializer:
    """Normally distributed, values beyond 2 standard deviations drawn again."""
    return lambda shape, dtype=float32: random.truncated_normal(shape, mean, stddev, dtype=dtype)


@dataclass(frozen=True)
class _VarianceScaling:
    scale: float
    mode: Fan
    distribution: Distribution

    def __call__(self, shape: Shape, dtype: DType = float32) -> Tensor:
        inputs, outputs = fans(arguments.sizes("initializer", shape))
        fan = {"fan_in": inputs, "fan_out": outputs, "fan_avg": (inputs + outputs) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return random.uniform(shape, -limit, limit, dtype=dtype)
        if self.distribution == "normal":
            return random.normal(shape, 0.0, stddev, dtype=dtype)
        return random.truncated_normal(shape, 0.0, stddev / _CUT, dtype=dtype)


def fans(shape: Shape) -> tuple[float, float]:
    """How many inputs an output of these weights has, and how many outputs an input.

    Filters of convolutions are [..., in, out]: each tap counts.
    """
    if len(shape) < 2:
        size = float(math.prod(shape))
        return size, size
    taps = math.prod(shape[:-2])
    return float(taps * shape[-2]), float(taps * shape[-1])


def variance_scaling(scale: float = 1.0, mode: Fan = "fan_in",
                     distribution: Distribution = "truncated_normal") -> Initializer:
    """Mean 0 and variance `scale` / fan, so that signals keep their size from layer to layer.

    Args:
        mode: which fan: "fan_in", "fan_out", or their mean "fan_avg".
        distribution: "uniform", "normal" or "truncated_normal".

    Raises: ArgumentError for another mode or distribution, or a scale that is not positive.
    """
    size = arguments.number("variance_scaling", "scale", scale)
    if size <= 0 or mode not in ("fan_in", "fan_out", "fan_avg") or (
            distribution not in ("uniform", "normal", "truncated_normal")):
        raise ArgumentError(
            "variance_scaling", got=f"scale={scale}, mode={mode!r}, distribution={distribution!r}",
            why="the scale must be positive, and mode and distribution be known",
            fix='use mode "fan_in", "fan_out" or "fan_avg", and distribution "uniform", "normal" '
                'or "truncated_normal"')
    return _VarianceScaling(scale, mode, distribution)


def glorot_uniform() -> Initializer:
    """Uniform, variance 2 / (fan_in + fan_out). Source: Glorot & Bengio (2010)."""
    return variance_scaling(1.0, "fan_avg", "uniform")


def glorot_normal() -> Initializer:
    """Truncated normal, variance 2 / (fan_in + fan_out). Source: Glorot & Bengio (2010)."""
    return variance_scaling(1.0, "fan_avg", "truncated_normal")


def he_uniform() -> Initializer:
    """Uniform, variance 2 / fan_in, for relu. Source: He et al. (2015), arXiv:1502.01852."""
    return variance_scaling(2.0, "fan_in", "uniform")


def he_normal() -> Initializer:
    """Truncated normal, variance 2 / fan_in, for relu. Source: as he_uniform."""
    return variance_scaling(2.0, "fan_in", "truncated_normal")


def lecun_normal() -> Initializer:
    """Truncated normal, variance 1 / fan_in, for selu. Source: Klambauer et al. (2017)."""
    return variance_scaling(1.0, "fan_in", "truncated_normal")


def orthogonal(gain: float = 1.0) -> Initializer:
    """A matrix whose rows or columns, whichever are fewer, are orthonormal, times `gain`.

    Leading axes count as one. Raises: ShapeError, once it is used, for fewer than two axes.
    Source: Saxe et al. (2014), arXiv:1312.6120.
    """
    def init(shape: Shape, dtype: DType = float32) -> Tensor:
        shape = arguments.sizes("orthogonal", shape)
        if len(shape) < 2:
            raise ShapeError("orthogonal", got=f"shape {list(shape)}", why="a matrix has two axes",
                             fix="use another initializer for vectors")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        square = random.normal((max(rows, columns), min(rows, columns)), dtype="float64").numpy()
        q, r = np.linalg.qr(square)
        q = q * np.sign(np.diag(r))   # without this, q would not be evenly distributed
        return ops.asarray(gain * (q if rows >= columns else q.T).reshape(shape), dtype)
    return init


_TABLE: dict[str, Callable[..., Initializer]] = {
    f.__name__: f for f in (
        zeros, ones, constant, uniform, normal, truncated_normal, variance_scaling, glorot_uniform,
        glorot_normal, he_uniform, he_normal, lecun_normal, orthogonal)}


_FACTORIES: tuple[object, ...] = tuple(_TABLE.values())


def get(given: str | Initializer, op: str = "initializers.get") -> Initializer:
    """The initializer that `given` names, or is; `he_normal` stands for `he_normal()`.

    Raises: ArgumentError for an unknown name, or what is no function.
    """
    if not callable(given):
        return by_name(op, "initializer", given, _TABLE)()
    made: Initializer = given() if given in _FACTORIES else given   # type: ignore[assignment]
    return made
