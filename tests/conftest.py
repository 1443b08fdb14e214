"""What all tests share: shells start background jobs with Ctrl-C ignored, which some tests send."""

from __future__ import annotations

import signal

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--operations-page", action="store_true", help="write docs/operations.md from the outcomes"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--operations-page"):
        from operations import Writer  # which imports all rows

        config.pluginmanager.register(Writer())
