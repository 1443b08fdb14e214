"""Eager automatic differentiation for Python, compiled by a tracing JIT."""

__version__ = "0.1.0"
