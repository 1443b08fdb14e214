"""What a loop need not do each turn: launches of its body that read only what stays.

Panels that weights are packed to are the case that pays: for the products of a recurrent net they
cost as much as the products themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeflow.dtypes import uint8
from tapeflow.graph import Var
from tapeflow.jit.kernel import Launch, Pointer, Scratch
from tapeflow.primitive import Primitive

PREPARE = Primitive(np.copy, lambda x: x, name="prepare")
"""The op that `explain()` names."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A launch that runs before the loop: from `source`, an input of the body that stays, to
    `made`, which is to be another one."""

    launch: Launch
    source: Var
    made: Var


def apart(
    launches: list[Launch], fixed: Set[Var], name: str
) -> tuple[list[Launch], list[Prepared]]:
    """The launches of a node that each turn needs, and those that read only what is `fixed` and
    write scratch memory; what these make has this name with a number."""
    left, prepared = launches, list[Prepared]()
    for launch in launches:
        of = {a.of for a in launch.arguments if isinstance(a, Pointer)}
        sources = [v for v in of if isinstance(v, Var)]
        made = [s for s in of if isinstance(s, Scratch)]
        if len(made) == len(sources) == 1 and sources[0] in fixed:
            kept = Var(f"{name}_{made[0].index}", (made[0].nbytes,), uint8)
            prepared.append(Prepared(bound(launch, {made[0]: Pointer(kept)}), sources[0], kept))
            others = [other for other in left if other != launch]
            left = [bound(other, {made[0]: Pointer(kept)}) for other in others]
    return left, prepared


def bound(launch: Launch, to: Mapping[Any, Pointer]) -> Launch:
    """`launch` with other pointers for those to what `to` names."""
    arguments = tuple(
        Pointer(to[a.of].of, to[a.of].offset + a.offset)
        if isinstance(a, Pointer) and a.of in to
        else a
        for a in launch.arguments
    )
    return replace(launch, arguments=arguments)
