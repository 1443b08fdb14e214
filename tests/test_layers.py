"""Imports point down: a room imports from itself and lower floors, inside functions too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FLOORS = [
    {"arguments", "arrays", "errors", "config", "dtypes", "scope"},
    {"tensor", "graph", "primitive", "dispatch", "device", "tree"},
    {"ops"},
    {"autodiff", "claims", "variable", "random", "linalg", "fft", "testing", "lookup"},
    {"jit"},
    {
        "nn",
        "optim",
        "initializers",
        "regularizers",
        "constraints",
        "losses",
        "metrics",
        "data",
        "checkpoints",
        "summary",
        "train",
        "datasets",
        "debug",
        "distributed",
    },
    {"models", "sklearn", "compat", "demo", "bench", "doctor"},
    {"cli"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tapeflow"
KERNELS = ROOT / "kernels" / "tapeflow_kernels"


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms_of(path: Path) -> set[str]:
    names = [name.split(".") for name in imported(path)]
    return {parts[1] for parts in names if parts[0] == "tapeflow" and len(parts) > 1}


@pytest.mark.parametrize(
    "path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room in ("__init__", "__main__"):
        return
    assert room in FLOOR_OF, (
        f"{room} has no floor: docs/house.md and this test say which rooms there are"
    )
    above = {r for r in rooms_of(path) if FLOOR_OF.get(r, -1) > FLOOR_OF[room]}
    assert not above, f"{room} imports from floors above: {above}"


@pytest.mark.parametrize(
    "path", sorted(KERNELS.rglob("*.py")), ids=lambda p: str(p.relative_to(KERNELS))
)
def test_kernels_know_nothing_of_tensors(path: Path) -> None:
    assert not [name for name in imported(path) if name.split(".")[0] == "tapeflow"]
