"""Entry point of the `seatsync` command. It imports nothing slow: Ctrl-C is handled from the start."""

from __future__ import annotations

import pkgutil
import sys


def main() -> None:
    """Run the command line."""
    try:
        pkgutil.resolve_name("cli.main:cli")()
    except KeyboardInterrupt:  # before the command line could handle it
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)
