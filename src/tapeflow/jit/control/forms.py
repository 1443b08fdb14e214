"""Forms: the structure of a tree with the types of its tensors, which loops and branches keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.tensor import Spec, Tensor, as_tensor, is_number
from tapeflow.tree import LEAF, Structure, flatten, paths, unflatten


@dataclass(frozen=True)
class Form:
    """A structure, and a type for each leaf; None for a leaf that is None, and so no tensor."""

    structure: Structure
    specs: tuple[Spec | None, ...]

    def tree(self, tensors: Sequence[Tensor]) -> Any:
        """The tree of this form with these tensors."""
        rest = iter(tensors)
        return unflatten(self.structure, [None if s is None else next(rest) for s in self.specs])


def taken_apart(op: str, tree: Any) -> tuple[list[Tensor], Form]:
    """The tensors of a tree, and its form.

    Raises: DTypeError if a leaf is neither a tensor nor numbers nor None.
    """
    leaves, structure = flatten(tree)
    tensors = [None if x is None else as_tensor(x, op=op) for x in leaves]
    specs = tuple(None if x is None else x.spec for x in tensors)
    return [x for x in tensors if x is not None], Form(structure, specs)


def fitted(op: str, what: str, tree: Any, form: Form, fix: str) -> list[Tensor]:
    """The tensors of `tree`, which has this form; Python numbers take the dtype that stands there.

    Raises: ArgumentError for another structure, ShapeError or DTypeError for a leaf of another
        type: they name the leaf, what it was, and what it became.
    """
    leaves, structure = flatten(tree)
    if structure != form.structure:
        raise ArgumentError(
            op,
            got=f"{what}: {_shown(form.structure)} became {_shown(structure)}",
            why=f"the structure of the {what} must stay the same",
            fix=fix,
        )
    tensors = []
    for path, leaf, spec in zip(paths(structure), leaves, form.specs, strict=True):
        known = is_number(leaf) and spec is not None
        x = None if leaf is None else as_tensor(leaf, spec.dtype if known and spec else None, op=op)
        found = None if x is None else x.spec
        if found != spec:
            same_shape = found is not None and spec is not None and found.shape == spec.shape
            raise (DTypeError if same_shape else ShapeError)(
                op,
                got=f"{what}{path}: {spec} became {found}",
                why=f"shapes and dtypes of the {what} must stay the same",
                fix=fix,
            )
        if x is not None:
            tensors.append(x)
    return tensors


def _shown(structure: Structure) -> str:
    """`(a, [b, c])` with the kinds of containers, and `*` for a leaf."""
    if structure == LEAF:
        return "*"
    kind, keys, children = structure
    parts = [_shown(child) for child in children]
    if issubclass(kind, list):
        return f"[{', '.join(parts)}]"
    if not keys:
        return f"({', '.join(parts)})"
    named = ", ".join(f"{k}: {part}" for k, part in zip(keys, parts, strict=True))
    return f"{{{named}}}" if issubclass(kind, dict) else f"{kind.__name__}({named})"
