"""Module: a part of a model, which finds its variables and parts by itself.

A module that was given a name, and each that belongs to another, opens a scope of its name at every
call; an outermost module without a name opens none. So the variables of

    class Net(nn.Module):
        def __init__(self):
            self.hidden1 = nn.Dense(300, activation="relu")
            self.outputs = nn.Dense(10)

        def call(self, x):
            return self.outputs(self.hidden1(x))

are `hidden1/kernel`, `hidden1/bias`, `outputs/kernel` and `outputs/bias`, in graphs, errors and
checkpoints alike.
"""
from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from tapeflow import arguments, config, scope
from tapeflow.dtypes import bfloat16, float32
from tapeflow.errors import StateError
from tapeflow.tensor import Spec, Tensor, as_tensor, is_number
from tapeflow.tree import flatten
from tapeflow.variable import Variable

if TYPE_CHECKING:
    from tapeflow.nn.summary import Summary


class _Calls(threading.local):
    """The module that is being called in this thread, and what all inside share."""

    def __init__(self) -> None:
        self.caller: Module | None = None
        self.training = False
        self.observer: Callable[[Module, Any], None] | None = None


_calls = _Calls()


class NotBuiltError(StateError, AttributeError):
    """A layer's variable was asked for that is not made yet, or was deleted."""


class Module:
    """A part of a model. Subclasses define `call(self, x)`, or `call(self, x, *, training)`.

    Variables and modules in attributes, and in lists, tuples and dicts there, are found. What
    depends on the size of the input is made in `build(self, *specs)`, which runs once, before the
    first call.

    Args:
        name: the scope it opens; by default the attribute that holds the module, or its class.

    Raises: StateError when it is called and no call() is defined.
    """

    name: str | None = None
    _path: str | None = None               # its scope, fixed at the first call
    _built = False
    _frozen: list[Variable] | None = None   # while frozen: the variables to make trainable again
    _wants_training: ClassVar[bool] = False
    _declared: ClassVar[frozenset[str]] = frozenset()   # attributes that build() makes

    def __init__(self, name: str | None = None) -> None:
        self.name = None if name is None else arguments.text(type(self).__name__, "name", name)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._wants_training = "training" in inspect.signature(cls.call).parameters
        cls._declared |= {key for key, kind in inspect.get_annotations(cls).items()
                          if str(kind).startswith("Variable")}

    def call(self, *inputs: Any, **keywords: Any) -> Any:
        """What the module computes."""
        raise StateError(type(self).__name__, got="a module without call()",
                         why="nothing says what it computes", fix="define call(self, x)")

    def build(self, *specs: Any) -> None:
        """Make what depends on the inputs: a Spec for each tensor, the others themselves."""

    def __call__(self, *inputs: Any, training: bool | None = None, **keywords: Any) -> Any:
        """`call(...)` in the module's scope; `training`, by default False, reaches all inside."""
        caller, inherited = _calls.caller, _calls.training
        if self._path is None:
            self._path = _path_below(caller, self)
        _calls.caller, _calls.training = self, inherited if training is None else training
        try:
            with scope.entered(self._path):
                if not self._built:
                    self._build(inputs)
                if self._wants_training:
                    keywords["training"] = _calls.training
                outputs = self.call(*inputs, **keywords)
        finally:
            _calls.caller, _calls.training = caller, inherited
        if _calls.observer is not None:
            _calls.observer(self, outputs)
        return outputs

    def _build(self, inputs: tuple[Any, ...]) -> None:
        with scope.fresh(), scope.entered(self._path or ""):
            self.build(*map(_built_for, inputs))
        self._built = True

    def make_variable(self, name: str, value: Callable[[], Tensor],
                      trainable: bool = True) -> Variable:
        """A variable in the module's scope; made outside the trace, if one is open."""
        variable = Variable(value, name=name, trainable=trainable and self._frozen is None)
        if trainable and self._frozen is not None:
            self._frozen.append(variable)
        return variable

    def __getattr__(self, name: str) -> Any:
        if name in type(self)._declared:
            label = f"{self._path or self.name or type(self).__name__}.{name}"
            raise NotBuiltError(type(self).__name__, got=label,
                                why="it was deleted" if self._built else
                                "it is made at the first call, when the size of the input is known",
                                fix="make a new layer" if self._built else
                                "call the model once on an example")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # ---- parts

    def children(self) -> dict[str, Module]:
        """The modules directly inside, by name: the one given, or the attribute, key or class."""
        named: dict[str, Module] = {}
        for label, part in self.held(Module):
            if not any(part is known for known in named.values()):
                key = label.rpartition("/")[2]
                name = part.name or (_snake(part) if key.isdigit() else key)
                named[scope.unused(name, named)] = part
        return named

    def held(self, kind: type) -> Iterator[tuple[str, Any]]:
        """Every `kind` in the attributes: `w`, and in lists and dicts there `ws/0`, `ws/key`."""
        for key, value in vars(self).items():
            if key != "_frozen":
                yield from _walk(key, value, kind)

    def named_modules(self) -> dict[str, Module]:
        """The module and all inside, by scope; a shared one once, below the first that holds it."""
        found: dict[str, Module] = {}
        _collect(self, self.name or "", found, set())
        return found

    def named_variables(self) -> dict[str, Variable]:
        """All variables by name, such as `hidden1/kernel`; a shared one once."""
        named: dict[str, Variable] = {}
        seen: set[Variable] = set()
        for path, module in self.named_modules().items():
            for label, variable in module.held(Variable):
                if variable not in seen:
                    seen.add(variable)
                    named[scope.unused(_join(path, label), named)] = variable
        return named

    @property
    def variables(self) -> list[Variable]:
        """All variables inside, each once."""
        return list(self.named_variables().values())

    @property
    def trainable_variables(self) -> list[Variable]:
        """The variables that training changes."""
        return [v for v in self.variables if v.trainable]

    @property
    def losses(self) -> list[Tensor]:
        """The penalties that regularizers inside put on the weights now; add them to the loss."""
        return [term for module in self.named_modules().values() for term in module.penalties()]

    def penalties(self) -> list[Tensor]:
        """The penalties on the module's own variables."""
        return []

    def freeze(self) -> None:
        """Let training change no variable inside, until unfreeze().

        What was compiled before goes on as it was: freeze first.
        """
        for module in self.named_modules().values():
            if module._frozen is None:
                module._frozen = [v for _, v in module.held(Variable) if v.trainable]
                for variable in module._frozen:
                    variable.trainable = False

    def unfreeze(self) -> None:
        """Let training change again what it did before freeze()."""
        for module in self.named_modules().values():
            for variable in module._frozen or ():
                variable.trainable = True
            module._frozen = None

    def summary(self, *inputs: Any) -> Summary:
        """A table of all modules: their outputs, if `inputs` are given, and their variables."""
        from tapeflow.nn.summary import summarize

        return summarize(self, inputs)

    def __repr__(self) -> str:
        named = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{named}: {sum(v.size for v in self.variables):,} numbers>"


