"""einsum: sums of products, said with letters, made of matmul."""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from tapeflow import arguments
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import movement, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.linalg import matmul
from tapeflow.tensor import Tensor, TensorLike

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(equation: str, *operands: TensorLike) -> Tensor:
    """The sum of products of the operands, over all letters that the result does not name.

    Args:
        equation: letters for the axes of each operand, separated by commas, then `->` and those of
            the result; without `->` the result has the letters that occur once, in order. `...`
            stands for leading axes, which broadcast.

    Raises: ArgumentError for an equation that does not fit the operands, ShapeError where one
        letter names different sizes.

    >>> einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1])
    Tensor([3, 7], i64[2])
    """
    xs = coerce("einsum", *operands) if operands else []
    terms, result = _parsed(arguments.text("einsum", "equation", equation), xs)
    sizes = _sizes(equation, terms, xs)
    factors = [_diagonal(x, term, sizes) for x, term in zip(xs, terms, strict=True)]
    while len(factors) > 1:
        (x, term), (y, other), *rest = factors
        wanted = set(result).union(*(t for _, t in rest))
        factors = [_product(x, term, y, other, wanted), *rest]
    (x, term), = factors
    x, term = _summed(x, term, set(result))
    return _shape.permute_dims(x, [term.index(letter) for letter in result])


def _invalid(equation: str, why: str) -> ArgumentError:
    return ArgumentError("einsum", got=f"equation {equation!r}", why=why,
                         fix='write it like "ij,jk->ik", one letter an axis')


def _parsed(equation: str, xs: Sequence[Tensor]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, dots spelled out."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(xs):
        raise _invalid(equation, f"it names {len(terms)} operands, and there are {len(xs)}")
    named = set(left + result) - set(".,")
    if not named <= set(_LETTERS):
        raise _invalid(equation, "axes are named by letters")
    free = [letter for letter in _LETTERS if letter not in named]
    unnamed = [max(x.ndim - len(t) + 3, 0) if "..." in t else 0
               for x, t in zip(xs, terms, strict=True)]
    dots = "".join(free[:max(unnamed)])
    if not arrow:
        counts = Counter(left.replace(".", "").replace(",", ""))
        once = sorted(letter for letter, count in counts.items() if count == 1)
        result = ("..." if "..." in left else "") + "".join(once)
    spelled = [t.replace("...", dots[len(dots) - n:]) for t, n in zip(terms, unnamed, strict=True)]
    for x, term in zip(xs, spelled, strict=True):
        if len(term) != x.ndim or "." in term:
            raise _invalid(equation, f"{term!r} does not name the {x.ndim} axes of {x.spec}")
    result = result.replace("...", dots)
    if len(set(result)) < len(result) or not set(result) <= set("".join(spelled)):
        raise _invalid(equation, "the result names an axis twice, or one that no operand has")
    return spelled, result


def _sizes(equation: str, terms: Sequence[str], xs: Sequence[Tensor]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for x, term in zip(xs, terms, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            known = sizes.get(letter, 1)
            if 1 not in (known, n) and known != n:
                given = ", ".join(str(x.spec) for x in xs)
                raise ShapeError("einsum", got=f"{equation!r} with {given}",
                                 why=f"{letter!r} names the sizes {known} and {n}",
                                 fix="give axes of one letter one size")
            sizes[letter] = n if known == 1 else known
    return sizes


def _diagonal(x: Tensor, term: str, sizes: dict[str, int]) -> tuple[Tensor, str]:
    """x with each letter once, in its full size: letters that repeat take the diagonal."""
    x = _shape.broadcast_to(x, [sizes[letter] for letter in term])
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i, j = term.index(letter), term.rindex(letter)
            rest = [a for a in range(x.ndim) if a not in (i, j)]
            n = sizes[letter]
            shape = tuple(x.shape[a] for a in rest)
            flat = _shape.reshape(_shape.permute_dims(x, [*rest, i, j]), (*shape, n * n))
            x = movement.slice_(flat, starts=(0,) * (len(rest) + 1), sizes=(*shape, n),
                                steps=(1,) * len(rest) + (n + 1,))
            term = "".join(term[a] for a in rest) + letter
    return x, term


def _summed(x: Tensor, term: str, wanted: set[str]) -> tuple[Tensor, str]:
    """x without the axes that nothing needs."""
    gone = [a for a, letter in enumerate(term) if letter not in wanted]
    if not gone:
        return x, term
    kept = "".join(letter for letter in term if letter in wanted)
    return reduce.sum(x, gone, dtype=x.dtype), kept


def _product(x: Tensor, a: str, y: Tensor, b: str, wanted: set[str]) -> tuple[Tensor, str]:
    """The sum of products of two factors over what they share and nothing else needs."""
    x, a = _summed(x, a, wanted | set(b))
    y, b = _summed(y, b, wanted | set(a))
    batch = [letter for letter in a if letter in b and letter in wanted]
    shared = [letter for letter in a if letter in b and letter not in wanted]
    rows = [letter for letter in a if letter not in b]
    columns = [letter for letter in b if letter not in a]
    left = _arranged(x, a, batch, rows, shared)
    right = _arranged(y, b, batch, shared, columns)
    product = matmul(left, right)
    sizes = {**dict(zip(a, x.shape, strict=True)), **dict(zip(b, y.shape, strict=True))}
    letters = batch + rows + columns
    return _shape.reshape(product, [sizes[letter] for letter in letters]), "".join(letters)


def _arranged(x: Tensor, term: str, *groups: Sequence[str]) -> Tensor:
    """x with its axes in order, those of each group made one."""
    sizes = dict(zip(term, x.shape, strict=True))
    order = [term.index(letter) for group in groups for letter in group]
    return _shape.reshape(_shape.permute_dims(x, order),
                          [math.prod(sizes[letter] for letter in group) for group in groups])
