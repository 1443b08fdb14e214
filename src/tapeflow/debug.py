"""Hunting errors: `tf.debug`."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.config import Setting
from tapeflow.dispatch import Record
from tapeflow.dtypes import is_inexact
from tapeflow.errors import NumericsError, user_line
from tapeflow.graph import Graph, Node, Var, run_node
from tapeflow.jit.call import Recorded
from tapeflow.jit.control.holder import Holder
from tapeflow.jit.trace import Ordered
from tapeflow.tensor import Array, Spec

__all__ = ["check_numerics"]


def check_numerics(on: bool = True) -> Setting:
    """Raise NumericsError at the op that first gives a NaN or an infinity, in eager code and in
    gradients, with its line and what it was given. `with` it, it holds inside the block.

    What a compiled function gives is checked, variables that it writes included; if that is not
    finite, what was traced runs again node by node with the same inputs and random state, before
    any variable is written. An infinity inside of it that leaves no trace in its results is not
    looked for. It holds in this thread and in those that start later; TAPEFLOW_CHECK_NUMERICS=1
    turns it on from the start.

    Raises: ArgumentError unless `on` is True or False.

    >>> import tapeflow as tf
    >>> x = tf.asarray([1.0, 0.0])
    >>> with check_numerics():
    ...     tf.log(x)
    Traceback (most recent call last):
    tapeflow.errors.NumericsError: log: 1 of 2 elements is infinite
      got: x f32[2], finite, from 0 to 1, mean 0.5
    ...
    """
    is_on = arguments.switch("check_numerics", "on", on)
    before = dispatch.check_with(_Check() if is_on else None)
    return Setting(functools.partial(dispatch.check_with, before))


class _Check:
    """Sees each op of eager code, and remembers what made which array."""

    def __init__(self) -> None:
        self._makers: dict[int, tuple[weakref.ref[Array], str]] = {}  # by id, while it lives

    def __call__(self, record: Record) -> None:
        prim, inputs, _, outputs = record
        results = dispatch.as_tuple(outputs)
        if any(y.is_traced for y in (*inputs, *results)):
            return
        arrays, found = [x.value for x in inputs], [y.value for y in results]
        if not all(map(_is_finite, found)):
            if isinstance(prim, Recorded):
                arrays = arrays[: len(prim.graph.inputs)]  # the others are constants of the graph
                replay(prim.graph, arrays)
            makers = [self._makers.get(id(a), (None, ""))[1] for a in arrays]
            _refuse(prim.name, found, _given(prim, arrays, makers), None)
        line = user_line()
        for array in found if prim.name != "identity" else ():  # tf.asarray makes nothing
            forget = functools.partial(self._forget, id(array))
            self._makers[id(array)] = weakref.ref(array, forget), f"{prim.name} at {line}"

    def _forget(self, key: int, gone: object) -> None:
        self._makers.pop(key, None)


def replay(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """The outputs of a graph, node by node, up to one that gives what is not finite. What has an
    effect is not done again; where that gives values, the replay ends there."""
    env = {**graph.constants, **dict(zip(graph.inputs, arrays, strict=True))}
    made: dict[Var, str] = {}
    for node in graph.nodes:
        given = [env[v] for v in node.inputs]
        if isinstance(node.prim, Ordered):
            if len(node.outputs) > 1:
                break
            env[node.outputs[0]] = given[-1]
            continue
        with np.errstate(all="ignore"):
            values = run_node(_descending(node), given)
        if not all(map(_is_finite, values)):
            makers = [made.get(v, "") for v in node.inputs]
            _refuse(node.prim.name, values, _given(node.prim, given, makers), node)
        env.update(zip(node.outputs, values, strict=True))
        made.update((v, f"{node.prim.name} at {node.line}") for v in node.outputs)
    return [env[v] for v in graph.outputs if v in env]


def _descending(node: Node[Var]) -> Node[Var]:
    """A loop or branch whose bodies are replayed in turn."""
    if not isinstance(node.prim, Holder):
        return node
    bodies = [lambda *arrays, graph=graph: replay(graph, arrays) for graph in node.prim.graphs]
    return replace(node, prim=node.prim.running(bodies))


def _is_finite(array: Array) -> bool:
    return not is_inexact(array.dtype) or bool(np.isfinite(array).all())


def _refuse(op: str, found: Sequence[Array], given: str, node: Node[Var] | None) -> NoReturn:
    bad = next(a for a in found if not _is_finite(a))
    nans, infinities = _counts(bad)
    both = " and ".join(
        f"{n} of {bad.size} elements {'is' if n == 1 else 'are'} {what}"
        for n, what in ((nans, "NaN"), (infinities, "infinite"))
        if n
    )
    error = NumericsError(
        op,
        got=given,
        why=both,
        fix="keep the inputs where the op is defined, e.g. by tf.where before it, a smaller "
        "learning rate, or clipped gradients",
    )
    if node is not None:
        error.move(node.line)
    raise error


def _given(prim: Any, arrays: Sequence[Array], makers: Sequence[str]) -> str:
    """What the inputs were like, one a line."""
    numbered = [f"input {i}" for i in range(len(arrays))]
    names = prim.params if len(prim.params) == len(arrays) else numbered
    lines = [
        f"{name} {_described(a)}" + (f", of {maker}" if maker else "")
        for name, a, maker in zip(names, arrays, makers, strict=True)
    ]
    return "\n       ".join(lines)


def _counts(array: Array) -> tuple[int, int]:
    return int(np.isnan(array).sum()), int(np.isinf(array).sum())


def _described(array: Array) -> str:
    """`f32[2,3], 1 NaN, 2 infinite, finite, from -1 to 3, mean 0.5`."""
    spec = str(Spec(array.shape, array.dtype))
    if not array.size or array.dtype.kind == "b":
        return spec
    if array.size == 1:
        return f"{spec} = {array.item():.6g}"
    if not is_inexact(array.dtype):
        return f"{spec}, from {array.min()} to {array.max()}"
    nans, infinities = _counts(array)
    bad = [f"{n} {what}" for n, what in ((nans, "NaN"), (infinities, "infinite")) if n]
    there = np.abs(array) if array.dtype.kind == "c" else array
    there = there[np.isfinite(there)].astype(np.float64)
    if there.size:
        least, most, mean = there.min(), there.max(), there.mean()
        bad.append(f"finite, from {least:.6g} to {most:.6g}, mean {mean:.6g}")
    return ", ".join([spec, *bad])
