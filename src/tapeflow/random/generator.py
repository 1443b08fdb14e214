"""Generator: a stream of random numbers, and the default one.

The state is a Variable of three numbers: the seed, the stream, and how many calls there were. Ops
read and advance it, so that eager and compiled code give the same numbers; each number is a
function of the state of its call and of its own place, so that threads cannot change it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.autodiff.batching import Batch, lanes
from tapeflow.errors import TraceError
from tapeflow.tensor import Array, Tensor
from tapeflow.variable import Variable

_STEP = np.array([0, 0, 1], np.uint64)
_FOLDED, _SPLIT = 1, 2  # what the counter's last word says; that of a draw is 0


class Generator:
    """A stream of random numbers of its own, with the functions of `tf.random` as methods.

    Args:
        seed: any integer; without one it is chosen by the operating system.

    Its `state`, a variable u64[3] of seed, stream and calls, can be assigned, and checkpoints save
    it. In a compiled function it is made outside: it outlives each call.

    Raises: ArgumentError if the seed is no integer.

    >>> first, second = Generator(7), Generator(7)
    >>> bool(first.uniform(()) == second.uniform(()))
    True
    """

    if TYPE_CHECKING:  # bound in tapeflow.random
        normal: Any
        uniform: Any
        truncated_normal: Any
        exponential: Any
        gumbel: Any
        laplace: Any
        gamma: Any
        beta: Any
        multivariate_normal: Any
        bernoulli: Any
        binomial: Any
        poisson: Any
        categorical: Any
        randint: Any
        permutation: Any
        shuffle: Any
        choice: Any

    def __init__(self, seed: int | None = None) -> None:
        self.state = Variable(_first_state(seed), trainable=False, name="generator")

    def seed(self, seed: int) -> None:
        """Begin the stream that belongs to `seed`."""
        self.state.assign(_first_state(seed))

    def draw(self) -> Tensor:
        """The state of this call, u64[3]: no other call gets it, nor another example of a vmap."""
        number, count = lanes()
        state = self._advanced(count)
        return state if number is None else state + number * Tensor(_STEP)

    def _advanced(self, calls: int) -> Tensor:
        """The state before it is moved by so many calls: outside of vmaps, where no other thread
        gets in between."""
        tracer = dispatch.tracer()
        if isinstance(tracer, Batch):
            with tracer.outside():
                return self._advanced(calls)
        return self.state.exchange(lambda state: state + Tensor(_STEP * np.uint64(calls)))

    def named_variables(self) -> dict[str, Variable]:
        """What checkpoints save."""
        return {"state": self.state}

    def fold_in(self, data: int) -> Generator:
        """The generator that belongs to this one's seed and stream and to `data`, such as a rank or
        the number of an example: the same for each call, however many numbers were drawn.

        Raises: ArgumentError if `data` is no integer, TraceError in a compiled function.
        """
        number = arguments.integer("fold_in", "data", data) % 2**64
        seed, stream, _ = self._now("fold_in")
        return _of(seed, _hashed(seed, stream, (number, 0, _FOLDED)))

    def split(self, n: int) -> list[Generator]:
        """n generators, independent of each other and of this one, which counts that as a call: the
        next split gives others. Who takes which of them, and on how many ranks, changes nothing.

        Raises: ArgumentError if n is no count, TraceError in a compiled function.
        """
        count = arguments.size("split", "n", n)
        self._now("split")
        seed, stream, call = map(int, self.draw().value)
        return [_of(seed, _hashed(seed, stream, (i, call, _SPLIT))) for i in range(count)]

    def _now(self, op: str) -> list[int]:
        if dispatch.tracer() is not None:
            raise TraceError(
                op,
                got=f"a generator in the trace of {self.state.name}",
                why="the generators that it makes outlive the compiled function",
                fix="make them outside, and draw from them inside",
            )
        return [int(n) for n in self.state.value.value]


def _of(seed: int, stream: int) -> Generator:
    made = Generator(0)
    made.state.assign(np.array([seed, stream, 0], np.uint64))
    return made


def _hashed(seed: int, stream: int, words: tuple[int, int, int]) -> int:
    """The stream that belongs to these numbers: of a million, two are the same with probability
    3e-8."""
    counter = np.array([words[0], words[1], 0, words[2]], np.uint64)
    key = np.array([seed, stream], np.uint64)
    return int(np.random.Philox(counter=counter, key=key).random_raw())


def _first_state(seed: int | None) -> Array:
    number = (
        int.from_bytes(os.urandom(8))
        if seed is None
        else arguments.integer("seed", "seed", seed) % 2**64
    )
    return np.array([number, 0, 0], np.uint64)


_default = Generator()


def default_generator() -> Generator:
    """The generator of the functions of `tf.random` that are given none, e.g. for a checkpoint."""
    return _default


def seed(seed: int) -> None:
    """Let the functions of `tf.random`, where they are given no generator, begin the stream of
    `seed`.

    Raises: ArgumentError if that is no integer.
    """
    _default.seed(seed)


def known(op: str, generator: Generator | None) -> Generator:
    """`generator`, or the default one. Raises: ArgumentError in the name of `op` for others."""
    if generator is None:
        return _default
    if not isinstance(generator, Generator):
        raise arguments.wrong(op, "generator", generator, "a tf.random.Generator")
    return generator


def draw(op: str, generator: Generator | None) -> Tensor:
    """The state of a call of `generator`, or of the default one."""
    return known(op, generator).draw()
