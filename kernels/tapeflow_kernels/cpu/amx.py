"""Products of bfloat16 tiles: AMX, or a model of it in instructions that every CPU has.

A tile has 16 rows of 64 bytes. Four of the eight hold sums, two rows of A, two columns of B:

    sums[16 x 16 float32] += A[16 x 16 pairs] · B[16 pairs x 16 columns]

Panels of A and B that `emit_sums` takes hold steps of 32 numbers along the reduction (`tilecopy`):
of each bfloat16 term of these numbers the two tiles, or the one, side by side.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, TDPBF16PS and
LDTILECFG.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..machine import Host, amx_is_permitted
from .ir import Function, Index, Module, Value
from .lanes import Lanes

SIDE = 16  # rows of a tile, and 32-bit elements of a row
DEPTH = 2 * SIDE  # steps of a reduction that one instruction takes
CELLS = SIDE * SIDE  # 32-bit elements of a tile
# Products between two stores of tiles. Behind more than 128 the next store, and what follows, waits
# for 0.27 us, and some wait before that; so a tile is stored meanwhile: 14x14x256 k3 1.02 -> 0.88
# ms, three products of 1024³ 3.39 -> 3.11, filters' gradient of 56x56x64-256 k1 1.71 -> 1.56.
_PRODUCTS_A_STORE = 16
# Part of the next panel that is fetched while a block of sums passes over this one.
SHARE = 8
_ROW_BYTES = 64
_WORD_BYTES = 4
_LINE = 16  # 32-bit elements of a cache line
_LANES = Lanes("float32", SIDE)


def has_tiles(target: Host) -> bool:
    """Whether the target has registers of tiles, and this process may use them."""
    return target.has("amx-bf16") and amx_is_permitted()


@dataclass(frozen=True)
class Size:
    """The rows of tiles of sums and of A, and the pairs in a row of A."""

    rows: int = SIDE
    pairs: int = SIDE

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Of each tile the rows, and the 32-bit elements of a row."""
        sums, a, b = (self.rows, SIDE), (self.rows, self.pairs), (self.pairs, SIDE)
        return [sums] * 4 + [a] * 2 + [b] * 2


class Tiles(ABC):
    """What a function can do with the eight tiles; `stride` is the bytes between rows in memory."""

    def __init__(self, f: Function, size: Size) -> None:
        self.f, self.size = f, size

    @abstractmethod
    def zero(self, tile: int) -> None: ...

    @abstractmethod
    def load(self, tile: int, pointer: Value, stride: int, *, once: bool = False) -> None:
        """`once`: what is read is not read again soon, and need not displace what is."""

    @abstractmethod
    def store(self, tile: int, pointer: Value, stride: int) -> None: ...

    @abstractmethod
    def multiply_add(self, sums: int, a: int, b: int) -> None: ...


class Instructions(Tiles):
    """Those of a CPU with AMX."""

    def zero(self, tile: int) -> None:
        self._do("tilezero", tile)

    def load(self, tile: int, pointer: Value, stride: int, *, once: bool = False) -> None:
        self._do("tileloaddt164" if once else "tileloadd64", tile, pointer, stride)

    def store(self, tile: int, pointer: Value, stride: int) -> None:
        self._do("tilestored64", tile, pointer, stride)

    def multiply_add(self, sums: int, a: int, b: int) -> None:
        self._do("tdpbf16ps", sums, _number(self.f, a), _number(self.f, b))

    def _do(self, name: str, tile: int, *operands: Index) -> None:
        self.f.effect(f"llvm.x86.{name}", [_number(self.f, tile), *operands])


