"""In which order the operands of an einsum are multiplied, two at a time.

An order is a sequence of pairs of numbers: operands count from 0, and each product gets the next
number. opt_einsum finds it where it is installed; without it, this module: the cheapest of all
orders of a few operands, and a greedy one of many.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

Order = tuple[tuple[int, int], ...]
Letters = frozenset[str]

_FEW = 6   # operands, of which all orders are tried: 301 cuts in two, 0.4 ms; 8 take 4 ms


def order(terms: tuple[str, ...], result: str, size: dict[str, int]) -> Order:
    """The pairs to multiply, so that one product is left.

    Args:
        terms: the letters of each operand, each letter once.
        result: the letters that are not summed over.
        size: how many elements there are along each letter.
    """
    if len(terms) > 2 and (library := _opt_einsum()) is not None:
        shapes = [tuple(size[letter] for letter in term) for term in terms]
        equation = f"{','.join(terms)}->{result}"
        return _numbered(len(terms), library.contract_path(equation, *shapes, shapes=True)[0])
    find = cheapest if len(terms) <= _FEW else greedy
    return tuple(find([frozenset(term) for term in terms], frozenset(result), size))


@functools.cache
def _opt_einsum() -> Any:
    """The library, or None where it is not installed."""
    try:
        import opt_einsum
    except ImportError:
        return None
    return opt_einsum


def _numbered(count: int, path: Iterable[Sequence[int]]) -> Order:
    """A path of opt_einsum, which names operands by their places among those that are left."""
    left, pairs = list(range(count)), []
    for places in path:
        first, *others = [left[i] for i in places]
        left = [number for i, number in enumerate(left) if i not in places]
        for other in others:
            pairs.append((first, other))
            first = count + len(pairs) - 1
        left.append(first)
    return tuple(pairs)


def _elements(letters: Iterable[str], size: dict[str, int]) -> int:
    return math.prod(size[letter] for letter in letters)


def cheapest(terms: Sequence[Letters], result: Letters, size: dict[str, int]) -> Order:
    """The order that takes the fewest multiplications: each set of operands is best multiplied by
    cutting it in two that are, at the best place."""
    everything = (1 << len(terms)) - 1

    def members(chosen: int) -> Iterator[int]:
        return (i for i in range(len(terms)) if chosen >> i & 1)

    def kept(chosen: int) -> Letters:
        inside = frozenset().union(*(terms[i] for i in members(chosen)))
        return inside & result.union(*(terms[i] for i in members(everything & ~chosen)))

    letters = {chosen: kept(chosen) for chosen in range(1, everything + 1)}
    cost, cut = {1 << i: 0 for i in range(len(terms))}, {}
    for chosen in range(1, everything + 1):
        if chosen not in cost:
            cost[chosen], cut[chosen] = min(
                (cost[part] + cost[chosen ^ part]
                 + _elements(letters[part] | letters[chosen ^ part], size), part)
                for part in _parts(chosen))
    return _unfolded(cut, everything, len(terms))


def _parts(chosen: int) -> Iterator[int]:
    """One part of each cut in two: that with the last operand in it."""
    last = 1 << chosen.bit_length() - 1
    part = rest = chosen ^ last
    while part:
        part = part - 1 & rest
        yield part | last


def _unfolded(cut: dict[int, int], chosen: int, count: int) -> Order:
    """The pairs that these cuts mean, the innermost first."""
    pairs: list[tuple[int, int]] = []

    def number(part: int) -> int:
        if part not in cut:
            return part.bit_length() - 1
        pair = number(part ^ cut[part]), number(cut[part])
        pairs.append(pair)
        return count + len(pairs) - 1

    number(chosen)
    return tuple(pairs)


def greedy(terms: Sequence[Letters], result: Letters, size: dict[str, int]) -> Order:
    """The order that always multiplies the two whose product adds the fewest elements to what is
    held, or sets the most free."""
    left = dict(enumerate(terms))
    pairs: list[tuple[int, int]] = []
    while len(left) > 1:
        used = {letter: sum(letter in term for term in left.values()) for letter in size}

        def product(i: int, j: int, used: dict[str, int] = used) -> Letters:
            both = left[i] | left[j]
            return frozenset(letter for letter in both if letter in result
                             or used[letter] > (letter in left[i]) + (letter in left[j]))

        def growth(pair: tuple[int, int], product: Any = product) -> int:
            i, j = pair
            return (_elements(product(i, j), size) - _elements(left[i], size)
                    - _elements(left[j], size))

        i, j = min(combinations(left, 2), key=growth)
        term = product(i, j)
        del left[i], left[j]
        left[len(terms) + len(pairs)] = term
        pairs.append((i, j))
    return tuple(pairs)
