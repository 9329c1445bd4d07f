"""How long to wait before a retry, and between two polls."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

LONGEST_QUICK: Final = 10.0
"""The longest of the quick retries, in seconds."""

_QUICK_ATTEMPTS: Final = 20
_LONGEST: Final = 300.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 0.8


def backoff(attempt: int) -> float:
    """Seconds until the retry after this attempt (1 is the first), with jitter.

    At most ten seconds for the first twenty attempts, so that a short outage ends soon for everybody; then
    growing to five minutes.
    """
    if attempt <= _QUICK_ATTEMPTS:
        wait = min(2.0 ** min(attempt - 2, 10), LONGEST_QUICK)
    else:
        wait = min(LONGEST_QUICK * 2.0 ** min(attempt - _QUICK_ATTEMPTS, 10), _LONGEST)
    return wait * random.uniform(0.75, 1.0)  # noqa: S311  jitter is no secret


def growing_pauses() -> Iterator[float]:
    """Seconds to sleep between polls: 0.1, then doubled each time, up to 0.8."""
    pause = _FIRST_PAUSE
    while True:
        yield pause
        pause = min(pause * 2, _LONGEST_PAUSE)
