"""Optimizer: what all rules share. A rule is one element-wise expression, in rules.py."""
from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from tapeflow import arguments, ops, scope
from tapeflow.autodiff.functional import no_grad
from tapeflow.autodiff.tape import GradientTape
from tapeflow.dtypes import DType, float64, int64, is_complex, is_floating
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable, variables_in

Schedule: TypeAlias = Callable[[Tensor], Tensor]   # from the number of steps done to the rate


class Minimizer:
    """What optimizers and what stands for one share: a step is a gradient, applied."""

    def apply(self, gradients: Sequence[TensorLike | None], variables: Sequence[Variable]) -> None:
        """Change each variable along its gradient."""
        raise NotImplementedError(f"{type(self).__name__} defines no apply()")

    def minimize(self, loss_fn: Callable[[], TensorLike], variables: Iterable[Variable]) -> Tensor:
        """One step down the gradient of `loss_fn()`; gives the loss before it.

        Raises: ArgumentError unless there is a list of variables, and the loss depends on one.
        """
        chosen = self._some(variables)
        arguments.function(type(self).__name__, "loss_fn", loss_fn)
        with GradientTape() as tape:
            loss = as_tensor(loss_fn(), op=type(self).__name__)
        with scope.entered("gradients"):
            gradients = tape.gradient(loss, chosen)
        self.apply(gradients, chosen)
        return loss

    def _some(self, given: Iterable[Variable]) -> Sequence[Variable]:
        variables = variables_in(type(self).__name__, given)
        if not variables:
            raise ArgumentError(type(self).__name__, got="no variables",
                                why="there is nothing to change",
                                fix="call the model once before you ask for its variables: "
                                    "layers make theirs at the first call")
        return variables


def _require_real(op: str, v: Variable) -> None:
    """Raise DTypeError unless a step along its gradient means something."""
    if not is_floating(v.dtype):
        why = "down a gradient goes its conjugate, and rules square it" if is_complex(v.dtype) \
            else "only floating variables have gradients"
        raise DTypeError(op, got=f"{v.name} {Spec(v.shape, v.dtype)}", why=why,
                         fix="keep the real and the imaginary part in variables of their own"
                         if is_complex(v.dtype) else "make it a float, or leave it out")


