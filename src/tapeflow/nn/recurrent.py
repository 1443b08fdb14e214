"""Layers that go through a sequence and carry a state from step to step."""
from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, TypeAlias

from tapeflow import initializers, ops
from tapeflow.constraints import Constraint
from tapeflow.errors import ShapeError
from tapeflow.initializers import Initializer
from tapeflow.nn.activations import Activation
from tapeflow.nn.weighted import Weighted, at_least_one, check_features, times_matrix
from tapeflow.primitive import require_floating
from tapeflow.regularizers import Regularizer
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable

States: TypeAlias = tuple[Tensor, ...]


class _Recurrent(Weighted):
    """What these layers share: all but what a step does. The first state is the output.

    What depends on the input alone is one product for all steps; `step` gets a row of it.
    """

    kernel: Variable
    recurrent_kernel: Variable
    _gates: ClassVar[int] = 1
    _states: ClassVar[int] = 1

    def __init__(self, units: int, activation: str | Activation | None = "tanh",
                 use_bias: bool = True, kernel_initializer: str | Initializer = "glorot_uniform",
                 recurrent_initializer: str | Initializer = "orthogonal",
                 kernel_regularizer: str | Regularizer | None = None,
                 kernel_constraint: str | Constraint | None = None,
                 return_sequences: bool = False, return_state: bool = False,
                 name: str | None = None) -> None:
        super().__init__(activation, use_bias, kernel_initializer, kernel_regularizer,
                         kernel_constraint, name)
        kind = type(self).__name__
        self.units = at_least_one(kind, "units", units)
        self.recurrent_initializer = initializers.get(recurrent_initializer, kind)
        self.return_sequences, self.return_state = return_sequences, return_state

    def build(self, x: Spec, *states: Any) -> None:
        kind, width = type(self).__name__, self._gates * self.units
        require_floating(kind, x)
        self._check_axes(x)
        self.kernel = self.make_kernel((x.shape[-1], width), x.dtype)
        self.recurrent_kernel = self.make_variable(
            "recurrent_kernel", lambda: self.recurrent_initializer((self.units, width), x.dtype))
        self.bias = self.make_bias(width, x.dtype)

    def _check_axes(self, x: Spec) -> None:
        if x.ndim != 3:
            raise ShapeError(type(self).__name__, got=x, why=f"the input has {x.ndim} axes, not 3",
                             fix="give f[batch, steps, features]; tf.expand_dims adds an axis")

    def call(self, x: TensorLike, initial_state: Sequence[TensorLike] | None = None) -> Any:
        from tapeflow.jit.control.api import scan  # half of what importing tapeflow.nn would cost

        t = as_tensor(x)
        self._check_axes(t.spec)
        check_features(self, t, self.kernel)
        rows = times_matrix(ops.moveaxis(t, 1, 0), self.kernel)
        if self.bias is not None:
            rows = rows + self.bias
        weights = self.recurrent()

        def turn(states: States, row: Tensor) -> tuple[States, Tensor]:
            new = self.step(states, row, weights)
            return new, new[0]

        states, ys = scan(turn, self._start(t, initial_state), rows)
        y = ops.moveaxis(ys, 0, 1) if self.return_sequences else states[0]
        return (y, *states) if self.return_state else y

    def _start(self, x: Tensor, given: Sequence[TensorLike] | None) -> States:
        shape = (x.shape[0], self.units)
        if given is None:
            return (ops.zeros(shape, x.dtype),) * self._states
        states = tuple(as_tensor(state) for state in given)
        if [s.shape for s in states] != [shape] * self._states:
            raise ShapeError(type(self).__name__, got=", ".join(str(s.spec) for s in states),
                             why=f"the states are {self._states} of {list(shape)}",
                             fix="give those that the layer returns with return_state=True")
        return states

    def recurrent(self) -> States:
        """The weights that each step uses."""
        return (self.recurrent_kernel.value,)

    @abstractmethod
    def step(self, states: States, row: Tensor, weights: States) -> States:
        """The states after a step."""

    def parts(self, x: Tensor) -> list[Tensor]:
        """f[n, gates * units] -> f[n, units] for each gate."""
        return ops.split(x, self._gates, axis=1)


