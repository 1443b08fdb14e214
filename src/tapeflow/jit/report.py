"""Kernels and what they reach, beside what the machine does at most: as rows, text and HTML."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapeflow.graph import Node, Var
from tapeflow.jit import cost
from tapeflow.jit.codegen import loops
from tapeflow.jit.nest import Nest
from tapeflow.jit.passes.fused import Fused
from tapeflow.jit.plan import HostStep, Plan, Step
from tapeflow.jit.product import Product
from tapeflow_kernels.limits import Limits

_HEAD = ("time", "of all", "flop", "moved", "GFLOP/s", "GB/s", "of the limit", "step", "where")
_SHOWN = 30  # rows of the table; the rest is summed up


@dataclass(frozen=True)
class Row:
    """One step of a program. `seconds` is None where it was not timed: it has effects."""

    name: str
    where: str
    flops: int
    nbytes: int
    dtype: str
    seconds: float | None

    def least(self, limits: Limits) -> float:
        """The seconds that it takes at least."""
        return max(self.flops / limits.flops(self.dtype), self.nbytes / limits.bandwidth)

    def is_bound_by_memory(self, limits: Limits) -> bool:
        """Whether moving its bytes takes longer than its arithmetic."""
        return self.nbytes / limits.bandwidth >= self.flops / limits.flops(self.dtype)

    def share(self, limits: Limits) -> float:
        """How much of the nearer limit it reaches; more than 1 where caches hold its values."""
        return self.least(limits) / self.seconds if self.seconds else 0.0


def rows_of(plan: Plan, seconds: Sequence[float | None]) -> list[Row]:
    """The steps of a plan that took so long."""
    return [_row(step, plan, taken) for step, taken in zip(plan.steps, seconds, strict=True)]


def _row(step: Step, plan: Plan, seconds: float | None) -> Row:
    node, price = step.node, cost.of_step(step, plan)
    dtypes = {v.dtype.name for v in (*node.inputs, *node.outputs)}
    dtype = "float64" if "float64" in dtypes and "float32" not in dtypes else "float32"
    return Row(_name(step), _where(node), price.flops, price.nbytes, dtype, seconds)


def _name(step: Step) -> str:
    prim = step.node.prim
    if isinstance(step, Nest):
        return prim.name if step.turns < 0 else f"{prim.name}, {step.turns} turns"
    if isinstance(step, HostStep):
        return f"{prim.name} (on the host)"
    if isinstance(prim, Product):
        return f"{prim.of.prim.name}, then {_names(prim.body.nodes)}"
    if prim is loops.COPY:
        return "copy"
    return _names(prim.body.nodes) if isinstance(prim, Fused) else prim.name


def _names(nodes: Sequence[Node[Var]]) -> str:
    names = [node.prim.name for node in nodes if node.prim.name != "broadcast_to"]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more or "copy"


def _where(node: Node[Var]) -> str:
    """Its name scope, or the user's line."""
    place = re.match(r".+?:\d+(?=,| in |: |$)", node.line)
    return node.scope or (Path(place[0]).name if place else "")


# ---- tables


def _cells(rows: Sequence[Row], limits: Limits) -> Iterator[tuple[str, ...]]:
    """The rows as text, those that take longest first."""
    total = sum(row.seconds or 0.0 for row in rows)
    order = sorted(rows, key=lambda row: -(row.seconds or 0.0))
    for row in order[:_SHOWN]:
        yield _cell(row, total, limits)
    rest = order[_SHOWN:]
    if rest:
        yield _cell(summed(f"{len(rest)} more", rest), total, limits)


def _cell(row: Row, total: float, limits: Limits) -> tuple[str, ...]:
    amounts = (scaled(row.flops), f"{scaled(row.nbytes)}B")
    if row.seconds is None:
        return ("not run", "", *amounts, "", "", "", row.name, row.where)
    by = "memory" if row.is_bound_by_memory(limits) else "arithmetic"
    return (
        f"{scaled(row.seconds)}s",
        f"{row.seconds / total:.0%}",
        *amounts,
        f"{row.flops / row.seconds / 1e9:.1f}",
        f"{row.nbytes / row.seconds / 1e9:.1f}",
        f"{row.share(limits):.0%} {by}",
        row.name,
        row.where,
    )


def summed(name: str, rows: Sequence[Row]) -> Row:
    """Several rows as one."""
    dtypes = {row.dtype for row in rows if row.flops}
    return Row(
        *(name, "", sum(row.flops for row in rows), sum(row.nbytes for row in rows)),
        "float64" if dtypes == {"float64"} else "float32",
        sum(row.seconds or 0.0 for row in rows),
    )


def summary(rows: Sequence[Row], limits: Limits) -> str:
    """What all steps take together, and the limits."""
    whole = summed("", rows)
    seconds = whole.seconds or 0.0
    least = sum(min(row.least(limits), row.seconds) for row in rows if row.seconds)
    reached = least / (seconds or 1.0)
    return (
        f"{len(rows)} steps take {scaled(seconds)}s for {scaled(whole.flops)}flop and "
        f"{scaled(whole.nbytes)}B moved, {reached:.0%} of what this machine's limits allow: "
        f"{limits.float32 / 1e9:.0f} GFLOP/s and {limits.bandwidth / 1e9:.1f} GB/s copied by "
        f"{limits.threads} {'thread' if limits.threads == 1 else 'threads'}"
    )


def as_text(rows: Sequence[Row], limits: Limits) -> list[str]:
    """The table as lines in columns."""
    cells = [_HEAD, *_cells(rows, limits)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  "
        + "  ".join(
            text.ljust(width) if i > 5 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def as_html(rows: Sequence[Row], limits: Limits) -> str:
    """The table for a notebook."""

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ("right",) * 6 + ("left",) * 3
        made = "".join(
            f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f"<tr>{made}</tr>"

    body = "".join(line(cells, "td") for cells in _cells(rows, limits))
    return f"<table><thead>{line(_HEAD, 'th')}</thead><tbody>{body}</tbody></table>"


def scaled(amount: float) -> str:
    """Three digits and a prefix: `1.24 M`, `0 `.

    >>> scaled(1_240_000), scaled(0.000_05), scaled(0)
    ('1.24 M', '50 µ', '0 ')
    """
    if amount == 0:
        return "0 "
    power = min(max(int(np.floor(np.log10(abs(amount)) / 3)), -3), 4)
    number = amount / 1000.0**power
    return (
        f"{number:.3g} {_PREFIXES[power]}" if number < 999.5 else f"{number:.0f} {_PREFIXES[power]}"
    )


_PREFIXES = {-3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}
