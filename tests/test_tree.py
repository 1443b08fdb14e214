"""Trees come back as they were: containers of every kind, with all that belongs to them."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.tree import flatten, unflatten


class Pair(NamedTuple):
    left: Any
    right: Any


trees = st.recursive(
    st.integers(),
    lambda inner: st.one_of(
        st.lists(inner),
        st.tuples(inner, inner),
        st.builds(Pair, inner, inner),
        st.dictionaries(st.text(), inner),
        st.dictionaries(st.text(), inner).map(OrderedDict),
        st.dictionaries(st.text(), inner).map(lambda d: defaultdict(list, d)),
    ),
)


@given(tree=trees)
def test_a_tree_is_its_leaves_and_its_structure(tree: Any) -> None:
    leaves, structure = flatten(tree)
    back = unflatten(structure, leaves)
    assert back == tree and type(back) is type(tree)
    assert hash(structure) == hash(flatten(back)[1])


def test_a_defaultdict_keeps_what_makes_its_missing_values() -> None:
    leaves, structure = flatten(defaultdict(list, a=1))
    back = unflatten(structure, leaves)
    assert back["missing"] == [] and back["a"] == 1


def test_a_counter_keeps_its_counts() -> None:
    counter = Counter("abracadabra")
    leaves, structure = flatten(counter)
    assert unflatten(structure, leaves) == counter


def test_compiled_functions_take_and_give_defaultdicts() -> None:
    result = tf.jit(lambda d: d)(defaultdict(list, a=tf.ones(2)))
    assert isinstance(result, defaultdict) and result["a"].tolist() == [1.0, 1.0]
    assert result["missing"] == []
