"""`python -m tapeflow`: the command line."""
from __future__ import annotations

import sys

from tapeflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
