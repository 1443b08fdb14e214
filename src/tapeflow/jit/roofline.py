"""The roofline of a program: what its steps reach, below what the machine does at most.

Source: Williams, Waterman & Patterson (2009), doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow.errors import MissingExtraError
from tapeflow.jit.report import Row, scaled
from tapeflow_kernels.limits import Limits

_INK, _FAINT, _GRID, _ABOVE = "#26323d", "#7b8893", "#e3e8ec", "#f4f6f8"
_MEMORY, _ARITHMETIC = "#2a78b8", "#d1495b"
_LISTED = 10  # steps that have a number, and a line beside the picture
_LEAST = 0.001  # of the time, for which a step has a place in the picture


class PNG(bytes):
    """A picture, which notebooks show."""

    def _repr_png_(self) -> bytes:
        return bytes(self)


def picture(title: str, rows: Sequence[Row], limits: Limits) -> PNG:
    """The roofline of these steps. Raises: MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "roofline",
            got=title,
            why="matplotlib is not installed",
            fix="pip install 'tapeflow[viz]'",
        ) from error
    figure = Figure(figsize=(11.4, 5.8), dpi=150, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    total = sum(row.seconds or 0.0 for row in rows)
    order = sorted(rows, key=lambda row: -(row.seconds or 0.0))
    placed = [row for row in order if (row.seconds or 0.0) > _LEAST * total and row.flops]
    axes = figure.add_axes((0.065, 0.115, 0.6, 0.74))
    _frame(axes, placed, limits)
    _roofs(axes, placed, limits)
    _points(axes, placed, total, limits)
    _list(figure, order[:_LISTED], total, limits)
    note = f"{len(rows)} steps take {scaled(total)}s; shown are {len(placed)} that compute"
    figure.text(0.065, 0.94, title, fontsize=14, fontweight="bold", color=_INK)
    figure.text(0.065, 0.895, f"{note} for 0.1% of it or more", fontsize=9, color=_FAINT)
    for number, row in enumerate(order[:_LISTED], 1):
        if row in placed:
            axes.annotate(str(number), _at(row), ha="center", va="center", fontsize=8,
                          fontweight="bold", color=_INK, zorder=5)  # fmt: skip
    written = io.BytesIO()
    canvas.print_png(written)
    return PNG(written.getvalue())


def _at(row: Row) -> tuple[float, float]:
    """Operations a byte, and operations a second in billions."""
    assert row.seconds, "a step that was not timed has no place"
    return row.flops / row.nbytes, row.flops / row.seconds / 1e9


def _frame(axes: Any, rows: Sequence[Row], limits: Limits) -> None:
    """Axes that hold all points and the corner of the roof."""
    ridge, peak = limits.float32 / limits.bandwidth, limits.float32 / 1e9
    xs, ys = zip(*[(ridge, peak), *map(_at, rows)], strict=True)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(min(*xs, ridge / 100) / 2, max(*xs, 4 * ridge) * 2)
    axes.set_ylim(min(*ys, peak / 100) / 2, max(*ys, peak) * 2.5)
    axes.grid(True, which="major", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_INK, labelsize=9, length=0)
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel("operations for each byte that must be moved", color=_INK)
    axes.set_ylabel("GFLOP/s", color=_INK)


def _roofs(axes: Any, rows: Sequence[Row], limits: Limits) -> None:
    """The two limits; that of doubles too where there are any."""
    left, right = axes.get_xlim()
    slope = limits.bandwidth / 1e9
    xs = np.geomspace(left, right, 400)
    axes.fill_between(xs, np.minimum(xs * slope, limits.float32 / 1e9), axes.get_ylim()[1],
                      color=_ABOVE, zorder=0)  # fmt: skip
    axes.annotate("out of caches", (0, 1), (8, -8), xycoords="axes fraction", va="top",
                  textcoords="offset points", color=_FAINT, fontsize=9)  # fmt: skip
    used = {row.dtype for row in rows} or {"float32"}
    for dtype, style in (("float32", "-"), ("float64", (0, (5, 3)))):
        if dtype in used:
            peak = limits.flops(dtype) / 1e9
            axes.plot(xs, np.minimum(xs * slope, peak), color=_INK, lw=1.8, ls=style, zorder=2)
            axes.annotate(f"{peak:.0f} GFLOP/s: multiply-adds on {dtype}", (right, peak), (-6, 6),
                          textcoords="offset points", ha="right", color=_INK,
                          fontsize=9)  # fmt: skip
    start = max(left, axes.get_ylim()[0] / slope)
    axes.annotate(f"{slope:.1f} GB/s: copies of memory", (start, start * slope), (12, 16),
                  textcoords="offset points", rotation=_slope(axes), rotation_mode="anchor",
                  color=_INK, fontsize=9)  # fmt: skip


def _slope(axes: Any) -> float:
    """Degrees at which y = x rises on these axes."""
    (x0, y0), (x1, y1) = axes.transData.transform([(1.0, 1.0), (10.0, 10.0)])
    return float(np.degrees(np.arctan2(y1 - y0, x1 - x0)))


def _points(axes: Any, rows: Sequence[Row], total: float, limits: Limits) -> None:
    """A disc for each step, whose area is its share of the time."""
    for row in rows:
        x, y = _at(row)
        size = 30 + 1800 * (row.seconds or 0.0) / total
        axes.scatter(x, y, s=size, color=_color(row, limits), alpha=0.5, edgecolors="white",
                     linewidths=0.8, zorder=3)  # fmt: skip
    for color, name in ((_MEMORY, "limited by memory"), (_ARITHMETIC, "limited by arithmetic")):
        axes.scatter([], [], s=60, color=color, alpha=0.6, label=name)
    axes.legend(loc="lower right", frameon=False, fontsize=9, labelcolor=_INK,
                title="area: share of the time", title_fontsize=9)  # fmt: skip


def _color(row: Row, limits: Limits) -> str:
    return _MEMORY if row.is_bound_by_memory(limits) else _ARITHMETIC


def _list(figure: Any, rows: Sequence[Row], total: float, limits: Limits) -> None:
    """The steps that take longest, with their share of the time as a bar."""
    figure.text(0.69, 0.895, "what takes longest", fontsize=9, color=_FAINT)
    figure.text(0.985, 0.895, "of its limit", fontsize=9, color=_FAINT, ha="right")
    side = figure.add_axes((0.69, 0.06, 0.295, 0.8))
    side.set_axis_off()
    side.set_xlim(0, 1)
    side.set_ylim(_LISTED - 0.5, -0.5)
    longest = (rows[0].seconds if rows else 0.0) or 1.0
    for i, row in enumerate(rows):
        seconds = row.seconds or 0.0
        name = row.name if len(row.name) <= 36 else row.name[:35] + "…"
        line = f"{scaled(seconds)}s, {seconds / (total or 1.0):.0%}"
        where = f"  {row.where}" if len(row.where) <= 26 else f"  …{row.where[-25:]}"
        side.barh(i + 0.34, 0.92 * seconds / longest, left=0.08, height=0.08,
                  color=_color(row, limits), alpha=0.7)  # fmt: skip
        side.text(0.04, i - 0.12, str(i + 1), fontsize=9, fontweight="bold", color=_INK,
                  ha="center", va="center")  # fmt: skip
        side.text(0.08, i - 0.2, name, fontsize=8.5, color=_INK, va="center")
        side.text(0.08, i + 0.13, line + where, fontsize=7.5, color=_FAINT, va="center")
        side.text(1.0, i - 0.2, f"{row.share(limits):.0%}", fontsize=8.5, color=_INK, ha="right",
                  va="center")  # fmt: skip
