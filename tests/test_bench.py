"""Every benchmark runs, tiny, so that none rots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "bench").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_a_benchmark_asks_a_question_and_runs(script: Path) -> None:
    assert "?" in script.read_text().split('"""')[1], "its docstring asks what it answers"
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script), "--tiny"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_tapeflow_bench_prints_a_figure_for_every_question() -> None:
    code = "from tapeflow.cli import main; main(['bench', '--tiny'])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    for question in (
        "limit",
        "eager a + b",
        "the same chain, compiled",
        "backward",
        "Adam",
        "matmul",
    ):
        assert question in result.stdout