class Model(Tiles):
    """What the manual says of the same instructions: subnormal factors are zero; products with even
    and those with odd numbers are summed apart, with one rounding each, then both are added."""

    def __init__(self, f: Function, size: Size) -> None:
        super().__init__(f, size)
        self._tiles = f.value("ptr", f"alloca [{8 * CELLS} x float], align 64")

    def zero(self, tile: int) -> None:
        nothing = _LANES.zero(self.f)
        self._rows(tile, lambda row: _LANES.store(self.f, nothing, self._row(tile, row)))

    def load(self, tile: int, pointer: Value, stride: int, *, once: bool = False) -> None:
        f = self.f

        def copy(row: Value) -> None:
            here = f.at(pointer, row * stride, "i8")
            read = _LANES.load(f, here, self.size.shapes[tile][1])
            _LANES.store(f, read, self._row(tile, row))

        self._rows(tile, copy)

    def store(self, tile: int, pointer: Value, stride: int) -> None:
        f = self.f

        def copy(row: Value) -> None:
            here = f.at(pointer, row * stride, "i8")
            _LANES.store(f, _LANES.load(f, self._row(tile, row)), here)

        self._rows(tile, copy)

    def multiply_add(self, sums: int, a: int, b: int) -> None:
        f, zero = self.f, _LANES.zero(self.f)

        def one(row: Value) -> None:
            def step(k: Value, totals: list[Value]) -> list[Value]:
                x = _LANES.broadcast(f, f.at(self._row(a, row), k, "float"))
                pairs = zip(_halves(f, x), _halves(f, _LANES.load(f, self._row(b, k))),
                            totals, strict=True)  # fmt: skip
                return [f.intrinsic(_LANES.vector, f"llvm.fma.{_LANES.suffix}", t) for t in pairs]

            even, odd = f.loop(0, self.size.pairs, step, [zero, zero])
            here = self._row(sums, row)
            both = _LANES.add(f, even, odd)
            _LANES.store(f, _LANES.add(f, _LANES.load(f, here), both), here)

        self._rows(sums, one)

    def _row(self, tile: int, row: Index) -> Value:
        return self.f.at(self._tiles, row * SIDE + tile * CELLS, "float")

    def _rows(self, tile: int, body: Callable[[Value], None]) -> None:
        def each(row: Value, _: list[Value]) -> list[Value]:
            body(row)
            return []

        self.f.loop(0, self.size.shapes[tile][0], each)


@dataclass(frozen=True)
class Registers:
    """The tiles of a kernel: "amx" or "model", and their size."""

    kind: str
    size: Size = Size()

    def tiles(self, f: Function) -> Tiles:
        """What a function of the kernel can do with them."""
        return (Instructions if self.kind == "amx" else Model)(f, self.size)

    @contextmanager
    def ready(self, f: Function) -> Iterator[None]:
        """Inside, the kernel may call functions that compute with them."""
        if self.kind == "amx":
            _configure(f, self.size)
        yield
        if self.kind == "amx":
            f.effect("llvm.x86.tilerelease", [])


def _configure(f: Function, size: Size) -> None:
    """Palette 1 at byte 0, bytes of a row from 16 on, 16 bits each, rows from 48 on, 8 each."""
    place = f.value("ptr", "alloca [64 x i8], align 64")
    f.store(f.constant("<16 x i32>", "zeroinitializer"), place, 64)
    f.store(f.constant("i8", "1"), place, 1)
    nbytes = ", ".join(f"i16 {4 * elements}" for _, elements in size.shapes)
    rows = ", ".join(f"i8 {rows}" for rows, _ in size.shapes)
    f.store(f.constant("<8 x i16>", f"<{nbytes}>"), f.at(place, 16, "i8"), 2)
    f.store(f.constant("<8 x i8>", f"<{rows}>"), f.at(place, 48, "i8"), 1)
    f.effect("llvm.x86.ldtilecfg", [place])


