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
    """The launch that draws the numbers of a node whose state is contiguous."""
    (state,), (y,) = node.inputs, node.outputs
    return [launch(node.prim.name, product.at(layouts[state]), y, node.attrs.get("digits", 0))]


def launch(name: str, state: Pointer, y: Var, digits: int) -> Launch:
    """The launch that fills `y` with what the primitive `name` draws."""
    source = Source(name)
    source.pointer("state", uint64, state)
    source.pointer("y", y.dtype, Pointer(y))
    source.pointer("rest", y.dtype, Pointer(Scratch(0, REST)))
    source.number("n", y.spec.size)
    body = _body(name.removeprefix("standard_"), y.dtype.name, digits)
    return source.launch(body, items(y.spec.nbytes), REST // y.dtype.itemsize)


def items(nbytes: int) -> int:
    """How many items of work draw so many bytes."""
    return -(-nbytes // REST)


def _body(kind: str, dtype: str, digits: int) -> Lines:
    """Items of work: blocks side by side, so that vectors hold one word of each. What the last item
    draws beyond the end goes to `rest`."""
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
        "call = state[2] & low",
        "stream = state[1] + (state[2] >> half)",
        *_keys(),
        "for item in range(start, stop):",
        [
            f"first = item * {size}",
            f"whole = first + {size} <= n",
            "to = y if whole else rest",
            "at = first if whole else 0",
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
            ["for j in range(n - first):", ["y[first + j] = rest[j]"]],
        ],
    ]


def _keys() -> Iterator[str]:
    """Lines that give the key of each round: the halves of the seed, one step further each."""
    for i, half in enumerate(("(state[0] & low)", "(state[0] >> half)")):
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
