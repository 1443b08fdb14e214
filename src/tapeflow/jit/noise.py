"""Random numbers as kernels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tapeflow.dtypes import uint64
from tapeflow.graph import Node, Var
from tapeflow.jit import product
from tapeflow.jit.codegen.source import Lines, Source
from tapeflow.jit.kernel import Launch, Layout, Pointer, Scratch
from tapeflow.primitive import Kernel
from tapeflow_kernels.noise import BLOCKS, MULTIPLIERS, ROUNDS, WEYL

REST = 16 * BLOCKS  # bytes that one item draws


def fits(node: Node[Var]) -> bool:
    """Whether this node draws random numbers that have a kernel."""
    lowering, (y, *_) = node.prim.lowering, node.outputs
    return isinstance(lowering, Kernel) and lowering.name == "noise" and y.spec.size > 0


def lower(node: Node[Var], layouts: Mapping[Var, Layout]) -> list[Launch]:
    """The launch that draws the numbers of a node whose states are contiguous."""
    (state,), (y,) = node.inputs, node.outputs
    pointer, digits = product.at(layouts[state]), node.attrs.get("digits", 0)
    return [launch(node.prim.name, pointer, y, digits, state.spec.size // 3)]


def launch(name: str, states: Pointer, y: Var, digits: int, rows: int) -> Launch:
    """The launch that fills `y` with what the primitive `name` draws for so many states, row after
    row."""
    source = Source(name)
    source.pointer("states", uint64, states)
    source.pointer("y", y.dtype, Pointer(y))
    source.pointer("rest", y.dtype, Pointer(Scratch(0, REST)))
    source.number("n", y.spec.size // rows)
    body = _body(name.removeprefix("standard_"), y.dtype.name, digits)
    return source.launch(body, items(y.spec.nbytes, rows), REST // y.dtype.itemsize)


def items(nbytes: int, rows: int) -> int:
    """How many items of work draw so many bytes, of rows that begin an item each."""
    return rows * -(-nbytes // (rows * REST))


def _body(kind: str, dtype: str, digits: int) -> Lines:
    """Items of work: blocks side by side, so that vectors hold one word of each. What the last item
    of a row draws beyond its end goes to `rest`."""
    words = ["c0", "c1", "c2", "c3"]
    if dtype == "float64":
        words = ["(c0 | (c1 << half))", "(c2 | (c3 << half))"]
    size = len(words) * BLOCKS
    stores = [
        f"to[at + {i * BLOCKS} + j] = {_number(kind, word, dtype, digits)}"
        for i, word in enumerate(words)
    ]
    return [
        "low = uint64(0xFFFFFFFF)",
        "half = uint64(32)",
        f"items = (n + {size - 1}) // {size}",
        "for number in range(start, stop):",
        [
            "row = number // items",
            "item = number - row * items",
            *_keys(),
            "call = states[3 * row + 2] & low",
            "stream = states[3 * row + 1] + (states[3 * row + 2] >> half)",
            f"first = item * {size}",
            f"whole = first + {size} <= n",
            "to = y if whole else rest",
            "at = row * n + first if whole else 0",
            f"for j in range({BLOCKS}):",
            [
                f"c0 = uint64(item * {BLOCKS} + j)",
                "c1 = call",
                "c2 = stream & low",
                "c3 = stream >> half",
                *_rounds(),
                *stores,
            ],
            "if not whole:",
            ["for j in range(n - first):", ["y[row * n + first + j] = rest[j]"]],
        ],
    ]


def _keys() -> Iterator[str]:
    """Lines that give the key of each round: the halves of the seed, one step further each."""
    for i, half in enumerate(("(states[3 * row] & low)", "(states[3 * row] >> half)")):
        for r in range(ROUNDS):
            yield f"k{i}_{r} = ({half} + uint64({r * WEYL[i] & 0xFFFFFFFF})) & low"


def _rounds() -> Iterator[str]:
    """Lines that make four random words of the counter c0 to c3."""
    for r in range(ROUNDS):
        yield f"a = c0 * uint64({MULTIPLIERS[0]})"
        yield f"b = c2 * uint64({MULTIPLIERS[1]})"
        yield f"c0 = (b >> half) ^ c1 ^ k0_{r}"
        yield "c1 = b & low"
        yield f"c2 = (a >> half) ^ c3 ^ k1_{r}"
        yield "c3 = a & low"


def _number(kind: str, word: str, dtype: str, digits: int) -> str:
    """A random number as text."""
    if kind != "uniform":
        return f"draw_{kind}({word}, {dtype}(0))"
    bits = 8 * np.dtype(dtype).itemsize
    integer = f"{dtype.replace('float', 'int')}({word} >> uint64({bits - digits}))"
    return f"{dtype}({integer}) * {dtype}({2.0**-digits!r})"
