"""Random numbers: `tf.random`.

Each number is a function of a seed, a stream, the number of the call and its own place in it
(Philox: Salmon et al., 2011). So the same numbers come out of eager and of compiled code, whatever
the number of threads.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

from tapeflow.random.continuous import (
    beta,
    exponential,
    gamma,
    gumbel,
    laplace,
    normal,
    truncated_normal,
    uniform,
)
from tapeflow.random.discrete import (
    bernoulli,
    binomial,
    categorical,
    choice,
    permutation,
    poisson,
    randint,
    shuffle,
)
from tapeflow.random.generator import Generator, default_generator, seed
from tapeflow.random.multivariate import multivariate_normal
from tapeflow.tensor import Tensor as _Tensor

_DISTRIBUTIONS = (
    bernoulli, beta, binomial, categorical, choice, exponential, gamma, gumbel, laplace,
    multivariate_normal, normal, permutation, poisson, randint, shuffle, truncated_normal, uniform,
)  # fmt: skip

__all__ = [
    "Generator", "bernoulli", "beta", "binomial", "categorical", "choice", "default_generator",
    "exponential", "gamma", "gumbel", "laplace", "multivariate_normal", "normal", "permutation",
    "poisson", "randint", "seed", "shuffle", "truncated_normal", "uniform",
]  # fmt: skip


def _method(fn: Callable[..., _Tensor]) -> Callable[..., _Tensor]:
    """`fn` as a method of the generator that it draws from."""

    @functools.wraps(fn)
    def method(self: Generator, *args: object, **keywords: object) -> _Tensor:
        return fn(*args, **keywords, generator=self)

    given = inspect.signature(fn).parameters.values()
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    kept = [first, *(p for p in given if p.name != "generator")]
    method.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    return method


for _fn in _DISTRIBUTIONS:
    setattr(Generator, _fn.__name__, _method(_fn))
