"""The manners of the house: lint, types, exports, size, lean imports."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import tapeflow as tf

ROOT = Path(__file__).parents[1]
PRODUCT = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")])


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


def test_ruff_finds_nothing() -> None:
    result = run(
        "-m", "ruff", "check", "--no-cache", "src", "kernels", "tests", "bench", "examples"
    )
    assert result.returncode == 0, result.stdout


def test_mypy_strict_finds_nothing(tmp_path: Path) -> None:
    result = run("-m", "mypy", "--cache-dir", str(tmp_path))
    assert result.returncode == 0, result.stdout


def test_exported_names_are_those_that_are_visible() -> None:
    assert sorted(tf.__all__) == sorted(name for name in dir(tf) if not name.startswith("_"))
    for name in tf.__all__:
        getattr(tf, name)


@pytest.mark.parametrize(
    "name",
    [
        "nn",
        "optim",
        "random",
        "linalg",
        "fft",
        "summary",
        "datasets",
        "distributed",
        "initializers",
        "losses",
        "metrics",
        "testing",
        "debug",
        "config",
    ],
)
def test_a_namespace_lists_what_it_offers(name: str) -> None:
    module = getattr(tf, name)
    public = {
        n
        for n, value in vars(module).items()
        if not n.startswith("_") and not isinstance(value, types.ModuleType) and n != "annotations"
    }
    assert set(module.__all__) <= public | set(dir(module))


@pytest.mark.parametrize("path", PRODUCT, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400, "a module has one subject and at most 400 lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (
                (node.end_lineno or 0)
                - node.lineno
                + 1
                - len((ast.get_docstring(node) or "").splitlines())
            )
            assert lines <= 40, f"{node.name} has {lines} lines"


def public_functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef, str]]:
    """Functions that users may call, with their names, and the docstrings that speak for them."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for part in node.body:
                if isinstance(part, ast.FunctionDef):
                    own = node if part.name in ("__init__", "build", "call") else part
                    yield f"{node.name}.{part.name}", part, ast.get_docstring(own) or ""
        elif isinstance(node, ast.FunctionDef):
            yield node.name, node, ast.get_docstring(node) or ""


def raises(function: ast.FunctionDef) -> bool:
    """Whether it raises an error of tapeflow's itself."""
    made = [node.exc.func for node in ast.walk(function)
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]  # fmt: skip
    return any(isinstance(maker, ast.Name) and hasattr(tf.errors, maker.id) for maker in made)


def test_what_users_call_says_what_it_raises() -> None:
    rooms = [
        tf,
        *(value for name in tf.__all__ if isinstance(value := getattr(tf, name), types.ModuleType)),
    ]
    public = {name for room in rooms for name in getattr(room, "__all__", ())}
    silent = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in PRODUCT
        for name, function, text in public_functions(path)
        if name.partition(".")[0] in public
        and (name.endswith(".__init__") or not name.rpartition(".")[2].startswith("_"))
        and raises(function)
        and "Raises: " not in text
    ]
    assert not silent


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(p.relative_to(ROOT)) for p in PRODUCT if not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert not silent


def test_import_loads_no_compiler_and_no_network() -> None:
    heavy = ("numba", "llvmlite", "zmq", "tensorboardX", "matplotlib", "safetensors", "scipy")
    code = f"import sys, tapeflow; print([m for m in {heavy!r} if m in sys.modules])"
    result = run("-W", "error", "-c", code)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_environment_names_live_in_config() -> None:
    named = [p for p in PRODUCT if "TAPEFLOW_" in p.read_text() and p.name != "config.py"]
    code = [
        f"{p.relative_to(ROOT)}:{node.lineno}"
        for p in named
        for node in ast.walk(ast.parse(p.read_text()))
        if isinstance(node, ast.Subscript | ast.Call)
        and any(
            isinstance(part, ast.Constant)
            and isinstance(part.value, str)
            and part.value.startswith("TAPEFLOW_")
            for part in ast.iter_child_nodes(node)
        )
    ]
    assert not code
    assert (
        len(
            {
                word
                for word in (ROOT / "src/tapeflow/config.py").read_text().replace('"', " ").split()
                if word.startswith("TAPEFLOW_")
            }
        )
        <= 8
    )


def test_modules_import_alone() -> None:
    for name in ("tapeflow.jit", "tapeflow.nn", "tapeflow.optim", "tapeflow.distributed"):
        assert importlib.import_module(name).__doc__
