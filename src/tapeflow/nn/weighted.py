"""What layers with a kernel share: its initializer, penalty and limit, a bias, an activation."""
from __future__ import annotations

import math
from collections.abc import Sequence

from tapeflow import arguments, config, constraints, initializers, ops, regularizers
from tapeflow.constraints import Constraint
from tapeflow.dtypes import DType, bfloat16, float32
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.initializers import Initializer
from tapeflow.nn import activations
from tapeflow.nn.activations import Activation
from tapeflow.nn.module import Module
from tapeflow.regularizers import Regularizer
from tapeflow.tensor import Tensor
from tapeflow.variable import Variable


class Weighted(Module):
    """activation(what the kernels make of x, + bias). The arguments are those of Dense."""

    bias: Variable | None

    def __init__(self, activation: str | Activation | None = None, use_bias: bool = True,
                 kernel_initializer: str | Initializer = "glorot_uniform",
                 kernel_regularizer: str | Regularizer | None = None,
                 kernel_constraint: str | Constraint | None = None,
                 name: str | None = None) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.activation = activations.get(activation, kind)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer, kind)
        self.kernel_regularizer = regularizers.get(kernel_regularizer, kind)
        self.kernel_constraint = constraints.get(kernel_constraint, kind)

    def make_kernel(self, shape: Sequence[int], dtype: DType, name: str = "kernel") -> Variable:
        """A trainable variable to which initializer and constraint apply."""
        kernel = self.make_variable(name, lambda: self.kernel_initializer(shape, dtype))
        kernel.constraint = self.kernel_constraint
        return kernel

    def make_bias(self, units: int, dtype: DType) -> Variable | None:
        """Zeros, if the layer has a bias."""
        if not self.use_bias:
            return None
        return self.make_variable("bias", lambda: ops.zeros(units, dtype))

    def finished(self, y: Tensor) -> Tensor:
        """y with bias and activation."""
        return self.activation(y if self.bias is None else y + as_used(self.bias, y))

    @property
    def kernels(self) -> list[Variable]:
        """The variables that the penalty is on."""
        return [self.kernel]

    def penalties(self) -> list[Tensor]:
        if self.kernel_regularizer is None:
            return []
        return [self.kernel_regularizer(kernel) for kernel in self.kernels]


def at_least_one(op: str, name: str, given: int) -> int:
    """`given`, a size of what a layer gives.

    Raises: ArgumentError unless it is a whole number of 1 or more.
    """
    found = arguments.integer(op, name, given)
    if found < 1:
        raise ArgumentError(op, got=f"{name}={given}", why=f"{name} is at least 1",
                            fix="give a size of 1 or more")
    return found


def check_features(layer: Module, x: Tensor, kernel: Variable, what: str = "the kernel") -> None:
    """Raise ShapeError unless x has as many features as the first input of the layer had."""
    features = kernel.shape[0]
    if not x.ndim or x.shape[-1] != features:
        found = f"not {x.shape[-1]}" if x.ndim else "and an input without axes has none"
        raise ShapeError(type(layer).__name__, got=x.spec,
                         why=f"{what} is for {features} features, {found}",
                         fix="give inputs like the first one, or make another layer")


def entered(x: Tensor) -> Tensor:
    """x in the dtype in which the policy lets layers multiply."""
    mixed = config.policy() == "mixed_bfloat16" and x.dtype == float32
    return ops.cast(x, bfloat16) if mixed else x


def as_used(v: Variable, x: Tensor) -> Tensor:
    """A variable in the dtype of x, in which it is computed with."""
    return ops.cast(v, x.dtype) if v.dtype != x.dtype else v.value


def times_matrix(x: Tensor, kernel: Variable | Tensor) -> Tensor:
    """x @ kernel as one product of two matrices, whatever the leading axes of x."""
    if x.ndim <= 2:
        return ops.matmul(x, kernel)
    rows = ops.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    return ops.reshape(ops.matmul(rows, kernel), (*x.shape[:-1], kernel.shape[-1]))
