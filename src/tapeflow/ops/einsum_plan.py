"""What an einsum does, step by step, from its equation and the types of its operands alone."""
from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops.einsum_path import order
from tapeflow.tensor import Spec

Ints = tuple[int, ...]

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Start:
    """What comes first of an operand: it gets `shape`, then diagonals over pairs of axes."""

    shape: Ints
    diagonals: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Arranged:
    """A value on its way into a product: the sum over some axes, the others in order, in a shape.

    The order is empty where it is that of the value.
    """

    summed: Ints
    order: Ints
    shape: Ints


@dataclass(frozen=True, slots=True)
class Product:
    """The matrix product of values `one` and `other`, in a shape."""

    one: int
    other: int
    left: Arranged
    right: Arranged
    shape: Ints


@dataclass(frozen=True, slots=True)
class Plan:
    """Values are numbered: the operands first, then what each product gives."""

    starts: tuple[Start, ...]
    products: tuple[Product, ...]
    end: Arranged


@functools.lru_cache(4096)
def plan(equation: str, specs: tuple[Spec, ...]) -> Plan:
    """The steps. Raises: ArgumentError or ShapeError if the equation does not fit the operands."""
    terms, result = _parsed(equation, specs)
    sizes = _sizes(equation, terms, specs)
    starts, factors = zip(*(_start(term, sizes) for term in terms), strict=True)
    left = dict(enumerate(factors))
    products = []
    for number, (i, j) in enumerate(order(factors, result, sizes), len(factors)):
        a, b = left.pop(i), left.pop(j)
        wanted = set(result).union(*left.values())
        batch, rows, columns, shared = _roles(a, b, wanted)
        letters = batch + rows + columns
        products.append(Product(
            i, j, _arranged(a, sizes, batch, rows, shared),
            _arranged(b, sizes, batch, shared, columns), _shape(letters, sizes)))
        left[number] = letters
    (last,) = left.values()
    return Plan(starts, tuple(products), _ended(last, result, sizes))


# ---- the equation

def _invalid(equation: str, why: str) -> ArgumentError:
    return ArgumentError("einsum", got=f"equation {equation!r}", why=why,
                         fix='write it like "ij,jk->ik", one letter an axis')


def _parsed(equation: str, specs: Sequence[Spec]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, dots spelled out."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(specs):
        raise _invalid(equation, f"it names {len(terms)} operands, and there are {len(specs)}")
    named = set(left + result) - set(".,")
    if not named <= set(_LETTERS):
        raise _invalid(equation, "axes are named by letters")
    if any(term.count("...") > 1 for term in (*terms, result)):
        raise _invalid(equation, "`...` stands once for all further axes")
    free = [letter for letter in _LETTERS if letter not in named]
    unnamed = [max(x.ndim - len(t) + 3, 0) if "..." in t else 0
               for x, t in zip(specs, terms, strict=True)]
    dots = "".join(free[:max(unnamed)])
    if not arrow:
        counts = Counter(left.replace(".", "").replace(",", ""))
        once = sorted(letter for letter, count in counts.items() if count == 1)
        result = ("..." if "..." in left else "") + "".join(once)
    spelled = [t.replace("...", dots[len(dots) - n:]) for t, n in zip(terms, unnamed, strict=True)]
    for x, term in zip(specs, spelled, strict=True):
        if len(term) != x.ndim or "." in term:
            raise _invalid(equation, f"{term!r} does not name the {x.ndim} axes of {x}")
    result = result.replace("...", dots)
    if len(set(result)) < len(result) or not set(result) <= set("".join(spelled)):
        raise _invalid(equation, "the result names an axis twice, or one that no operand has")
    return spelled, result


def _sizes(equation: str, terms: Sequence[str], specs: Sequence[Spec]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for x, term in zip(specs, terms, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            known = sizes.get(letter, 1)
            if 1 not in (known, n) and known != n:
                given = ", ".join(map(str, specs))
                name = letter if letter in equation else "..."
                raise ShapeError("einsum", got=f"{equation!r} with {given}",
                                 why=f"{name!r} names the sizes {known} and {n}",
                                 fix="give axes of one letter one size")
            sizes[letter] = n if known == 1 else known
    return sizes


# ---- the steps

def _shape(letters: Iterable[str], sizes: dict[str, int]) -> Ints:
    return tuple(sizes[letter] for letter in letters)


def _start(term: str, sizes: dict[str, int]) -> tuple[Start, str]:
    """What comes first of an operand, and its letters after that, each once."""
    shape, diagonals = _shape(term, sizes), []
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i, j = term.index(letter), term.rindex(letter)
            diagonals.append((i, j))
            term = term[:i] + term[i + 1:j] + term[j + 1:] + letter
    return Start(shape, tuple(diagonals)), term


def _roles(a: str, b: str, wanted: set[str]) -> tuple[str, str, str, str]:
    """The letters of a product: in both factors and needed, in one and needed, summed over."""
    both = [letter for letter in a if letter in b]
    return ("".join(letter for letter in both if letter in wanted),
            "".join(letter for letter in a if letter not in b and letter in wanted),
            "".join(letter for letter in b if letter not in a and letter in wanted),
            "".join(letter for letter in both if letter not in wanted))


def _arranged(term: str, sizes: dict[str, int], batch: str, *matrix: str) -> Arranged:
    """A factor as matrices over the batch, the letters of each group made one axis."""
    letters = batch + "".join(matrix)
    groups = (batch, *matrix) if batch else matrix
    shape = tuple(math.prod(_shape(group, sizes)) for group in groups)
    summed, permuted = _moved(term, letters)
    return Arranged(summed, permuted, shape)


def _ended(term: str, result: str, sizes: dict[str, int]) -> Arranged:
    return Arranged(*_moved(term, result), _shape(result, sizes))


def _moved(term: str, letters: str) -> tuple[Ints, Ints]:
    """The axes to sum over so that these letters are left, and the order that then makes them."""
    summed = tuple(a for a, letter in enumerate(term) if letter not in letters)
    left = [letter for letter in term if letter in letters]
    permuted = tuple(left.index(letter) for letter in letters)
    return summed, () if permuted == tuple(range(len(permuted))) else permuted
