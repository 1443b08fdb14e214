"""Why a function is traced again, said in one line with what avoids it."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tapeflow.config import Numerics
from tapeflow.errors import warn
from tapeflow.jit.arguments import Key, Kind, Leaf, Parameters

_MANY = 16  # traces of one function above which something is warned of


class RetraceWarning(UserWarning):
    """A function is traced again and again, each time for other types or values."""


@dataclass(frozen=True)
class Change:
    """What about one argument was new, and what avoids a trace for it."""

    argument: str
    what: str
    fix: str


@dataclass(frozen=True)
class Reason:
    """Why a trace was made: nothing had changed at the first. `only_sizes`: what was new were sizes
    of axes alone."""

    changes: tuple[Change, ...] = ()
    only_sizes: bool = False

    def __str__(self) -> str:
        if not self.changes:
            return "first call"
        said = [f"{c.argument}: {c.what}" for c in self.changes]
        fixes = dict.fromkeys(c.fix for c in self.changes)
        return f"{'; '.join(said)} (to avoid it, {', and '.join(fixes)})"


def why(parameters: Parameters, earlier: Sequence[Key], key: Key) -> Reason:
    """What is new in `key`, compared with the one among `earlier` that is most like it."""
    if not earlier:
        return Reason()
    structure, kinds, numerics = key
    like = [(old, set_) for s, old, set_ in earlier if s == structure]
    if not like:
        what = "another structure"
        return Reason((Change("the arguments", what, "give lists and dicts of one structure"),))
    names = parameters.leaf_names(structure)

    def differing(known: tuple[tuple[Kind, ...], Numerics]) -> int:
        pairs = zip((*known[0], *known[1]), (*kinds, *numerics), strict=True)
        return sum(a != b for a, b in pairs)

    old, before = min(reversed(like), key=differing)  # of those with as few changes, the latest
    changes = [
        Change(f"argument {name}", f"{_show(a)} became {_show(b)}", _fix(a, b))
        for name, a, b in zip(names, old, kinds, strict=True)
        if a != b
    ]
    changes += [
        Change(f"tf.config.{name}", f"{a} became {b}", "set it once, before the first call")
        for name, a, b in zip(Numerics._fields, before, numerics, strict=True)
        if a != b
    ]
    only_sizes = before == numerics and all(map(_differ_in_size, old, kinds))
    return Reason(tuple(changes), only_sizes)


def _differ_in_size(a: Kind, b: Kind) -> bool:
    """Whether two kinds are the same but for the sizes of axes."""
    if not (isinstance(a, Leaf) and isinstance(b, Leaf)):
        return a == b
    return (a.spec.dtype, a.spec.ndim, a.is_number) == (b.spec.dtype, b.spec.ndim, b.is_number)


def _show(kind: Kind) -> str:
    if not isinstance(kind, Leaf):
        return f"the static {kind.value!r}"
    return f"a number {kind.spec}" if kind.is_number else str(kind.spec)


def _fix(old: Kind, new: Kind) -> str:
    if not (isinstance(old, Leaf) and isinstance(new, Leaf)):
        if isinstance(old, Leaf) or isinstance(new, Leaf):
            return "pass either always a tensor or always a static value"
        if isinstance(new.value, bool | int | float):
            return "pass it as a tensor if it takes many values"
        return "pass the same object each time, not one made anew"
    if old.is_number != new.is_number:
        return "pass either always a number or always a tensor"
    if old.spec.dtype != new.spec.dtype:
        return "cast it to one dtype"
    return "give it one shape: pad it, or leave a smaller last batch out"


def report(name: str, reasons: Sequence[Reason], quietly: bool) -> None:
    """Log the last trace of a function, and warn once where there are too many, not `quietly`."""
    # who has not imported logging cannot have asked for this
    logging = sys.modules.get("logging")
    if logging is not None:
        logger = logging.getLogger("tapeflow.jit")
        logger.info("%s: trace %d: %s", name, len(reasons), reasons[-1])
    if len(reasons) == _MANY + 1 and not quietly:
        warn(_said(name, reasons), RetraceWarning)


def _said(name: str, reasons: Sequence[Reason]) -> str:
    """What keeps changing, and what to do about it."""
    changes = [change for reason in reasons for change in reason.changes]
    ((argument, times),) = Counter(c.argument for c in changes).most_common(1)
    last = [c for c in changes if c.argument == argument][-1]
    return (
        f"{name} was traced {len(reasons)} times, {times} of them since {argument} changed, at "
        f"last: {last.what}. Each trace costs time and memory. To avoid it, {last.fix}; or name "
        "sizes that vary None in an input_signature."
    )
