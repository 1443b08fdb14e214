"""Arguments of a compiled function: what is passed to its program, and what is compiled in."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapeflow import arguments, config
from tapeflow.arrays import of_number
from tapeflow.dtypes import DType, complex128, float64, int64
from tapeflow.errors import ArgumentError
from tapeflow.tensor import Array, Spec, Tensor, as_tensor
from tapeflow.tree import Structure, flatten, paths

# As Python has them; bools are compiled in.
_OF_NUMBER: dict[type, DType] = {float: float64, int: int64, complex: complex128}
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Static:
    """An argument that is compiled in: another value means another trace."""

    value: Any

    def __eq__(self, other: object) -> bool:  # 1 == 1.0 == True, but they trace differently
        return (
            isinstance(other, Static)
            and type(self.value) is type(other.value)
            and bool(self.value == other.value)
        )

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


@dataclass(frozen=True)
class Leaf:
    """An argument that is passed: its type, and whether it is a Python number."""

    spec: Spec
    is_number: bool = False


Kind = Static | Leaf
Key = tuple[Structure, tuple[Kind, ...], config.Numerics]


@dataclass(frozen=True)
class Classified:
    """Arguments as a program sees them: `key` says which program, `passed` are its inputs."""

    structure: Structure
    kinds: tuple[Kind, ...]
    passed: list[Tensor]
    numerics: config.Numerics = field(default_factory=config.numerics)

    @property
    def key(self) -> Key:
        return self.structure, self.kinds, self.numerics


def _names(static: Sequence[str]) -> Sequence[str]:
    given = arguments.several("jit", "static_argnames", static, "names of parameters")
    return [arguments.text("jit", "static_argnames", name) for name in given]


class Parameters:
    """The parameters of a function, some of them static.

    Raises: ArgumentError if a static name is none of them.
    """

    def __init__(self, fn: Callable[..., Any], static: str | Sequence[str]) -> None:
        self.op = getattr(fn, "__name__", type(fn).__name__)
        self.static = frozenset((static,) if isinstance(static, str) else _names(static))
        try:
            self._signature = inspect.signature(fn)
        except (TypeError, ValueError):  # a built-in function: its arguments stay as they come
            self._signature = inspect.Signature()
        known = self._signature.parameters.values()
        self._names = [p.name for p in known if p.kind in _POSITIONAL]
        self._rest = next((p.name for p in known if p.kind is p.VAR_POSITIONAL), "")  # of *args
        names = set(self._signature.parameters)
        if self.static - names:
            raise ArgumentError(
                "jit",
                got=f"static_argnames {sorted(self.static)} for {self.op}",
                why=f"it has no parameter {', '.join(sorted(self.static - names))}",
                fix="name parameters of the function: " + (", ".join(names) or "it has none"),
            )

    def classify(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Classified:
        """The arguments, however they were given, by what becomes of them.

        Raises: TypeError as the call of the function would; ArgumentError if a static argument
            cannot be hashed.
        """
        if self._signature.parameters:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.op}() {error}") from None
            args, kwargs = bound.args, bound.kwargs
        leaves, structure = flatten((tuple(args), dict(kwargs)))
        named = self._static_leaves(structure) if self.static else set()
        kinds: list[Kind] = []
        passed: list[Tensor] = []
        for i, leaf in enumerate(leaves):
            tensor = None if i in named else self._tensor(leaf)
            if tensor is None:
                kinds.append(self._static_leaf(leaf))
            else:
                passed.append(tensor)
                kinds.append(Leaf(tensor.spec, is_number=type(leaf) in _OF_NUMBER))
        return Classified(structure, tuple(kinds), passed)

    def positional(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...] | None:
        """The arguments by position; None where a name stands for none, or leaves one out."""
        names = self._names[len(args) : len(args) + len(kwargs)]
        try:
            given = tuple([kwargs[name] for name in names])
        except KeyError:
            return None
        return (*args, *given) if len(given) == len(kwargs) else None

    def leaf_names(self, structure: Structure) -> list[str]:
        """What to call each leaf: `x`, `state["w"][0]`."""
        return [shown + path for _, shown, part in self._given(structure) for path in paths(part)]

    def _static_leaves(self, structure: Structure) -> set[int]:
        """The leaves that belong to static arguments."""
        found: set[int] = set()
        at = 0
        for name, _, part in self._given(structure):
            count = len(paths(part))
            if name in self.static:
                found.update(range(at, at + count))
            at += count
        return found

    def _given(self, structure: Structure) -> Iterator[tuple[str, str, Structure]]:
        """The parameter, the name to show and the structure of each argument."""
        (_, _, args), (_, keys, kwargs) = structure[2]
        names, rest = self._names, self._rest or "arguments"
        for i, part in enumerate(args):
            if i < len(names):
                yield names[i], names[i], part
            else:
                yield rest, f"{rest}[{i - len(names)}]", part
        for key, part in zip(keys, kwargs, strict=True):
            yield key, key, part

    def _tensor(self, leaf: Any) -> Tensor | None:
        """`leaf` as a tensor to pass; None for what is compiled in."""
        if isinstance(leaf, Tensor):
            leaf.concrete(self.op)
            return leaf
        if isinstance(leaf, np.ndarray | np.generic):
            return as_tensor(leaf, op=self.op)
        if type(leaf) in _OF_NUMBER:
            return Tensor(of_number(leaf, _OF_NUMBER[type(leaf)], self.op))
        return None

    def _static_leaf(self, leaf: Any) -> Static:
        try:
            hash(leaf)
        except TypeError:
            raise ArgumentError(
                self.op,
                got=f"a {type(leaf).__name__}",
                why="an argument that is no tensor is compiled in, so it must be hashable",
                fix="pass a tensor, a NumPy array, a number, or something hashable",
            ) from None
        return Static(leaf)


def collect(given: Iterable[Any], key: list[Any], arrays: list[Array], op: str) -> bool:
    """Append to `arrays` what is passed of the arguments `given`, and to `key` what tells their
    types and all else apart; whether they are of the common kinds that this knows.

    It gives what `Parameters.classify` does in a fifth of the time. Each argument begins in the key
    with a shape or with its type, so that no two lists of arguments have one key.
    """
    for x in given:
        kind = type(x)
        if kind is Tensor:
            value = x.value
            if type(value) is not np.ndarray:
                return False
            arrays.append(value)
            key += value.shape, value.dtype
        elif kind in _OF_NUMBER:
            arrays.append(of_number(x, _OF_NUMBER[kind], op))
            key.append(kind)
        elif kind is np.ndarray:
            value = as_tensor(x, op=op).value
            arrays.append(value)
            key += value.shape, value.dtype
        elif kind is list or kind is tuple:
            key += kind, len(x)
            if not collect(x, key, arrays, op):
                return False
        elif kind is dict and all(type(name) is str for name in x):
            names = sorted(x)
            key += kind, tuple(names)
            if not collect([x[name] for name in names], key, arrays, op):
                return False
        elif kind is bool or kind is str or x is None:
            key += kind, x
        else:
            return False
    return True
