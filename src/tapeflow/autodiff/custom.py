"""custom_gradient: functions whose derivatives, and whose vmap, the user gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tapeflow import arguments, dispatch, ops
from tapeflow.autodiff.batching import Batch, renewed
from tapeflow.autodiff.captures import Captures
from tapeflow.autodiff.functional import name_of
from tapeflow.autodiff.tape import GradientTape
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import shape
from tapeflow.primitive import Primitive
from tapeflow.tensor import Tensor, as_tensor
from tapeflow.tree import flatten, unflatten

Function = Callable[..., Any]


class CustomGradient:
    """A function with derivatives of its own. Made by `custom_gradient`."""

    def __init__(self, f: Function) -> None:
        functools.update_wrapper(self, f)
        self._f = f
        self._jvp: Function | None = None
        self._batch: Function | None = None

    def defjvp(self, rule: Function) -> Function:
        """Let `rule(primals, tangents)` give `(y, tangent of y)`, in forward mode.

        Without one, the tangent is what the transpose of `pull` makes of those of the inputs.
        Returns: `rule`, so that this may be a decorator.
        Raises: ArgumentError if it is no function.

        >>> @custom_gradient
        ... def double(x):
        ...     return 2.0 * x, lambda g: 2.0 * g
        >>> @double.defjvp
        ... def double_jvp(primals, tangents):
        ...     return 2.0 * primals[0], 2.0 * tangents[0]
        """
        self._jvp = arguments.function("defjvp", "rule", rule)
        return rule

    def defbatch(self, rule: Function) -> Function:
        """Let `rule(size, batched, *xs)` give `(y, is_batched)` where tf.vmap calls the function.

        The inputs that are `batched`, bool for each, have the examples along axis 0, and so has y
        if `is_batched`: a bool, or a tree of them in the structure of y. Tapes around the vmap
        differentiate what the rule does; those inside it use the function's own `pull`.
        Returns: `rule`, so that this may be a decorator.
        Raises: ArgumentError if it is no function.
        """
        self._batch = arguments.function("defbatch", "rule", rule)
        return rule

    def __call__(self, *args: Any) -> Any:
        xs = tuple(as_tensor(a) for a in args)
        tracer = dispatch.tracer()
        own = [shape.another(x) for x in xs]  # `pull` may hold them while x[i] = v changes `xs`
        if self._batch and isinstance(tracer, Batch) and any(map(tracer.owns, xs)):
            return self._for_all(tracer, xs, own)
        with Captures(own) as captures, dispatch.aside():  # recorded too: `pull` may hold results
            result, pull = self._paired(self._f(*own))
            leaves, structure = flatten(result)
            tensors = [as_tensor(y) for y in leaves]
        captured = captures.of(tensors)
        if isinstance(tracer, Batch):  # each example has a cotangent of its own
            with dispatch.muted():
                tensors = tracer.shared(tensors, (*xs, *tensors))
        # new objects, so that a result that is one of the inputs is still a step of its own
        ys = tuple(map(renewed, tensors))
        step = _Step(name_of(self._f), pull, self._jvp, ys, [what for what, _ in captured])
        inputs = (*xs, *(x for _, x in captured))
        dispatch.tell((step, inputs, dispatch.NO_ATTRS, ys))
        return unflatten(structure, ys)

    def _paired(self, given: Any) -> tuple[Any, Function]:
        result, pull = arguments.pair(
            "custom_gradient",
            given,
            name_of(self._f),
            why="the function gives a pair: its result, and a function that pulls gradients back",
            fix="return y, lambda g: ..., with a gradient for each input",
        )
        return result, arguments.function("custom_gradient", "pull", pull)

    def _for_all(self, batch: Batch, xs: tuple[Tensor, ...], own: Sequence[Tensor]) -> Any:
        """The result by the rule for many examples."""
        assert self._batch is not None
        batched = tuple(map(batch.owns, xs))
        with batch.outside():
            wholes = [x.value.whole if b else x for x, b in zip(own, batched, strict=True)]
            result, is_batched = arguments.pair(
                "defbatch",
                self._batch(batch.size, batched, *wholes),
                f"the rule of {name_of(self._f)}",
                why="a rule gives a pair: the result, and whether it has the examples along axis 0",
                fix="return y, True",
            )
        flags = is_batched if isinstance(is_batched, bool) else flatten(is_batched)[0]
        leaves, structure = flatten(result)
        which = [flags] * len(leaves) if isinstance(flags, bool) else flags
        tensors = zip(map(as_tensor, leaves), which, strict=True)
        ys = tuple(self._lane(batch, y) if b else y for y, b in tensors)

        def pull(*gs: Tensor) -> Any:
            with dispatch.aside():
                _, pull_one = self._paired(self._f(*own))
            return pull_one(*gs)

        step = _Step(name_of(self._f), pull, self._jvp, ys)
        for record in dispatch.here.context.records:
            record((step, xs, dispatch.NO_ATTRS, ys))
        return unflatten(structure, ys)

    def _lane(self, batch: Batch, y: Tensor) -> Tensor:
        if y.shape[:1] != (batch.size,):
            raise ShapeError(
                "defbatch",
                got=f"{y.spec} from the rule of {name_of(self._f)}",
                why=f"there are {batch.size} examples, which lie along axis 0",
                fix="give the result for each example, or say that it is not batched",
            )
        return batch.lane(y)

    def __repr__(self) -> str:
        return f"<custom_gradient {name_of(self._f)}>"


class _Step(Primitive):
    """One call of such a function, as tapes keep it. Its inputs are the arguments, then what
    `captured` names: that has no gradient, and whoever asks for one is told."""

    def __init__(
        self,
        name: str,
        pull: Function,
        jvp: Function | None,
        outputs: tuple[Tensor, ...],
        captured: Sequence[str] = (),
    ) -> None:
        super().__init__(
            lambda *xs: tuple(y.value for y in outputs),
            lambda *xs: tuple(y.spec for y in outputs),
            name=name,
            multiple=True,
        )
        self._pull, self._jvp, self._captured = pull, jvp, captured

    def pull(
        self, gs: Any, ys: Any, xs: Any, attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        count = self._arguments(xs, wanted)
        full = [
            ops.zeros_like(y) if g is None else shape.another(g)
            for y, g in zip(ys, gs, strict=True)
        ]
        return [*self._pulled(full, xs[:count]), *(None for _ in self._captured)]

    def _arguments(self, xs: Sequence[Tensor], wanted: Sequence[bool]) -> int:
        """The number of arguments; raises if a derivative by anything else is wanted."""
        count = len(xs) - len(self._captured)
        missing = [c for c, w in zip(self._captured, wanted[count:], strict=True) if w]
        if missing:
            raise ArgumentError(
                "custom_gradient",
                got=f"{self.name}, which uses {', '.join(missing)} without being passed it",
                why="its rules are for its arguments only: the derivative by what else it uses "
                "would be left out",
                fix="pass it as an argument; or use tf.stop_gradient(it), if it has none here",
            )
        return count

    def _pulled(self, gs: Sequence[Tensor], xs: Sequence[Tensor]) -> list[Tensor | None]:
        given = self._pull(*gs)
        grads = list(given) if isinstance(given, list | tuple) else [given]
        if len(grads) != len(xs):
            raise ArgumentError(
                "custom_gradient",
                got=f"{len(grads)} gradients from {self.name}",
                why=f"the function took {len(xs)} tensors",
                fix="return one gradient for each",
            )
        return [
            None if g is None else self._fitting("gradient", as_tensor(g), x)
            for g, x in zip(grads, xs, strict=True)
        ]

    def _fitting(self, what: str, t: Tensor, x: Tensor) -> Tensor:
        if t.shape != x.shape:
            raise ShapeError(
                "custom_gradient",
                got=f"a {what} {t.spec} from {self.name} for {x.spec}",
                why=f"a {what} has the shape of what it belongs to",
                fix="sum it over the axes that were broadcast",
            )
        return ops.cast(t, x.dtype)

    def push(self, ts: Any, ys: Any, xs: Any, attrs: Any) -> Any:
        count = self._arguments(xs, [t is not None for t in ts])
        ts, xs = ts[:count], xs[:count]
        if self._jvp is None:
            return self._transposed(ts, ys, xs)
        tangents = [ops.zeros_like(x) if t is None else t for t, x in zip(ts, xs, strict=True)]
        _, moved = self._jvp(tuple(xs), tuple(tangents))
        found = [as_tensor(t) for t in flatten(moved)[0]]
        if len(found) != len(ys):
            raise ArgumentError(
                "defjvp",
                got=f"{len(found)} tangents from the rule of {self.name}",
                why=f"the function gives {len(ys)} tensors",
                fix="return (y, tangent), both of the structure of y",
            )
        return tuple(self._fitting("tangent", t, y) for t, y in zip(found, ys, strict=True))

    def _transposed(self, ts: Any, ys: Any, xs: Any) -> tuple[Tensor | None, ...]:
        """`pull` is the transpose of what moves tangents; that is its own transpose again."""
        sent = [ops.zeros_like(y) for y in ys]
        with GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(sent)
            pulled = self._pulled(sent, xs)
        pairs = [(g, t) for g, t in zip(pulled, ts, strict=True) if g is not None and t is not None]
        given = tape.gradient([g for g, _ in pairs], sent, [t for _, t in pairs])
        return tuple(given)


def custom_gradient(f: Function) -> CustomGradient:
    """`f` with its own backward pass: `f(*xs)` gives `(y, pull)`, `pull(g)` a gradient for each x.

    `pull` may hold what `f` computed: derivatives of any order pass through that. Gradients take
    the dtypes of their inputs.
    Forward mode follows from `pull`, which must be linear in g for that, or from a rule that is
    given by `.defjvp`; how tf.vmap runs it follows from `f`, or from a rule given by `.defbatch`.

    >>> @custom_gradient
    ... def clipped(x):
    ...     return x, lambda g: ops.clip(g, -1.0, 1.0)

    Raises: ArgumentError if `f` gives no such pair or `pull` another number of gradients, or where
        a derivative is asked for by what `f` uses without being passed it, such as a variable;
        ShapeError if a gradient does not have its input's shape, DTypeError if it is complex
        and the input is real.
    """
    return CustomGradient(arguments.function("custom_gradient", "f", f))
