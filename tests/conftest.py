"""What all tests share: shells start background jobs with Ctrl-C ignored, which some tests send."""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
