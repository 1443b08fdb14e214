"""Reading and writing at computed places as kernels, and the question whether places are there.

What is read or written at one index lies side by side, `width` elements. Sums are formed in the
order of the indices: each item of work has rows of the result to itself, and goes through all
indices for what belongs there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from tapeflow.dtypes import is_complex, is_inexact, is_integer
from tapeflow.graph import Node, Var
from tapeflow.jit import product
from tapeflow.jit.codegen.source import Lines, Source
from tapeflow.jit.kernel import ENDS, Launch, Layout, Pointer
from tapeflow.jit.passes.bounds import AtPlaces, within
from tapeflow.tensor import Array

_BLOCK = 1024 * 1024  # bytes of the rows of an item of work, which then stay in the cache
_FOUND = 4  # the words of a question's arguments: whether the answer was no, lowest, highest


def fits(node: Node[Var]) -> bool:
    """Whether this node goes by indices within bounds, and has a kernel."""
    dtype = node.outputs[0].dtype
    adds = is_integer(dtype) or (is_inexact(dtype) and not is_complex(dtype) and dtype.itemsize > 2)
    return isinstance(node.prim, AtPlaces) and (node.prim.name != "add_at" or adds)


def is_question(node: Node[Var]) -> bool:
    """Whether this node asks if indices are within bounds."""
    return node.prim is within


def goes_by_indices(node: Node[Var]) -> bool:
    """Whether this node must be given real indices, or else run into memory that is not its own."""
    return is_question(node) or isinstance(node.prim, AtPlaces)


def lower(node: Node[Var], layouts: Mapping[Var, Layout]) -> list[Launch]:
    """The launch of a node whose inputs are contiguous."""
    y, axis, name = node.outputs[0], node.attrs["axis"], node.prim.name
    takes = name == "take"
    count, before = node.inputs[-1].spec.size, math.prod(y.shape[:axis])
    rows = (node.inputs[0] if takes else y).shape[axis]
    width = y.spec.size // (before * (count if takes else rows))
    source = Source(f"{name}_rows")
    for letter, v in zip(_LETTERS[name], node.inputs, strict=True):
        source.pointer(letter, v.dtype, product.at(layouts[v]))
    source.pointer("y", y.dtype, Pointer(y))
    sizes = {"count": count, "rows": rows, **({"width": width} if width > 1 else {})}
    for size, value in sizes.items():
        source.number(size, value)
    if takes:
        return [source.launch(_taken(width > 1), before * count, width)]
    parts = _parts(rows, count, width * y.dtype.itemsize)
    source.number("parts", parts)
    work = (rows // parts + count) * width
    return [source.launch(_written(name, y.dtype.name, width > 1), before * parts, work)]


_LETTERS = {"take": "xi", "add_at": "vi", "put_at": "xvi"}


def _parts(rows: int, count: int, nbytes: int) -> int:
    """How many items share the rows of a result: each goes through all indices, which must cost
    less than what it writes."""
    fit = rows * nbytes // _BLOCK
    return max(1, min(fit, rows, (rows + count) * nbytes // (16 * count)))


_PLACE: Lines = ["place = int64(i[r])", "if place < 0:", ["place += rows"]]


def _taken(is_wide: bool) -> Lines:
    return [
        "for item in range(start, stop):",
        [
            "block = item // count",
            "r = item - block * count",
            *_PLACE,
            *_moved("block * rows + place", "item", "y[to] = x[at]", is_wide),
        ],
    ]


def _written(name: str, dtype: str, is_wide: bool) -> Lines:
    adds = name == "add_at"
    before = f"{dtype}(0)" if adds else "x[k]"
    width = " * width" if is_wide else ""
    return [
        "for item in range(start, stop):",
        [
            "block = item // parts",
            "part = item - block * parts",
            "first = part * rows // parts",
            "last = (part + 1) * rows // parts",
            "base = block * rows",
            f"for k in range((base + first){width}, (base + last){width}):",
            [f"y[k] = {before}"],
            "for r in range(count):",
            [
                *_PLACE,
                "if first <= place and place < last:",
                _moved(
                    "block * count + r",
                    "base + place",
                    "y[to] = y[to] + v[at]" if adds else "y[to] = v[at]",
                    is_wide,
                ),
            ],
        ],
    ]


def _moved(source: str, target: str, line: str, is_wide: bool) -> Lines:
    """What is done to the elements `at` of a row, which go `to` one."""
    if not is_wide:
        return [f"at = {source}", f"to = {target}", line]
    return [
        f"from_ = ({source}) * width",
        f"onto = ({target}) * width",
        "for k in range(width):",
        ["at = from_ + k", "to = onto + k", line],
    ]


# ---- the question


def ask(node: Node[Var], layouts: Mapping[Var, Layout]) -> Launch:
    """The launch that ends the program if an index of the node is out of bounds."""
    _, lowest, highest = node.inputs
    size = node.attrs["size"]
    least = -size if node.attrs["from_end"] else 0
    pointers = product.at(layouts[lowest]), product.at(layouts[highest])
    code = product.code("within", lowest.dtype.name, _question)
    return Launch(code, (*pointers, least, size, 0, 0, 0), ENDS, 1)


def answer(block: Array, first: int) -> tuple[int, int] | None:
    """The lowest and the highest index, where a question whose arguments begin at word `first` of
    the block ended the program; it is then as if it had not been asked."""
    found, lowest, highest = map(int, block[first + _FOUND : first + _FOUND + 3])
    block[first + _FOUND] = 0
    return (lowest, highest) if found else None


def _question(dtype: str, symbol: str) -> str:
    """A row of the table that runs no work items, but says 1 where the program must end."""
    kind = dtype.lstrip("u").replace("nt", "")
    widen = f"{'zext' if dtype[0] == 'u' else 'sext'} {kind} %{{0}}.given to i64"
    if kind == "i64":
        widen = "add i64 %{0}.given, 0"
    loads = "\n".join(
        f"""  %{name}.at = getelementptr i64, ptr %args, i64 {word}
  %{name}.from = load ptr, ptr %{name}.at
  %{name}.given = load {kind}, ptr %{name}.from
  %{name} = {widen.format(name)}
  %{name}.to = getelementptr i64, ptr %args, i64 {_FOUND + 1 + word}"""
        for word, name in enumerate(("lowest", "highest"))
    )
    return f"""
define i64 @{symbol}(i64 %pool, i64 %extent, ptr %args) {{
{loads}
  %least.at = getelementptr i64, ptr %args, i64 2
  %size.at = getelementptr i64, ptr %args, i64 3
  %found.at = getelementptr i64, ptr %args, i64 {_FOUND}
  %least = load i64, ptr %least.at
  %size = load i64, ptr %size.at
  %below = icmp slt i64 %lowest, %least
  %above = icmp sge i64 %highest, %size
  %out = or i1 %below, %above
  br i1 %out, label %no, label %yes
yes:
  ret i64 0
no:
  store i64 1, ptr %found.at
  store i64 %lowest, ptr %lowest.to
  store i64 %highest, ptr %highest.to
  ret i64 1
}}
"""
