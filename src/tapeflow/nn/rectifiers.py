"""Rectifiers as layers: the slope below 0 is learned, or drawn at random."""
from __future__ import annotations

from collections.abc import Sequence

from tapeflow import arguments, constraints, initializers, ops, random, regularizers
from tapeflow.constraints import Constraint
from tapeflow.errors import ArgumentError
from tapeflow.initializers import Initializer
from tapeflow.nn.module import Module
from tapeflow.ops.shape import normalize_axes
from tapeflow.primitive import require_floating
from tapeflow.regularizers import Regularizer
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable


class PReLU(Module):
    """x where it is positive, elsewhere alpha x; alpha is learned for each feature.

    Args:
        alpha_initializer: a name, or a function of (shape, dtype).
        alpha_regularizer: a penalty on alpha, which appears in `losses`.
        alpha_constraint: a limit on alpha, kept after each update.
        shared_axes: those of the input along which alpha is the same, such as (1, 2) for images.
        name: its scope.

    Raises: ArgumentError for unknown names; at the first call DTypeError unless the input is
        floating, OutOfRangeError for a shared axis that is not there.
    Source: He et al. (2015), arXiv:1502.01852.
    """

    alpha: Variable

    def __init__(self, alpha_initializer: str | Initializer = "zeros",
                 alpha_regularizer: str | Regularizer | None = None,
                 alpha_constraint: str | Constraint | None = None,
                 shared_axes: Sequence[int] = (), name: str | None = None) -> None:
        super().__init__(name)
        self.alpha_initializer = initializers.get(alpha_initializer, "PReLU")
        self.alpha_regularizer = regularizers.get(alpha_regularizer, "PReLU")
        self.alpha_constraint = constraints.get(alpha_constraint, "PReLU")
        self.shared_axes = arguments.integers("PReLU", "shared_axes", shared_axes)

    def build(self, x: Spec) -> None:
        require_floating("PReLU", x)
        shared = normalize_axes("PReLU", self.shared_axes, x.ndim)
        shape = [1 if a in shared else n for a, n in enumerate(x.shape)][1:]
        self.alpha = self.make_variable("alpha", lambda: self.alpha_initializer(shape, x.dtype))
        self.alpha.constraint = self.alpha_constraint

    def call(self, x: TensorLike) -> Tensor:
        return ops.leaky_relu(x, self.alpha)

    def penalties(self) -> list[Tensor]:
        return [self.alpha_regularizer(self.alpha)] if self.alpha_regularizer else []


class RReLU(Module):
    """x where it is positive, elsewhere x times a slope: while training one drawn for each element
    between `lower` and `upper`, else the mean of the two.

    Raises: ArgumentError unless 0 <= lower <= upper.
    Source: Xu et al. (2015), arXiv:1505.00853.
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3,
                 name: str | None = None) -> None:
        super().__init__(name)
        lower = arguments.number("RReLU", "lower", lower)
        upper = arguments.number("RReLU", "upper", upper)
        if not 0.0 <= lower <= upper:
            raise ArgumentError("RReLU", got=f"lower={lower}, upper={upper}",
                                why="slopes are drawn from lower up to upper",
                                fix="give 0 <= lower <= upper")
        self.lower, self.upper = lower, upper

    def call(self, x: TensorLike, *, training: bool) -> Tensor:
        t = as_tensor(x)
        require_floating("RReLU", t.spec)
        if not training:
            return ops.leaky_relu(t, (self.lower + self.upper) / 2)
        return ops.leaky_relu(t, random.uniform(t.shape, self.lower, self.upper, dtype=t.dtype))
