"""Limits how many calls wait for the provider or for a purchase at once. Further calls do not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from domain.provider_errors import TooManyWaiting

T = TypeVar("T")

MAX_WAITING_CALLS: Final = 8
"""Per process. More would not help: the provider answers only a few calls a second."""

_RETRY_AFTER_SECONDS: Final = 2.0


class SlowCalls:
    """The waiting calls of one process. Each takes a place; the number of places is limited."""

    def __init__(self, places: int = MAX_WAITING_CALLS) -> None:
        self._free = threading.BoundedSemaphore(places)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place for the duration of the block. Yields False if none is free."""
        has_place = self._free.acquire(blocking=False)
        try:
            yield has_place
        finally:
            if has_place:
                self._free.release()

    def wait_for(self, call: Callable[[], T]) -> T:
        """The result of a slow `call`. Raises `TooManyWaiting` without calling if no place is free."""
        with self.place() as has_place:
            if not has_place:
                raise TooManyWaiting(
                    "Too many calls are waiting for the billing provider, so nothing was sent. Try again in "
                    "a few seconds.",
                    retry_after=_RETRY_AFTER_SECONDS,
                )
            return call()