class Optimizer(Minimizer):
    """Changes variables along their gradients. The rules are its subclasses.

    Args:
        learning_rate: a number, which is kept in a Variable, so that changing it compiles nothing
            anew; a Variable; or a schedule, a function from the number of steps to the rate.
        name: the scope of its variables; by default the class.

    Raises: ArgumentError for a learning rate below 0, or what is none.
    """

    def __init__(self, learning_rate: float | Variable | Schedule, name: str | None = None) -> None:
        self.name = arguments.text(
            type(self).__name__, "name", name or type(self).__name__.lower())
        self._learning_rate = self._rate_of(learning_rate)
        with scope.fresh(), scope.entered(self.name):
            self.iterations = Variable(lambda: ops.zeros((), int64), trainable=False,
                                       name="iterations")
        self._slots: dict[Variable, dict[str, Variable]] = {}

    # ---- what a rule states

    def slots(self) -> Mapping[str, float]:
        """The values that the rule keeps for each variable, by name, and what they start at."""
        return {}

    def scalars(self, rate: Tensor, step: Tensor) -> tuple[Tensor, ...]:
        """What update() needs of the learning rate and the step's number (from 1), both f64[]."""
        return (rate,)

    def update(self, w: Tensor, g: Tensor, held: Sequence[Tensor], scalars: Sequence[Tensor],
               ) -> tuple[Tensor, ...]:
        """The new weights, then the new value of each slot."""
        raise NotImplementedError(f"{type(self).__name__} defines no update()")

    # ---- what all rules do

    @property
    def learning_rate(self) -> Variable | Schedule:
        """The Variable that holds it, or the schedule; assigning a number changes the Variable."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float | Variable | Schedule) -> None:
        if isinstance(self._learning_rate, Variable) and isinstance(value, int | float):
            self._learning_rate.assign(value)
        else:
            self._learning_rate = self._rate_of(value)

    def _rate_of(self, given: float | Variable | Schedule) -> Variable | Schedule:
        if isinstance(given, Variable) or callable(given):
            return given
        rate = arguments.number(type(self).__name__, "learning_rate", given)
        if not rate >= 0.0:
            raise ArgumentError(type(self).__name__, got=f"learning_rate={given}",
                                why="a step goes down the gradient", fix="give a positive number")
        with scope.fresh(), scope.entered(self.name):
            return Variable(lambda: ops.full((), rate, float64), trainable=False,
                            name="learning_rate")

    def apply(self, gradients: Sequence[TensorLike | None], variables: Sequence[Variable]) -> None:
        """Change each variable along its gradient; one that has None stays, with a warning.

        Raises: ArgumentError if all gradients are None, or not one for each variable; ShapeError if
            a gradient does not have its variable's shape.
        """
        pairs = self._pairs(gradients, self._some(variables))
        self.build([v for _, v in pairs])
        with no_grad(), scope.entered(self.name):
            given, done = self._learning_rate, self.iterations.value
            rate = given.value if isinstance(given, Variable) else as_tensor(given(done))
            scalars = self.scalars(ops.cast(rate, float64), ops.cast(done + 1, float64))
            rounded: dict[DType, list[Tensor]] = {}
            for g, v in pairs:
                if v.dtype not in rounded:
                    rounded[v.dtype] = [ops.cast(s, v.dtype) for s in scalars]
                self._change(v, g, rounded[v.dtype])
            self.iterations.assign(done + 1)

    def _change(self, variable: Variable, g: Tensor, scalars: Sequence[Tensor]) -> None:
        slots = list(self._slots[variable].values())
        with scope.entered(f"{self.name}/{variable.name}"):
            w, *held = self.update(variable.value, g, [s.value for s in slots], scalars)
            variable.assign(variable.constraint(w) if variable.constraint else w)
        for slot, value in zip(slots, held, strict=True):
            slot.assign(value)

    def _pairs(self, gradients: Sequence[Any],
               variables: Sequence[Variable]) -> list[tuple[Tensor, Variable]]:
        """Gradients with their variables, without those that are None."""
        gradients = arguments.several(type(self).__name__, "gradients", gradients, "gradients")
        if len(gradients) != len(variables):
            raise ArgumentError(type(self).__name__,
                                got=f"{len(gradients)} gradients for {len(variables)} variables",
                                why="every variable has one",
                                fix="pass the variables that gradient() got")
        both = list(zip(gradients, variables, strict=True))
        pairs = [(as_tensor(g, op=type(self).__name__), v) for g, v in both if g is not None]
        if len(pairs) < len(both):
            self._missing([v.name for g, v in both if g is None], every=not pairs)
        for g, v in pairs:
            if g.shape != v.shape:
                raise ShapeError(type(self).__name__, got=f"{v.name}: {v.spec}, gradient {g.spec}",
                                 why="a gradient has the shape of its variable",
                                 fix="check the order of gradients and variables")
        return pairs

    def _missing(self, names: list[str], every: bool) -> None:
        listed = ", ".join(names)
        if every:
            raise ArgumentError(type(self).__name__, got=f"no gradient for {listed}",
                                why="the loss depends on none of the variables",
                                fix="compute the loss from them, inside the tape")
        warnings.warn(f"{self.name}: no gradient for {listed}; they stay as they are", stacklevel=4)

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the slots of `variables` that there are none for yet.

        Raises: ArgumentError unless they are variables, DTypeError unless they are floating.
        """
        for v in variables_in(type(self).__name__, variables):
            if v not in self._slots:
                _require_real(type(self).__name__, v)
                with scope.fresh(), scope.entered(f"{self.name}/{v.name}"):
                    self._slots[v] = {name: _slot(name, v, start)
                                      for name, start in self.slots().items()}

    def named_variables(self, names: Mapping[Variable, str] | None = None) -> dict[str, Variable]:
        """All it keeps: `iterations`, `learning_rate`, and slots such as `hidden1/kernel/momentum`.

        `names` replaces the names that the trained variables have themselves.
        """
        named = {"iterations": self.iterations}
        if isinstance(self._learning_rate, Variable):
            named["learning_rate"] = self._learning_rate
        for v, slots in self._slots.items():
            owner = (names or {}).get(v, v.name)
            for name, slot in slots.items():
                named[scope.unused(f"{owner}/{name}", named)] = slot
        return named

    @property
    def variables(self) -> list[Variable]:
        """All it keeps."""
        return list(self.named_variables().values())


def _slot(name: str, like: Variable, start: float) -> Variable:
    return Variable(lambda: ops.full(like.shape, start, like.dtype), trainable=False, name=name)
