"""The program: ``facecrypt``, and ``python -m facecrypt``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    if os.name == "posix" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # A traceback out of an import would help nobody.
    if "_ARGCOMPLETE" in os.environ:  # A shell asks what may be typed, and waits for it.
        from facecrypt.cli.main import complete

        complete()
    from facecrypt.system import console, interrupts

    console.prepare()
    interrupts.supervise()
    from facecrypt.cli import main as cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
