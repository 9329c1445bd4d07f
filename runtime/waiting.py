"""Waiting for something that another process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(is_done: Callable[[], bool], *, seconds: float, pause: float) -> bool:
    """Ask until it is done, with this many seconds between two calls; False if it was not done in time."""
    until = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
    return True