class RNN(_Recurrent):
    """h = activation(x @ kernel + h @ recurrent_kernel + bias), step by step:
    f[batch, steps, features] -> f[batch, units].

    Called with (x, initial_state=None); states are a tuple, by default of zeros.

    Args:
        units: the size of the state.
        activation: a name, or a function; "tanh" by default.
        use_bias: whether there is a bias, which starts at 0.
        kernel_initializer, recurrent_initializer: for what multiplies input and state; a name, or a
            function of (shape, dtype).
        kernel_regularizer, kernel_constraint: a penalty and a limit on the kernel.
        return_sequences: whether the output is that of all steps: f[batch, steps, units].
        return_state: whether the final states follow the output.
        name: its scope.

    Raises: ArgumentError for unknown names or units < 1; at the first call ShapeError or DTypeError
        unless the input is f[batch, steps, features]; later ShapeError unless it has as many
        features.
    Source: Elman (1990).
    """

    def step(self, states: States, row: Tensor, weights: States) -> States:
        return (self.activation(row + ops.matmul(states[0], weights[0])),)


class LSTM(_Recurrent):
    """Long short-term memory: f[batch, steps, features] -> f[batch, units].

    The columns of the kernels belong to input gate, forget gate, candidate and output gate; gates
    go through a sigmoid. The bias of the forget gate starts at 1. States: output and memory.

    Args: as RNN. Raises: as RNN.
    Source: Hochreiter & Schmidhuber (1997); Gers, Schmidhuber & Cummins (2000).
    """

    _gates = 4
    _states = 2

    def build(self, x: Spec, *states: Any) -> None:
        super().build(x, *states)
        if self.bias is not None:
            n = self.units
            self.bias.assign(ops.concat([ops.zeros(n, x.dtype), ops.ones(n, x.dtype),
                                         ops.zeros(2 * n, x.dtype)]))

    def step(self, states: States, row: Tensor, weights: States) -> States:
        h, memory = states
        enter, keep, candidate, leave = self.parts(row + ops.matmul(h, weights[0]))
        memory = ops.sigmoid(keep) * memory + ops.sigmoid(enter) * self.activation(candidate)
        return ops.sigmoid(leave) * self.activation(memory), memory


class GRU(_Recurrent):
    """Gated recurrent unit: f[batch, steps, features] -> f[batch, units].

    The columns of the kernels belong to update gate, reset gate and candidate; gates go through a
    sigmoid. The reset gate acts after the product with the state, which has a bias of its own.

    Args: as RNN. Raises: as RNN.
    Source: Cho et al. (2014), arXiv:1406.1078, version 1.
    """

    recurrent_bias: Variable | None
    _gates = 3

    def build(self, x: Spec, *states: Any) -> None:
        super().build(x, *states)
        self.recurrent_bias = None
        if self.use_bias:
            self.recurrent_bias = self.make_variable(
                "recurrent_bias", lambda: ops.zeros(3 * self.units, x.dtype))

    def recurrent(self) -> States:
        bias = self.recurrent_bias
        return super().recurrent() + (() if bias is None else (bias.value,))

    def step(self, states: States, row: Tensor, weights: States) -> States:
        (h,) = states
        recurrent = ops.matmul(h, weights[0])
        if self.use_bias:
            recurrent = recurrent + weights[1]
        update, reset, candidate = self.parts(row)
        old_update, old_reset, old_candidate = self.parts(recurrent)
        z, r = ops.sigmoid(update + old_update), ops.sigmoid(reset + old_reset)
        return (z * h + (1.0 - z) * self.activation(candidate + r * old_candidate),)
