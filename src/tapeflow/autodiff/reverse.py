"""Reverse mode: pullback() walks records backwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapeflow.dispatch import Record
from tapeflow.tensor import Tensor

Gradients = dict[int, Tensor]  # by id of the tensor that each belongs to; the records keep it alive


def pullback(
    records: Sequence[Record],
    targets: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    sources: Sequence[Tensor],
) -> list[Tensor | None]:
    """Carry the cotangents of `targets` back to each of `sources`; None where nothing arrives.

    Adjoints are made of ops, so an outer tape or a tracer sees them too: second derivatives and
    traced backward passes need no further code. Each tensor of the records holds one value: see
    settled().
    """
    kept = {id(s) for s in sources}
    on_path = between(records, set(kept))
    grads: Gradients = {}
    passed: Gradients = {}  # what went through a source to those that it was computed from
    for y, g in zip(targets, cotangents, strict=True):
        grads[id(y)] = g if id(y) not in grads else grads[id(y)] + g
    for (prim, inputs, attrs, outputs), wanted in reversed(on_path):
        arrived: Any
        if type(outputs) is tuple:
            arrived = _taken_together(grads, outputs, kept, passed)
        else:
            arrived = grads.pop(id(outputs), None)
            if id(outputs) in kept and arrived is not None:
                passed[id(outputs)] = arrived
        if arrived is None:
            continue
        pulled = prim.pull(arrived, outputs, inputs, attrs, wanted)
        for x, gx in zip(inputs, pulled):  # noqa: B905   # strict costs a tenth of the loop
            if gx is not None:
                key = id(x)
                known = grads.get(key)
                grads[key] = gx if known is None else known + gx
    return [grads.get(id(s), passed.get(id(s))) for s in sources]


Change = tuple[int, Tensor, Tensor]  # how many records there were, a tensor, what it was till then


def settled(records: Sequence[Record], changes: Sequence[Change]) -> Sequence[Record]:
    """The records, where a tensor that was rebound (x[i] = v) is, before each change, the one that
    stands for what it was."""
    if not changes:
        return records
    was: dict[int, Tensor] = {}
    found: list[Record] = []
    end = len(records)
    for position, x, old in reversed(changes):
        found += (_with(was, record) for record in reversed(records[position:end]))
        was[id(x)] = old
        end = position
    found += (_with(was, record) for record in reversed(records[:end]))
    return found[::-1]


def _with(was: dict[int, Tensor], record: Record) -> Record:
    prim, inputs, attrs, outputs = record
    xs = tuple([was.get(id(x), x) for x in inputs])
    if type(outputs) is tuple:
        return prim, xs, attrs, tuple([was.get(id(y), y) for y in outputs])
    return prim, xs, attrs, was.get(id(outputs), outputs)


def between(records: Sequence[Record], active: set[int]) -> list[tuple[Record, list[bool]]]:
    """The records that depend on tensors whose ids are `active`, and by which of their inputs.

    Afterwards `active` holds the ids of all tensors that do.
    """
    on_path = []
    for record in records:
        depends = [id(x) in active for x in record[1]]
        if True in depends:
            on_path.append((record, depends))
            outputs = record[3]
            if type(outputs) is tuple:
                active.update(map(id, outputs))
            else:
                active.add(id(outputs))
    return on_path


def _taken_together(
    grads: Gradients, outputs: tuple[Tensor, ...], kept: set[int], passed: Gradients
) -> tuple[Tensor | None, ...] | None:
    """What arrived at several outputs of one record; None if nothing did."""
    gs = tuple(grads.pop(id(y), None) for y in outputs)
    passed.update(
        (id(y), g) for y, g in zip(outputs, gs, strict=True) if g is not None and id(y) in kept
    )
    return gs if any(g is not None for g in gs) else None
