"""What happens while training, in files that TensorBoard reads."""
from __future__ import annotations

from tapeflow.summary.writer import Writer

__all__ = ["Writer"]