@dataclass(frozen=True)
class Block:
    """The sums of `rows` by `columns`; a panel of A has `pitch` rows, one of B `width` columns.

    terms: those of A and of B that are multiplied, pair by pair.
    a_row: 32-bit elements between rows of an A that is read as it lies; 0 where it is in panels.
    by_rows: B passes by the rows of A, which stay in the first-level cache; else A passes by B.
    """

    rows: int
    columns: int
    pitch: int
    width: int
    terms: tuple[tuple[int, ...], tuple[int, ...]] = ((0,), (0,))
    a_row: int = 0
    by_rows: bool = False

    @property
    def grid(self) -> list[tuple[int, int]]:
        """The row and column of each tile of sums."""
        return [(r, c) for r in range(self.rows // SIDE) for c in range(self.columns // SIDE)]

    @property
    def step_a(self) -> int:
        """Elements of 32 bits from one step of A to the next."""
        return SIDE if self.a_row else (max(self.terms[0]) + 1) * self.pitch * SIDE

    @property
    def step_b(self) -> int:
        return (max(self.terms[1]) + 1) * self.width * SIDE


def emit_sums(module: Module, registers: Registers, block: Block, name: str) -> None:
    """Write `void name(ptr a, ptr b, ptr sums, ptr ahead, i64 steps, i64 begun)`.

    sums: [rows, columns], written; if they are begun, they are added to. One of A and B passes by
    the other, which had best lie in the first-level cache. Where A does, the lines from `ahead` on
    are fetched meanwhile, as many as an eighth of B has.
    """
    f = module.internal(name, ["ptr"] * 4 + ["i64"] * 2)
    a, b, sums, ahead, steps, begun = f.parameters
    tiles, pitch = registers.tiles(f), block.columns * 4
    places = {
        2 * r + c: f.at(sums, r * SIDE * block.columns + c * SIDE, "float") for r, c in block.grid
    }

    begin(tiles, places, pitch, begun)

    products = len(places) * len(block.terms[0])

    def step(k: Value, at: list[Value]) -> list[Value]:
        keep_storing(tiles, k + 1, products, sums, pitch)
        for line in range(0, 0 if block.by_rows else block.step_b // SHARE, _LINE):
            _LANES.prefetch(f, f.at(at[2], line, "float"), near=False)
        _multiply(tiles, block, at[0], at[1])
        moves = zip(at, (block.step_a, block.step_b, block.step_b // SHARE), strict=True)
        return [f.at(pointer, by, "float") for pointer, by in moves]

    f.loop(0, steps, step, [a, b, ahead])
    for tile, place in places.items():
        tiles.store(tile, place, pitch)


def begin(tiles: Tiles, places: dict[int, Value], pitch: int, begun: Value) -> None:
    """Let tiles hold the sums at these places, if they are begun, else zero."""

    def resume() -> None:
        for tile, place in places.items():
            tiles.load(tile, place, pitch)

    def clear() -> None:
        for tile in places:
            tiles.zero(tile)

    tiles.f.when(tiles.f.less(0, begun), resume, clear)


def keep_storing(tiles: Tiles, count: Value, products: int, place: Value, pitch: int) -> None:
    """After each so many products, of which a step has `products`, store a tile of A at a place
    that is written later."""
    every = max(1, _PRODUCTS_A_STORE // products)
    is_due = tiles.f.less(count % every, 1)
    tiles.f.when(is_due, lambda: tiles.store(4, place, pitch))


def _multiply(tiles: Tiles, block: Block, a: Value, b: Value) -> None:
    """Add up the products of one step. Each tile is loaded where it is first needed, and kept while
    neighbouring products have it in common."""
    f = tiles.f
    held: dict[int, int] = {}
    for left, right in zip(*block.terms, strict=True):
        for r, c in block.grid if held.get(6) == right else sorted(block.grid, key=_by_column):
            if held.get(4 + r) != left:
                row = block.a_row or SIDE
                place = f.at(a, left * block.pitch * SIDE + r * SIDE * row, "float")
                tiles.load(4 + r, place, row * _WORD_BYTES, once=not block.by_rows)
            if held.get(6 + c) != right:
                place = f.at(b, (right * block.width + c * SIDE) * SIDE, "float")
                tiles.load(6 + c, place, _ROW_BYTES, once=block.by_rows)
            held.update({4 + r: left, 6 + c: right})
            tiles.multiply_add(2 * r + c, 4 + r, 6 + c)


def _by_column(place: tuple[int, int]) -> tuple[int, int]:
    return place[1], place[0]


def _number(f: Function, tile: int) -> Value:
    return f.constant("i8", str(tile))


def _halves(f: Function, pairs: Value) -> list[Value]:
    """The first and the second bfloat16 number of each pair, as float32; subnormal ones as zero."""
    kind = f"<{SIDE} x i32>"
    bits = f.value(kind, f"bitcast {pairs.type} {pairs.name} to {kind}")
    low = f.value(kind, f"shl {kind} {bits.name}, splat (i32 16)")
    high = f.value(kind, f"and {kind} {bits.name}, splat (i32 -65536)")
    return [_flushed(f, half) for half in (low, high)]


def _flushed(f: Function, bits: Value) -> Value:
    exponent = f.value(bits.type, f"and {bits.type} {bits.name}, splat (i32 2139095040)")
    is_small = f.value(_LANES.mask, f"icmp eq {bits.type} {exponent.name}, zeroinitializer")
    choice = f"{_LANES.mask} {is_small.name}, {bits.type} zeroinitializer, {bits.type} {bits.name}"
    chosen = f.value(bits.type, f"select {choice}")
    return f.value(_LANES.vector, f"bitcast {bits.type} {chosen.name} to {_LANES.vector}")
