"""What is said where the memory of a program cannot be had: how much, and what takes most of it."""

from __future__ import annotations

from tapeflow.errors import OutOfMemoryError
from tapeflow.jit.plan import Plan

_SHOWN = 3


def shortage(plan: Plan) -> OutOfMemoryError:
    """The error for a program whose arena and outputs the system does not give."""
    held = {*plan.arena, *plan.fresh}
    made = {
        v: step.node.line
        for step in plan.steps
        for v in step.node.outputs
        if plan.layouts[v].base in held
    }
    largest = sorted(made, key=lambda v: v.spec.nbytes, reverse=True)[:_SHOWN]
    told = [f"{v.spec} ({v.spec.nbytes:,} bytes) at {made[v]}" for v in largest]
    results = sum(v.spec.nbytes for v in plan.fresh)
    return OutOfMemoryError(
        plan.graph.name,
        got="its largest values: " + "; ".join(told),
        why=f"{plan.arena_bytes:,} bytes for intermediate values and {results:,} for results "
        "cannot be had",
        fix="use a smaller batch, or a narrower dtype",
    )
