"""The random numbers that others are made of: functions of a generator's state, as primitives.

Those of `tapeflow_kernels.noise` have kernels. The others come from NumPy, whose Philox begins at
the same state, and run on the host in compiled programs too: they take as many words as it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import DType, int64
from tapeflow.errors import ArgumentError
from tapeflow.primitive import (
    ByExample,
    Kernel,
    Leading,
    Primitive,
    Tangents,
    discrete,
    primitive,
    total,
)
from tapeflow.tensor import Array, Spec, Tensor
from tapeflow_kernels import gamma, noise

_Shape = tuple[int, ...]
_OWN = ByExample("each example has a state of its own")


def _shaped(state: Spec, *parameters: Spec, shape: _Shape, dtype: DType, **_: int) -> Spec:
    return Spec(shape, dtype)


def _of_all(size: int, /, *, shape: _Shape, **rest: Any) -> Mapping[str, Any]:
    return {"shape": (size, *shape), **rest}


def _standard(kind: str) -> Primitive:
    """Numbers for a state u64[3], or for each of u64[..., 3]: then `shape` begins as it does."""

    def array_fn(state: Array, *, shape: _Shape, dtype: DType, digits: int = 0) -> Array:
        states = state.reshape(-1, 3)
        found = np.empty((len(states), math.prod(shape[state.ndim - 1 :])), dtype)
        for own, row in zip(states, found, strict=True):
            row[:] = noise.draw(kind, own, row.size, dtype.name, digits)
        return found.reshape(shape)

    define = discrete(
        name=f"standard_{kind}", spec=_shaped, lowering=Kernel("noise"), batching=Leading(_of_all)
    )
    return define(array_fn)


standard_uniform = _standard("uniform")
standard_normal = _standard("normal")
standard_truncated_normal = _standard("truncated_normal")
standard_exponential = _standard("exponential")
standard_gumbel = _standard("gumbel")


# ---- by NumPy


def _bits(state: Array) -> np.random.Generator:
    seed, stream, calls = state
    counter = np.array([0, calls, 0, 0], np.uint64)
    key = np.array([seed, stream], np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=key))


def _drawn(op: str, draw: Callable[..., Any], *parameters: Array, shape: _Shape) -> Any:
    """What NumPy draws, or what it says of the parameters."""
    try:
        return draw(*parameters, size=shape)
    except ValueError as error:
        raise ArgumentError(
            op,
            got=", ".join(str(Spec(p.shape, p.dtype)) for p in parameters),
            why=str(error),
            fix="give parameters for which the distribution is defined",
        ) from None


def _undifferentiated(op: str, why: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise ArgumentError(
            op,
            got="a derivative with respect to a parameter",
            why=why,
            fix="use tf.stop_gradient on the parameter, or estimate the gradient by the score: "
            "differentiate the log-probability of the numbers drawn",
        )

    return refuse


_third = _undifferentiated("gamma", "its shape has a first and a second derivative only")


@primitive(
    name="random_gamma_curve",
    spec=lambda alpha, x: (x, x),
    batching=Leading(),
    multiple=True,
    adjoints=(_third, _third),
    jvp=_third,
)
def _gamma_curve(alpha: Array, x: Array) -> tuple[Array, Array]:
    """The derivatives of _gamma_slope, by alpha and by x."""
    by_alpha, by_x = gamma.slope_slopes(alpha.astype("f8"), x.astype("f8"))
    return by_alpha.astype(x.dtype), by_x.astype(x.dtype)


def _curve(alpha: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    by_alpha, by_x = dispatch.apply(_gamma_curve, (alpha, x))
    return by_alpha, by_x


def _slope_jvp(ts: Tangents, y: Tensor, *inputs: Tensor) -> Tensor | None:
    pairs = zip(ts, _curve(*inputs), strict=True)
    return total([None if t is None else t * slope for t, slope in pairs])


@primitive(
    name="random_gamma_slope",
    spec=lambda alpha, x: x,
    batching=Leading(),
    adjoints=(
        lambda g, y, alpha, x: g * _curve(alpha, x)[0],
        lambda g, y, alpha, x: g * _curve(alpha, x)[1],
    ),
    jvp=_slope_jvp,
)
def _gamma_slope(alpha: Array, x: Array) -> Array:
    """How numbers of the gamma distribution move with its shape."""
    return gamma.slope(alpha.astype("f8"), x.astype("f8")).astype(x.dtype)


def _gamma_adjoint(g: Tensor, y: Tensor, state: Tensor, alpha: Tensor, **_: Any) -> Tensor:
    return g * _gamma_slope(alpha, y)


def _gamma_jvp(ts: Tangents, y: Tensor, state: Tensor, alpha: Tensor, **_: Any) -> Tensor | None:
    return None if ts[1] is None else ts[1] * _gamma_slope(alpha, y)


@primitive(
    name="standard_gamma",
    spec=_shaped,
    batching=_OWN,
    adjoints=(None, _gamma_adjoint),
    jvp=_gamma_jvp,
)
def standard_gamma(state: Array, alpha: Array, *, shape: _Shape, dtype: DType) -> Array:
    """Numbers of the gamma distribution of rate 1; alpha is of this shape and dtype."""
    drawn = _drawn("gamma", _bits(state).standard_gamma, alpha.astype("f8"), shape=shape)
    return np.asarray(drawn).astype(dtype)


@discrete(name="random_poisson", spec=_shaped, batching=_OWN)
def random_poisson(state: Array, lam: Array, *, shape: _Shape, dtype: DType) -> Array:
    drawn = _drawn("poisson", _bits(state).poisson, lam.astype("f8"), shape=shape)
    return np.asarray(drawn).astype(dtype)


@discrete(name="random_binomial", spec=_shaped, batching=_OWN)
def random_binomial(state: Array, n: Array, p: Array, *, shape: _Shape, dtype: DType) -> Array:
    drawn = _drawn("binomial", _bits(state).binomial, n, p.astype("f8"), shape=shape)
    return np.asarray(drawn).astype(dtype)


@discrete(name="random_integers", spec=_shaped, batching=_OWN)
def random_integers(state: Array, low: Array, last: Array, *, shape: _Shape, dtype: DType) -> Array:
    """Whole numbers from `low` to `last`."""
    bits = _bits(state)

    def draw(low: Array, last: Array, size: _Shape) -> Any:
        return bits.integers(low, last, size, dtype, endpoint=True)

    return np.asarray(_drawn("randint", draw, low, last, shape=shape))


@discrete(
    name="random_order",
    spec=lambda state, *, count, drawn: Spec((drawn,), int64),
    batching=_OWN,
)
def random_order(state: Array, *, count: int, drawn: int) -> Array:
    """The first `drawn` of the numbers from 0 to count - 1, in any order."""
    bits = _bits(state)
    if drawn == count:
        return bits.permutation(count)
    return bits.choice(count, drawn, replace=False)  # of many a few: without an order of all
