"""The command line: parse, call, render. Each command is a file; only the one typed is imported."""

from __future__ import annotations

import sys

from memcalc._version import __version__


def main() -> None:
    """Entry point of the `memcalc` command."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"memcalc {__version__}")
        return
    # A run lives for milliseconds: collecting its garbage costs more than its memory.
    import gc

    gc.set_threshold(100_000)
    try:
        from memcalc.cli.app import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 130
    gc.freeze()  # nor need the interpreter look through it all once more as it ends
    sys.exit(status)
