"""Calls that wait for the provider or for a purchase: so many at once, others are answered at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from domain.errors import TooManyWaiting

T = TypeVar("T")

PLACES: Final = 8
"""Waiting calls of one process. More would get no further: the provider answers a few calls a second."""

_RETRY_AFTER_SECONDS: Final = 2.0


class SlowCalls:
    """The places of one process."""

    def __init__(self, places: int = PLACES) -> None:
        self._free = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place for the block if one is free; yields whether it is."""
        has_place = self._free.acquire(blocking=False)
        try:
            yield has_place
        finally:
            if has_place:
                self._free.release()

    def wait_for(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, which may take long; raises `TooManyWaiting` if no place is free."""
        with self.place() as has_place:
            if not has_place:
                raise TooManyWaiting(
                    "As many calls as may wait for the provider at once are waiting already, and nothing was "
                    "sent. Try again in a few seconds.",
                    retry_after=_RETRY_AFTER_SECONDS,
                )
            return ask()
