"""``python -m kmetad``: the same as the command ``kmetad``."""

from __future__ import annotations

import sys

from kmetad._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
