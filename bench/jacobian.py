"""Are Jacobians and Hessians of a network, by vmap, at most twice as slow as JAX's?

A 784-300-100-10 network with tanh, a batch of 32: the Jacobians of one example's 10 logits by all
weights and by its 784 pixels, of 32 losses by all weights; Hessians of one loss by the pixels and
of their mean by the last layer's 1,000 weights. Compiled; JAX, where it can be imported, by jacrev
and hessian, in turns with ours. `--tiny` runs each once, small.
Recorded on two virtual cores of a Xeon (Rocket Lake), medians of 15, ms, ours and JAX 0.10.2's: 1.1
and 12.7 (2.4 in another round), 0.13 and 0.35, 8.6 and 26.0; 3.1 and 3.8, 2.3 and 4.0.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow_kernels import machine

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    jax = None

Weights = list[Any]


def network(np_like: Any) -> Callable[..., Any]:
    def logits(weights: Weights, x: Any) -> Any:
        for w, b in weights[:-1]:
            x = np_like.tanh(x @ w + b)
        w, b = weights[-1]
        return x @ w + b

    return logits


def losses_of(np_like: Any, logits: Any, labels: Any) -> Any:
    """-log softmax of the label's logit, labels being rows of a unit matrix."""
    e = logits - np_like.max(logits, axis=-1, keepdims=True)
    total = np_like.log(np_like.sum(np_like.exp(e), axis=-1))
    return total - np_like.sum(e * labels, axis=-1)


def questions(lib: Any, np_like: Any, weights: Weights, x: Any, y: Any) -> dict[str, Any]:
    """By name a function, and its arguments; `lib` has jacobian and hessian."""
    logits = network(np_like)

    def loss(weights: Weights, x: Any, y: Any) -> Any:
        return np_like.mean(losses_of(np_like, logits(weights, x), y))

    def by_last(last: Any) -> Any:
        return loss([*weights[:-1], (last, weights[-1][1])], x, y)

    return {
        "jacobian of logits by weights": (lib.jacobian(logits), (weights, x[0])),
        "jacobian of logits by pixels": (lib.jacobian(logits, 1), (weights, x[0])),
        "jacobian of losses by weights": (
            lib.jacobian(lambda w: losses_of(np_like, logits(w, x), y)),
            (weights,),
        ),
        "hessian by pixels": (lib.hessian(lambda v: loss(weights, v, y[0])), (x[0],)),
        "hessian by the last weights": (lib.hessian(by_last), (weights[-1][0],)),
    }


class Jax:
    @staticmethod
    def jacobian(f: Any, argnums: int = 0) -> Any:
        return jax.jacrev(f, argnums)

    @staticmethod
    def hessian(f: Any) -> Any:
        return jax.hessian(f)


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in tf.tree.flatten(tree)[0]]


def in_turns(calls: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Seconds of each call, round by round."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, found in zip(calls, times, strict=True):
            call()  # the other one's data are in the caches
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return times


def main(tiny: bool) -> None:
    """Print a line a question and number of threads, then all of it as JSON."""
    rng = np.random.default_rng(0)
    sizes, batch = ((7, 5, 4, 3), 2) if tiny else ((784, 300, 100, 10), 32)
    arrays = [
        (rng.standard_normal((n, m), np.float32) / np.sqrt(n, dtype=np.float32),
         np.zeros(m, np.float32))
        for n, m in itertools.pairwise(sizes)
    ]  # fmt: skip
    x = rng.standard_normal((batch, sizes[0]), np.float32)
    y = np.eye(sizes[-1], dtype=np.float32)[rng.integers(0, sizes[-1], batch)]
    ours = questions(tf, tf, [(tf.asarray(w), tf.asarray(b)) for w, b in arrays],
                     tf.asarray(x), tf.asarray(y))  # fmt: skip
    theirs = questions(Jax, jnp, arrays, x, y) if jax else {}
    found = []
    for name, (f, args) in ours.items():
        run = tf.jit(f)
        calls: list[Callable[[], Any]] = [lambda run=run, args=args: run(*args)]
        if name in theirs:
            g, others = jax.jit(theirs[name][0]), theirs[name][1]
            calls.append(lambda g=g, others=others: jax.block_until_ready(g(*others)))
            for a, b in zip(leaves(calls[0]()), leaves(calls[1]()), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        times = in_turns(calls, 1 if tiny else 15)
        row = {"what": name, "ms": round(statistics.median(times[0]) * 1e3, 3)}
        if name in theirs:
            row["jax_ms"] = round(statistics.median(times[1]) * 1e3, 3)
        found.append(row)
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    print(json.dumps({"cpu": machine.host().cpu, "numpy": np.__version__, "rows": found}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:])
