"""Layers every net has: Dense, Dropout, Flatten, and Sequential to chain them."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tapeflow import arguments, ops
from tapeflow.constraints import Constraint
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.initializers import Initializer
from tapeflow.nn.activations import Activation
from tapeflow.nn.dropout import SHARE, dropout
from tapeflow.nn.module import Module
from tapeflow.nn.weighted import (
    Weighted,
    as_used,
    at_least_one,
    check_features,
    entered,
    times_matrix,
)
from tapeflow.primitive import require_floating
from tapeflow.regularizers import Regularizer
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable


class Dense(Weighted):
    """activation(x @ kernel + bias): f[..., k] -> f[..., units].

    Args:
        units: how many outputs.
        activation: a name, such as "relu", or a function; None leaves the sum as it is.
        use_bias: whether there is a bias, which starts at 0.
        kernel_initializer: a name, such as "he_normal", or a function of (shape, dtype).
        kernel_regularizer: a penalty on the kernel, which appears in `losses`.
        kernel_constraint: a limit on the kernel, kept after each update.
        name: its scope.

    Raises: ArgumentError for unknown names or units < 1; at the first call ShapeError or DTypeError
        unless the input is f[..., k]; later ShapeError unless k is what it was.
    """

    kernel: Variable

    def __init__(self, units: int, activation: str | Activation | None = None,
                 use_bias: bool = True, kernel_initializer: str | Initializer = "glorot_uniform",
                 kernel_regularizer: str | Regularizer | None = None,
                 kernel_constraint: str | Constraint | None = None,
                 name: str | None = None) -> None:
        super().__init__(activation, use_bias, kernel_initializer, kernel_regularizer,
                         kernel_constraint, name)
        self.units = at_least_one("Dense", "units", units)

    def build(self, x: Spec) -> None:
        require_floating("Dense", x)
        if not x.ndim:
            raise ShapeError("Dense", got=x, why="an input without axes has no features",
                             fix="give f[batch, features]")
        self.kernel = self.make_kernel((x.shape[-1], self.units), x.dtype)
        self.bias = self.make_bias(self.units, x.dtype)

    def call(self, x: TensorLike) -> Tensor:
        t = as_tensor(x)
        check_features(self, t, self.kernel)
        t = entered(t)
        return self.finished(times_matrix(t, as_used(self.kernel, t)))


class Dropout(Module):
    """While training, each element is 0 with probability `rate`, else scaled by 1 / (1 - rate).

    Raises: ArgumentError unless 0 <= rate < 1.
    Source: Srivastava et al. (2014).
    """

    def __init__(self, rate: float, name: str | None = None) -> None:
        super().__init__(name)
        arguments.fraction("Dropout", "rate", rate, why=SHARE)
        self.rate = rate

    def call(self, x: TensorLike, *, training: bool) -> Tensor:
        return dropout(x, self.rate) if training and self.rate else as_tensor(x)


class Flatten(Module):
    """Each example as one row: any[n, ...] -> any[n, k].

    Raises: ShapeError when it is called with a tensor without axes.
    """

    def call(self, x: TensorLike) -> Tensor:
        x = as_tensor(x)
        if not x.ndim:
            raise ShapeError("Flatten", got=x.spec, why="there is no axis of examples",
                             fix="give any[batch, ...]")
        return ops.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class Sequential(Module):
    """Layers one after another; functions of one tensor, such as tf.nn.relu, may stand among them.

    Raises: ArgumentError unless this is a list of layers and functions.

    >>> from tapeflow import nn
    >>> model = nn.Sequential([nn.Dense(3, "relu", name="hidden"), nn.Dense(2, name="outputs")])
    >>> model([[1.0, 2.0]]).shape, list(model.named_variables())
    ((1, 2), ['hidden/kernel', 'hidden/bias', 'outputs/kernel', 'outputs/bias'])
    """

    def __init__(self, layers: Sequence[Callable[[Any], Any]] = (),
                 name: str | None = None) -> None:
        super().__init__(name)
        self.layers = list(arguments.several("Sequential", "layers", layers, "layers"))
        for layer in self.layers:
            if not callable(layer):
                raise ArgumentError("Sequential", got=f"{layer!r} among the layers",
                                    why="a layer is a module or a function of one tensor",
                                    fix="give layers, e.g. tf.nn.Dense(10)")

    def call(self, x: TensorLike) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x
