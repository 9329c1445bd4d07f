"""Run a command that gets SIGTERM when its parent process ends for any reason (on Linux).

A script: `python -I -S parent_death.py PARENT_PID COMMAND...`. The signal is requested here, in a process of
its own, because a program with threads should run no code of its own between fork and exec.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # from linux/prctl.h
CANNOT_BE_RUN = 127  # the exit code that shells use


def become(parent: int, command: list[str]) -> NoReturn:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the signal was requested
        sys.exit(f"{command[0]} was not started: its parent process has ended")
    # Show lines when they are written, not when a buffer is full.
    os.putenv("PYTHONUNBUFFERED", "1")
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be run: {error.strerror}\n")
        sys.exit(CANNOT_BE_RUN)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
