"""Looks at the service twice a second, through its HTTP API, and has each picture shown."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import replace
from typing import Final

from cli.demo.api_client import Api, ApiError
from cli.demo.event_log import KEPT, EventLog
from cli.demo.processes import IsOver
from cli.demo.view import Action, Display, View

_EVERY: Final = 0.5
_TICK: Final = 0.05


class Watcher:
    """The only one who draws. Others tell it what they did, from any thread."""

    def __init__(self, api: Api, show: Display) -> None:
        self._api = api
        self._show = show
        self._chronicle = EventLog()
        self._told: deque[Action] = deque()
        self._deeds: deque[Action] = deque(maxlen=KEPT)
        self._last = View()

    def tell(self, deed: Action) -> None:
        self._told.append(deed)

    def run(self, is_over: IsOver) -> None:
        """Show pictures, two a second, until it is over."""
        started = time.monotonic()
        self._show.start()
        try:
            while not is_over():
                self._show.draw(self.look(time.monotonic() - started))
                until = time.monotonic() + _EVERY
                while time.monotonic() < until and not is_over():
                    time.sleep(_TICK)
        finally:
            self._show.end()
            self._api.close()

    def look(self, seconds: float) -> View:
        """The service as it is now; while it does not answer, as it was last seen."""
        done = [self._told.popleft() for _ in range(len(self._told))]
        self._deeds.extendleft(done)
        self._last = replace(
            self._last, deeds=tuple(self._deeds), done=done, finished=(), lag=None, seconds=seconds
        )
        with contextlib.suppress(ApiError):
            events = self._api.newest_events(KEPT)
            accounts = [self._api.account(each) for each in self._api.account_ids()]
            lag = self._api.lag()
            finished = self._chronicle.note(events, accounts)
            entries = self._chronicle.entries
            self._last = replace(self._last, accounts=accounts, entries=entries, finished=finished, lag=lag)
        return self._last
