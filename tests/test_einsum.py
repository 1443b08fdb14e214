"""einsum: its grammar beside NumPy's, and the order in which many operands are multiplied."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.jit.trace import trace
from tapeflow.ops import einsum_path
from tapeflow.ops.einsum_path import cheapest, greedy
from tapeflow.ops.einsum_plan import plan
from tapeflow.tensor import Spec
from tapeflow.testing import check_gradients

RANDOM = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Orders that are found here, whether opt_einsum is installed or not."""
    monkeypatch.setattr(einsum_path, "_opt_einsum", lambda: None)
    plan.cache_clear()
    yield
    plan.cache_clear()


def normal(*shape: int) -> np.ndarray:
    return np.asarray(RANDOM.normal(size=shape))


# ---- grammar

GRAMMAR = [
    ("ii", [(3, 3)]),
    ("iii->i", [(3, 3, 3)]),
    ("iij->ji", [(2, 2, 3)]),
    ("ijij->ij", [(2, 3, 2, 3)]),
    ("i...i->...", [(3, 2, 3)]),
    ("...ii->...i", [(2, 3, 3)]),
    ("...", [(2, 3)]),
    ("i...->i...", [(2,)]),
    ("...i,...i", [(2, 1, 3), (4, 3)]),
    ("...i,i...->i...", [(2, 3), (3, 2)]),
    ("i...j,j...k", [(2, 4, 3), (3, 4, 2)]),
    ("ba", [(2, 3)]),
    ("Ab,bA", [(2, 3), (3, 2)]),
    ("ij , jk -> k i", [(2, 3), (3, 2)]),
    (",", [(), ()]),
    (",ij->ij", [(), (2, 3)]),
    ("ij,j", [(2, 1), (3,)]),
    ("ii,i->", [(3, 3), (3,)]),
    ("i,i,i,i->i", [(3,), (3,), (3,), (3,)]),
    ("ij,kl->", [(2, 3), (2, 2)]),
    ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 2), (2, 3)]),
    ("ab,ab,cb->ac", [(2, 3), (2, 3), (4, 3)]),
    ("abc,cd,be,a->de", [(2, 3, 2), (2, 3), (3, 2), (2,)]),
    ("a,b,c,d,e,f,g->gf", [(2,), (3,), (2,), (2,), (3,), (2,), (2,)]),
    ("ij,jk", [(0, 2), (2, 3)]),
    ("ij,jk", [(2, 0), (0, 3)]),
]
each = pytest.mark.parametrize(("equation", "shapes"), GRAMMAR, ids=[e for e, _ in GRAMMAR])


@each
def test_the_grammar_is_numpys(equation: str, shapes: list[tuple[int, ...]]) -> None:
    xs = [normal(*shape) for shape in shapes]
    found = tf.einsum(equation, *xs).numpy()
    np.testing.assert_allclose(found, np.einsum(equation, *xs), rtol=1e-12, atol=1e-13)


def test_a_letter_may_be_summed_with_axes_that_dots_stand_for() -> None:
    x = normal(2, 3, 3)
    np.testing.assert_allclose(tf.einsum("...ii->i", x).numpy(), np.einsum("aii->i", x), rtol=1e-13)
    np.testing.assert_allclose(tf.einsum("...->", x).numpy(), x.sum(), rtol=1e-13)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("iij,jk,kl->il", [(2, 2, 3), (3, 2), (2, 2)]),
        ("...i,...j,ij->...", [(2, 3), (2, 2), (3, 2)]),
    ],
)
def test_einsum_has_derivatives(equation: str, shapes: list[tuple[int, ...]]) -> None:
    check_gradients(lambda *xs: tf.einsum(equation, *xs), [normal(*shape) for shape in shapes])


