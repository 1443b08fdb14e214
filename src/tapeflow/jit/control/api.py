"""tf.cond, tf.while_loop, tf.scan, tf.map: Python in eager code, one node each in a trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tapeflow import arguments, dispatch, ops
from tapeflow.dtypes import bool_
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.jit.control import branch, repeat
from tapeflow.jit.control import scan as scans
from tapeflow.jit.control.body import BodyTracer
from tapeflow.jit.control.forms import Form, fitted, taken_apart
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor

Function = Callable[..., Any]
_KEEP = "cast or reshape it in the body, or start with what it becomes"


# ---- branches


def cond(pred: TensorLike, true_fn: Function, false_fn: Function, *operands: Any) -> Any:
    """`true_fn(*operands)` where `pred` is true, else `false_fn(*operands)`.

    Inside `tf.jit` both are traced and one of them runs; eagerly only that one is called. Gradients
    flow to the operands, and to what the functions read besides; compiled, they compute the branch
    again.

    Args:
        pred: bool[].
        true_fn, false_fn: give trees of the same structure and types.
        operands: trees of tensors.

    Raises: DTypeError or ShapeError unless `pred` is bool[]; ArgumentError unless functions are
        given; in a trace ArgumentError, ShapeError or DTypeError where they give different
        structures or types.

    >>> cond(True, lambda x: x + 1.0, lambda x: x * 2.0, 3.0)
    Tensor(4., f32[])
    """
    for name, branch_fn in (("true_fn", true_fn), ("false_fn", false_fn)):
        arguments.function("cond", name, branch_fn)
    test = _predicate("cond", "pred", pred)
    given, form = taken_apart("cond", operands)
    if not test.is_traced:
        found, result = taken_apart("cond", (true_fn if test else false_fn)(*form.tree(given)))
        return result.tree(found)
    shared: list[Form] = []

    def first(symbols: Sequence[Tensor]) -> list[Tensor]:
        tensors, result = taken_apart("cond", true_fn(*form.tree(symbols)))
        shared.append(result)
        return tensors

    def second(symbols: Sequence[Tensor]) -> list[Tensor]:
        result = false_fn(*form.tree(symbols))
        fix = "let false_fn give what true_fn gives, of the same shapes and dtypes"
        return fitted("cond", "result", result, shared[0], fix)

    tracers = (BodyTracer("true_fn"), BodyTracer("false_fn"))
    outputs = branch.apply(test, tracers, (first, second), given)
    return shared[0].tree(outputs)


def _is_traced() -> bool:
    tracer = dispatch.tracer()
    return tracer is not None and tracer.is_symbolic


def _predicate(op: str, what: str, pred: TensorLike) -> Tensor:
    x = as_tensor(pred, op=op)
    if x.dtype != bool_:
        raise DTypeError(
            op, got=f"{what} {x.spec}", why="a condition is bool[]", fix="compare it, as in x > 0"
        )
    if x.shape:
        raise ShapeError(
            op,
            got=f"{what} {x.spec}",
            why="a condition is one bool",
            fix="reduce it with tf.all or tf.any, or use tf.where for a choice by element",
        )
    return x


# ---- loops


def while_loop(cond: Function, body: Function, init: Any) -> Any:
    """What `init` becomes by `body`, turn by turn, while `cond` of it holds.

    Compiled, it has forward mode only; for reverse mode use tf.scan.

    Args:
        cond: gives bool[].
        body: gives what it gets: the same structure, shapes and dtypes.
        init: a tree of tensors.

    Raises: ArgumentError, ShapeError or DTypeError, naming the leaf, where `body` changes the form
        of what it gets; DTypeError or ShapeError unless `cond` gives bool[]; ArgumentError unless
        both are functions, for reverse mode in compiled code, or for a compiled `cond` that assigns
        a variable.

    >>> while_loop(lambda x: x < 100.0, lambda x: x * 2.0, 3.0)
    Tensor(192., f32[])
    """
    arguments.function("while_loop", "cond", cond)
    arguments.function("while_loop", "body", body)
    carry, form = taken_apart("while_loop", init)

    def test(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [_predicate("while_loop", "condition", cond(form.tree(tensors)))]

    def turn(tensors: Sequence[Tensor]) -> list[Tensor]:
        return fitted("while_loop", "carry", body(form.tree(tensors)), form, _KEEP)

    if _is_traced():
        tracers = (BodyTracer("while_cond"), BodyTracer("while_body"))
        return form.tree(repeat.apply(tracers, (test, turn), carry))
    while test(carry)[0]:
        carry = turn(carry)
    return form.tree(carry)


@dataclass(frozen=True)
class _Turn:
    """How a scan calls the user's function: carries and rows in, carries and rows out."""

    f: Function
    carry: Form
    xs: Form
    rows: list[Form]  # the form of what each turn gives beside the carry, once one was run

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        n = sum(s is not None for s in self.carry.specs)
        pair = arguments.pair(
            "scan",
            self.f(self.carry.tree(tensors[:n]), self.xs.tree(tensors[n:])),
            "f",
            why="f gives a pair: the next carry, and this turn's row of the result",
            fix="return carry, y; y may be None",
        )
        carry = fitted("scan", "carry", pair[0], self.carry, _KEEP)
        if not self.rows:
            self.rows.append(taken_apart("scan", pair[1])[1])
        fix = "let f give a row of the same shape and dtype at each turn"
        return [*carry, *fitted("scan", "y", pair[1], self.rows[0], fix)]