class observing:   # a context manager, like contextlib's
    """Inside, `observer(module, outputs)` is told of each call of a module."""

    def __init__(self, observer: Callable[[Module, Any], None]) -> None:
        self._observer = observer

    def __enter__(self) -> None:
        self._previous, _calls.observer = _calls.observer, self._observer

    def __exit__(self, *exc: object) -> None:
        _calls.observer = self._previous


def _built_for(x: Any) -> Any:
    """The type that variables are made for: in mixed precision they are float32."""
    spec = _spec(x)
    mixed = config.policy() == "mixed_bfloat16" and isinstance(spec, Spec)
    return Spec(spec.shape, float32) if mixed and spec.dtype == bfloat16 else spec


def _spec(x: Any) -> Any:
    """The type of a tensor, array or list of numbers; anything else as it is."""
    numbers = isinstance(x, list) and all(map(is_number, flatten(x)[0]))
    return as_tensor(x).spec if numbers or hasattr(x, "dtype") else x


def _path_below(caller: Module | None, module: Module) -> str:
    """The scope of `module` when it is first called, by `caller`."""
    if caller is None:
        return _join(scope.current(), module.name or "")
    inside: dict[str, Module] = {}
    _collect(caller, caller._path or "", inside, set())
    own = next((path for path, part in inside.items() if part is module), None)
    return _join(caller._path or "", module.name or _snake(module)) if own is None else own


def _collect(module: Module, path: str, found: dict[str, Module], seen: set[int]) -> None:
    if id(module) in seen:
        return
    seen.add(id(module))
    found[scope.unused(path, found)] = module
    for name, part in module.children().items():
        _collect(part, _join(path, name), found, seen)


def _walk(label: str, value: Any, kind: type) -> Iterator[tuple[str, Any]]:
    if isinstance(value, kind):
        yield label, value
    elif isinstance(value, list | tuple | dict):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _walk(f"{label}/{key}", item, kind)


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path and name else path or name


def _snake(module: Module) -> str:
    """`GlobalAvgPool2D` -> `global_avg_pool2d`."""
    words = r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])"
    return re.sub(words, "_", type(module).__name__).lower()
