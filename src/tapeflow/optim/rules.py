"""The rules: each says what it keeps of a variable, and the new weights as one expression."""
from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapeflow import arguments, ops
from tapeflow.errors import ArgumentError
from tapeflow.optim.optimizer import Optimizer, Schedule
from tapeflow.tensor import Tensor
from tapeflow.variable import Variable

Rate = float | Variable | Schedule
Tensors = Sequence[Tensor]
Updated = tuple[Tensor, ...]


def _fractions(op: str, **given: float) -> None:
    for name, value in given.items():
        arguments.fraction(op, name, value, why="it is the share that is kept each step")


class SGD(Optimizer):
    """w - rate * m, with m = momentum * m + g; nesterov: w - rate * (g + momentum * m).

    Raises: ArgumentError unless learning_rate >= 0 and 0 <= momentum < 1, above 0 with nesterov.
    Source: Sutskever et al. (2013).
    """

    def __init__(self, learning_rate: Rate = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 name: str | None = None) -> None:
        super().__init__(learning_rate, name)
        _fractions("SGD", momentum=momentum)
        if nesterov and not momentum:
            raise ArgumentError("SGD", got="nesterov=True, momentum=0.0",
                                why="it looks ahead along the momentum",
                                fix="give a momentum, e.g. 0.9")
        self.momentum, self.nesterov = momentum, nesterov

    def slots(self) -> Mapping[str, float]:
        return {"momentum": 0.0} if self.momentum else {}

    def update(self, w: Tensor, g: Tensor, held: Tensors, scalars: Tensors) -> Updated:
        (rate,) = scalars
        if not self.momentum:
            return (w - rate * g,)
        m = self.momentum * held[0] + g
        return w - rate * (g + self.momentum * m if self.nesterov else m), m


class Adagrad(Optimizer):
    """w - rate * g / sqrt(n + epsilon), with n the sum of g². Source: Duchi et al. (2011)."""

    def __init__(self, learning_rate: Rate = 0.001, initial_accumulator_value: float = 0.1,
                 epsilon: float = 1e-7, name: str | None = None) -> None:
        super().__init__(learning_rate, name)
        self.initial_accumulator_value, self.epsilon = initial_accumulator_value, epsilon

    def slots(self) -> Mapping[str, float]:
        return {"accumulator": self.initial_accumulator_value}

    def update(self, w: Tensor, g: Tensor, held: Tensors, scalars: Tensors) -> Updated:
        n = held[0] + g * g
        return w - scalars[0] * g / ops.sqrt(n + self.epsilon), n


class RMSprop(Optimizer):
    """w - d, with d = momentum * d + rate * g / sqrt(v + epsilon) and v the running mean of g².

    centered: v less the square of the running mean of g.
    Raises: ArgumentError unless learning_rate >= 0, and rho and momentum are from 0 to below 1.
    Source: Hinton (2012), lecture 6e.
    """

    def __init__(self, learning_rate: Rate = 0.001, rho: float = 0.9, momentum: float = 0.0,
                 epsilon: float = 1e-7, centered: bool = False, name: str | None = None) -> None:
        super().__init__(learning_rate, name)
        _fractions("RMSprop", rho=rho, momentum=momentum)
        self.rho, self.momentum, self.epsilon = rho, momentum, epsilon
        self.centered = bool(centered)

    def slots(self) -> Mapping[str, float]:
        names = ("square", *["mean"] * self.centered, *["momentum"] * bool(self.momentum))
        return dict.fromkeys(names, 0.0)

    def update(self, w: Tensor, g: Tensor, held: Tensors, scalars: Tensors) -> Updated:
        new = [self.rho * held[0] + (1.0 - self.rho) * g * g]
        variance = new[0]
        if self.centered:
            new.append(self.rho * held[1] + (1.0 - self.rho) * g)
            variance = variance - new[1] * new[1]
        d = scalars[0] * g / ops.sqrt(variance + self.epsilon)
        if self.momentum:
            d = self.momentum * held[-1] + d
            new.append(d)
        return (w - d, *new)


