"""Data sets to learn and test with, as NumPy arrays."""
from __future__ import annotations

from tapeflow.datasets.digits import load_digits
from tapeflow.datasets.examples import Examples, Split
from tapeflow.datasets.mnist import load_mnist

__all__ = ["Examples", "Split", "load_digits", "load_mnist"]