def scan(
    f: Function, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False
) -> tuple[Any, Any]:
    """`(carry, ys)` after `carry, y = f(carry, x)` for each row x of `xs`; `ys` are all y, stacked.

    Inside `tf.jit` it is traced once, and compiled to one loop, however many rows there are.

    Args:
        f: gives a carry of the structure, shapes and dtypes of `init`, and a tree of tensors.
        init: a tree of tensors.
        xs: a tree of tensors any[n, ...]; None gives f None, `length` times.
        length: n, which must be given where `xs` has no tensor.
        reverse: whether the last row comes first; `ys` are in the order of `xs` all the same.

    Raises: ArgumentError, ShapeError or DTypeError, naming the leaf, where `f` changes the form of
        the carry; ShapeError where the tensors of `xs` have different lengths, or none;
        ArgumentError without a length or for a negative one, or if `f` is no function or gives no
        pair.

    >>> scan(lambda total, x: (total + x, total), 0.0, ops.asarray([1.0, 2.0, 3.0]))
    (Tensor(6., f32[]), Tensor([0., 1., 3.], f32[3]))
    """
    arguments.function("scan", "f", f)
    carry, form = taken_apart("scan", init)
    tensors, whole = taken_apart("scan", xs)
    turns = _length("scan", tensors, whole, length)
    rows = Form(
        whole.structure, tuple(s and Spec(s.shape[1:], s.dtype) for s in whole.specs)
    )
    turn = _Turn(f, form, rows, [])
    if _is_traced():
        tracer = BodyTracer("scan_body")
        found = scans.apply(tracer, turn, carry, tensors, length=turns, is_reverse=reverse)
        carry, ys = list(found[: len(carry)]), list(found[len(carry) :])
    else:
        carry, ys = _scan_eagerly(turn, carry, tensors, turns, reverse)
    return form.tree(carry), turn.rows[0].tree(ys)


def _length(op: str, tensors: Sequence[Tensor], form: Form, length: int | None) -> int:
    """The number of rows of all the tensors."""
    if length is not None:
        length = arguments.integer(op, "length", length)
        if length < 0:
            raise ArgumentError(op, got=f"length={length}", why="there are 0 turns at least",
                                fix="give 0 or more")
    if any(not x.shape for x in tensors):
        raise ShapeError(op, got=_listed(form), why="a tensor without axes has no rows",
                         fix="give any[n, ...], or let f read it from its closure")
    sizes = {x.shape[0] for x in tensors} | ({length} if length is not None else set())
    if not sizes:
        raise ArgumentError(op, got="no tensor in xs", why="nothing says how many turns there are",
                            fix="give length=")
    if len(sizes) > 1:
        given = "" if length is None else f", length={length}"
        raise ShapeError(op, got=_listed(form) + given, why="they differ in their number of rows",
                         fix="give all the same first axis")
    return sizes.pop()


def _listed(form: Form) -> str:
    return "xs " + ", ".join(str(s) for s in form.specs if s is not None)


def _scan_eagerly(
    turn: _Turn, carry: list[Tensor], xs: Sequence[Tensor], length: int, reverse: bool
) -> tuple[list[Tensor], list[Tensor]]:
    if not length:
        specs = [*(c.spec for c in carry), *(Spec(x.shape[1:], x.dtype) for x in xs)]
        with dispatch.recording_only(()):
            BodyTracer("scan_body").run(turn, specs)
        rows = [s for s in turn.rows[0].specs if s is not None]
        return carry, [ops.zeros((0, *s.shape), s.dtype) for s in rows]
    columns: list[list[Tensor]] = []
    for i in reversed(range(length)) if reverse else range(length):
        outputs = turn([*carry, *(x[i] for x in xs)])
        carry = outputs[: len(carry)]
        columns.append(outputs[len(carry) :])
    if reverse:
        columns.reverse()
    return carry, [ops.stack(list(column)) for column in zip(*columns, strict=True)]


def map(f: Function, xs: Any) -> Any:
    """`f(x)` for each row x of `xs`, stacked.

    Args:
        f: gives a tree of tensors, of the same structure, shapes and dtypes for each row.
        xs: a tree of tensors any[n, ...].

    Raises: as tf.scan.

    >>> map(lambda x: x * x, ops.asarray([1.0, 2.0]))
    Tensor([1., 4.], f32[2])
    """
    arguments.function("map", "f", f)
    return scan(lambda _, x: (None, f(x)), None, xs)[1]