class Adam(Optimizer):
    """w - rate * m_hat / (sqrt(v_hat) + epsilon), with m and v the running means of g and g², and
    m_hat = m / (1 - beta_1^step), v_hat = v / (1 - beta_2^step).

    Raises: ArgumentError unless learning_rate >= 0, and both betas are from 0 to below 1.
    Source: Kingma & Ba (2015), arXiv:1412.6980.
    """

    def __init__(self, learning_rate: Rate = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
                 epsilon: float = 1e-8, name: str | None = None) -> None:
        super().__init__(learning_rate, name)
        _fractions(type(self).__name__, beta_1=beta_1, beta_2=beta_2)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon

    def slots(self) -> Mapping[str, float]:
        return {"m": 0.0, "v": 0.0}

    def scalars(self, rate: Tensor, step: Tensor) -> Updated:
        # in float64: 1 - 0.999^step has four digits left at the first step in float32
        return rate / (1.0 - ops.pow(self.beta_1, step)), 1.0 / (1.0 - ops.pow(self.beta_2, step))

    def update(self, w: Tensor, g: Tensor, held: Tensors, scalars: Tensors) -> Updated:
        m = self.beta_1 * held[0] + (1.0 - self.beta_1) * g
        v = self.beta_2 * held[1] + (1.0 - self.beta_2) * g * g
        return w - scalars[0] * m / (ops.sqrt(scalars[1] * v) + self.epsilon), m, v


class AdamW(Adam):
    """Adam, after w was multiplied by 1 - rate * weight_decay.

    Source: Loshchilov & Hutter (2019), arXiv:1711.05101.
    """

    def __init__(self, learning_rate: Rate = 0.001, weight_decay: float = 0.004,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
                 name: str | None = None) -> None:
        super().__init__(learning_rate, beta_1, beta_2, epsilon, name)
        self.weight_decay = weight_decay

    def scalars(self, rate: Tensor, step: Tensor) -> Updated:
        return (*super().scalars(rate, step), 1.0 - self.weight_decay * rate)

    def update(self, w: Tensor, g: Tensor, held: Tensors, scalars: Tensors) -> Updated:
        return super().update(w * scalars[2], g, held, scalars)


class Ftrl(Optimizer):
    """Follow the regularised leader: weights whose evidence is below `l1` are exactly 0.

    Source: McMahan et al. (2013), algorithm 1, with beta = 0 and n starting at 0.1.
    """

    def __init__(self, learning_rate: Rate = 0.001, l1: float = 0.0, l2: float = 0.0,
                 name: str | None = None) -> None:
        super().__init__(learning_rate, name)
        self.l1, self.l2 = arguments.number("Ftrl", "l1", l1), arguments.number("Ftrl", "l2", l2)

    def slots(self) -> Mapping[str, float]:
        return {"accumulator": 0.1, "linear": 0.0}

    def update(self, w: Tensor, g: Tensor, held: Tensors, scalars: Tensors) -> Updated:
        (rate,) = scalars
        n = held[0] + g * g
        z = held[1] + g - (ops.sqrt(n) - ops.sqrt(held[0])) / rate * w
        shrunk = z - ops.clip(z, -self.l1, self.l1)
        return -shrunk / (ops.sqrt(n) / rate + 2.0 * self.l2), n, z


class Adadelta(Optimizer):
    """w - rate * d, with d = g * rms(earlier d) / rms(g), both running. Source: Zeiler (2012).

    Raises: ArgumentError unless learning_rate >= 0 and 0 <= rho < 1.
    """

    def __init__(self, learning_rate: Rate = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
                 name: str | None = None) -> None:
        super().__init__(learning_rate, name)
        _fractions("Adadelta", rho=rho)
        self.rho, self.epsilon = rho, epsilon

    def slots(self) -> Mapping[str, float]:
        return {"square": 0.0, "delta": 0.0}

    def update(self, w: Tensor, g: Tensor, held: Tensors, scalars: Tensors) -> Updated:
        n = self.rho * held[0] + (1.0 - self.rho) * g * g
        d = g * ops.sqrt(held[1] + self.epsilon) / ops.sqrt(n + self.epsilon)
        return w - scalars[0] * d, n, self.rho * held[1] + (1.0 - self.rho) * d * d