@pytest.mark.parametrize("equation", ["i.j", "....", "i..", "...i...", "i->ii", "i->j->i", "i-j"])
def test_what_is_no_equation_is_refused(equation: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        tf.einsum(equation, normal(2, 2, 2, 2, 2, 2, 2))
    assert caught.value.op == "einsum"


def test_axes_that_dots_stand_for_are_named_so_in_errors() -> None:
    with pytest.raises(ShapeError, match=r"'\.\.\.' names the sizes 2 and 3"):
        tf.einsum("...i,...i", normal(2, 4), normal(3, 4))


# ---- order


def products(equation: str, *shapes: tuple[int, ...]) -> list[int]:
    """The sizes of the products on the way, in order."""
    specs = (Spec(shape, np.dtype(np.float32)) for shape in shapes)
    graph = trace(lambda *xs: tf.einsum(equation, *xs), *specs, name="case")
    return [int(np.prod(n.outputs[0].shape)) for n in graph.nodes if n.prim.name == "matmul"]


def test_a_chain_is_multiplied_from_its_thin_end() -> None:
    sizes = products("ab,bc,cd,d->a", (50, 40), (40, 30), (30, 20), (20,))
    assert sizes == [30, 40, 50]


def test_what_is_summed_over_early_leaves_small_products() -> None:
    assert products("ab,bc,cd->ad", (2, 100), (100, 100), (100, 3)) == [200, 6]
    assert products("ab,bc,cd->ad", (100, 3), (3, 100), (100, 2)) == [6, 200]


def test_operands_without_a_common_letter_wait() -> None:
    assert max(products("a,b,ab->", (100,), (100,), (100, 100))) == 100


def test_many_operands_are_multiplied_greedily() -> None:
    letters = "abcdefghi"
    equation = ",".join(map("".join, pairwise(letters))) + "->a"
    assert max(products(equation, *[(10, 10)] * 8)) <= 100


def cost(terms: list[str], result: str, size: dict[str, int], pairs: Any) -> int:
    """How many multiplications these pairs take; what only one operand has is summed before."""
    shared = [set(result).union(*terms[:i], *terms[i + 1 :]) for i in range(len(terms))]
    left = {i: set(term) & shared[i] for i, term in enumerate(terms)}
    total = 0
    for number, (i, j) in enumerate(pairs, len(terms)):
        both = left[i] | left[j]
        total += int(np.prod([size[letter] for letter in both]))
        del left[i], left[j]
        left[number] = both & set(result).union(*left.values())
    assert len(left) == 1
    return total


def every_order(count: int) -> Iterator[list[tuple[int, int]]]:
    def rest(left: list[int], number: int) -> Iterator[list[tuple[int, int]]]:
        if len(left) == 1:
            yield []
        for a in left:
            for b in left:
                if a < b:
                    others = [n for n in left if n not in (a, b)]
                    yield from ([(a, b), *more] for more in rest([*others, number], number + 1))

    return rest(list(range(count)), count)


@pytest.mark.parametrize("seed", range(20))
def test_no_order_is_cheaper_than_the_cheapest(seed: int) -> None:
    random = np.random.default_rng(seed)
    terms = ["".join(sorted(random.choice(list("abcdef"), 3, replace=False))) for _ in range(4)]
    size = {letter: int(random.integers(1, 9)) for letter in "abcdef"}
    result = "".join(sorted(set(terms[0]) & set(terms[3])))
    sets = [frozenset(term) for term in terms]
    best = min(cost(terms, result, size, pairs) for pairs in every_order(4))
    assert cost(terms, result, size, cheapest(sets, frozenset(result), size)) == best
    assert cost(terms, result, size, greedy(sets, frozenset(result), size)) >= best


def test_opt_einsum_is_asked_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def contract_path(equation: str, *operands: Any, shapes: bool) -> Any:
        assert shapes
        asked.append((equation, operands))
        return [(0, 2), (0, 1)], "its report"

    library = types.ModuleType("opt_einsum")
    library.contract_path = contract_path  # type: ignore[attr-defined]
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "opt_einsum", library)
    einsum_path._opt_einsum.cache_clear()
    plan.cache_clear()
    try:
        assert products("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)) == [120, 10]
        assert asked == [("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5)))]
    finally:
        einsum_path._opt_einsum.cache_clear()
