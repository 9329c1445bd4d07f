"""Turns into a command that is told to end when the process which started it does, however that one ended.

It runs as a script (`python -I -S leash.py PARENT_PID COMMAND...`): between fork and exec nothing of a
program that may have threads should run, so the death signal is asked for here, by a program of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # from linux/prctl.h
CANNOT_BE_RUN = 127  # what a shell answers


def become(parent: int, command: list[str]) -> NoReturn:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we could ask for the signal
        sys.exit(f"{command[0]} was not started: the process that wanted it is gone")
    # Lines are to be seen when they are written, not when a buffer is full.
    os.putenv("PYTHONUNBUFFERED", "1")
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error.strerror}\n")
        sys.exit(CANNOT_BE_RUN)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
