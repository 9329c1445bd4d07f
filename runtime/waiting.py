"""Wait for something that another process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(is_done: Callable[[], bool], *, seconds: float, pause: float) -> bool:
    """Call `is_done` every `pause` seconds until it returns True; return False after `seconds`."""
    until = time.monotonic() + seconds
    while not is_done():
        if time.monotonic() >= until:
            return False
        time.sleep(pause)
    return True
