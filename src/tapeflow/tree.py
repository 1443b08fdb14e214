"""Trees: tensors in nested lists, tuples, dicts and dataclasses, as arguments and results."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

Structure: TypeAlias = Any  # hashable: LEAF, or (type, keys, structures of the children)
LEAF: Structure = "leaf"


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """The leaves of `tree` in order, and its structure; what is no container is a leaf.

    >>> leaves, structure = flatten({"w": [1, 2], "b": 3})
    >>> leaves
    [3, 1, 2]
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    parts = _parts(tree)
    if parts is None:
        leaves.append(tree)
        return LEAF
    keys, children = parts
    kind = (type(tree), tree.default_factory) if isinstance(tree, defaultdict) else type(tree)
    return kind, keys, tuple(_flatten(child, leaves) for child in children)


def _parts(tree: Any) -> tuple[tuple[Any, ...], Sequence[Any]] | None:
    """Keys and children of a container, dicts by sorted key; None for a leaf."""
    if isinstance(tree, OrderedDict):  # their order is part of what they are
        return tuple(tree), list(tree.values())
    if isinstance(tree, dict):
        keys = tuple(sorted(tree, key=lambda k: (type(k).__name__, k)))
        return keys, [tree[k] for k in keys]
    if isinstance(tree, list | tuple):
        return (), tree
    if hasattr(tree, "__dataclass_fields__") and not isinstance(tree, type):
        keys = tuple(f.name for f in dataclasses.fields(tree))
        return keys, [getattr(tree, k) for k in keys]
    return None


def paths(structure: Structure) -> list[str]:
    """What leads to each leaf, as it would be written behind the tree's name: `["w"][0]`."""
    if structure == LEAF:
        return [""]
    kind, keys, children = structure
    found = []
    for i, child in enumerate(children):
        key = keys[i] if keys else i
        is_indexed = isinstance(kind, tuple) or issubclass(kind, dict | list | tuple)
        step = f"[{key!r}]" if is_indexed else f".{key}"
        found += [step + rest for rest in paths(child)]
    return found


def unflatten(structure: Structure, leaves: Sequence[Any]) -> Any:
    """The tree of this structure with these leaves."""
    return _unflatten(structure, iter(leaves))


def _unflatten(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure == LEAF:
        return next(leaves)
    kind, keys, children = structure
    built = [_unflatten(child, leaves) for child in children]
    if isinstance(kind, tuple):  # a defaultdict, and what makes its missing values
        made, factory = kind
        return made(factory, zip(keys, built, strict=True))
    if issubclass(kind, dict):
        return kind(dict(zip(keys, built, strict=True)))  # a Counter would count pairs
    if issubclass(kind, list | tuple):
        return kind(*built) if hasattr(kind, "_fields") else kind(built)
    return kind(**dict(zip(keys, built, strict=True)))


def map_tree(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """`fn` of each leaf and of those of `others` at the same places, in the same structure."""
    leaves, structure = flatten(tree)
    columns = [flatten(other)[0] for other in others]
    return unflatten(structure, [fn(*row) for row in zip(leaves, *columns, strict=True)])
