"""Learning rates that change with the number of steps done: functions of i64[] to f64[].

Schedules are made of ops: in a compiled step they cost nothing and compile once.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

from tapeflow import arguments, ops
from tapeflow.dtypes import float64
from tapeflow.errors import ArgumentError
from tapeflow.optim.optimizer import Schedule
from tapeflow.tensor import Tensor, TensorLike, as_tensor

__all__ = ["cosine_decay", "exponential_decay", "inverse_time_decay", "piecewise_constant",
           "polynomial_decay", "warmup"]


def _fraction(step: TensorLike, steps: int) -> Tensor:
    return ops.cast(as_tensor(step), float64) / float(steps)


def piecewise_constant(boundaries: Sequence[int], values: Sequence[float]) -> Schedule:
    """`values[0]` up to and with step `boundaries[0]`, then `values[1]`, and so on.

    Raises: ArgumentError unless there is one value more than boundaries, which increase.
    """
    boundaries = arguments.integers("piecewise_constant", "boundaries", boundaries)
    values = [arguments.number("piecewise_constant", "values", value) for value in
              arguments.several("piecewise_constant", "values", values, "numbers")]
    if len(values) != len(boundaries) + 1 or list(boundaries) != sorted(set(boundaries)):
        raise ArgumentError("piecewise_constant", got=f"boundaries {boundaries}, values {values}",
                            why="between n increasing boundaries there are n + 1 values",
                            fix="give one value more than boundaries")

    def rate(step: Tensor) -> Tensor:
        now = as_tensor(values[-1], float64)
        for boundary, value in zip(reversed(boundaries), reversed(values[:-1]), strict=True):
            now = ops.where(as_tensor(step) <= boundary, as_tensor(value, float64), now)
        return now
    return rate


def exponential_decay(initial: float, decay_steps: int, decay_rate: float,
                      staircase: bool = False) -> Schedule:
    """initial * decay_rate ^ (step / decay_steps), the exponent rounded down with `staircase`."""
    def rate(step: Tensor) -> Tensor:
        done = _fraction(step, decay_steps)
        return initial * ops.pow(decay_rate, ops.floor(done) if staircase else done)
    return rate


def inverse_time_decay(initial: float, decay_steps: int, decay_rate: float) -> Schedule:
    """initial / (1 + decay_rate * step / decay_steps)."""
    return lambda step: initial / (1.0 + decay_rate * _fraction(step, decay_steps))


def polynomial_decay(initial: float, decay_steps: int, end: float = 0.0001,
                     power: float = 1.0) -> Schedule:
    """From `initial` to `end` along (1 - step / decay_steps) ^ power; from then on `end`."""
    def rate(step: Tensor) -> Tensor:
        left = 1.0 - ops.minimum(_fraction(step, decay_steps), 1.0)
        return end + (initial - end) * ops.pow(left, power)
    return rate


def cosine_decay(initial: float, decay_steps: int, alpha: float = 0.0) -> Schedule:
    """From `initial` to `alpha * initial` along half a cosine.

    Source: Loshchilov & Hutter (2017), arXiv:1608.03983.
    """
    def rate(step: Tensor) -> Tensor:
        done = ops.minimum(_fraction(step, decay_steps), 1.0)
        return initial * (alpha + (1.0 - alpha) * 0.5 * (1.0 + ops.cos(math.pi * done)))
    return rate


def warmup(schedule: float | Schedule, steps: int) -> Schedule:
    """Up from 0 in a straight line for `steps` steps, then as `schedule`: a rate or another one."""
    def rate(step: Tensor) -> Tensor:
        goal = schedule(step) if callable(schedule) else as_tensor(schedule, float64)
        return ops.minimum(_fraction(step, steps), 1.0) * goal
    return rate
