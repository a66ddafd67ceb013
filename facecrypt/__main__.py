"""``python -m facecrypt`` is the command ``facecrypt``."""

from __future__ import annotations

import sys

from facecrypt.cli import main

if __name__ == "__main__":
    sys.exit(main())
