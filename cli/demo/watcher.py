"""Reads the state of the service through its HTTP API twice a second and draws it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import replace
from typing import Final

from cli.demo.api_client import Api, ApiError
from cli.demo.event_log import MAX_ENTRIES, EventLog
from cli.demo.processes import IsEnding
from cli.demo.view import Action, Display, View

_INTERVAL_SECONDS: Final = 0.5
_POLL_SECONDS: Final = 0.05


class Watcher:
    """The only thread that draws. Others report actions to it, from any thread."""

    def __init__(self, api: Api, display: Display) -> None:
        self._api = api
        self._display = display
        self._events = EventLog()
        self._reported: deque[Action] = deque()
        self._actions: deque[Action] = deque(maxlen=MAX_ENTRIES)
        self._last = View()

    def report(self, action: Action) -> None:
        """Have the action shown in the next view. May be called from any thread."""
        self._reported.append(action)

    def run(self, is_ending: IsEnding) -> None:
        """Draw views, two per second, until the demo ends."""
        started = time.monotonic()
        self._display.start()
        try:
            while not is_ending():
                self._display.draw(self.read(time.monotonic() - started))
                until = time.monotonic() + _INTERVAL_SECONDS
                while time.monotonic() < until and not is_ending():
                    time.sleep(_POLL_SECONDS)
        finally:
            self._display.end()
            self._api.close()

    def read(self, seconds: float) -> View:
        """The current state of the service; while it does not respond, the last known state."""
        done = [self._reported.popleft() for _ in range(len(self._reported))]
        self._actions.extendleft(done)
        self._last = replace(
            self._last, actions=tuple(self._actions), done=done, finished=(), lag=None, seconds=seconds
        )
        with contextlib.suppress(ApiError):
            events = self._api.newest_events(MAX_ENTRIES)
            accounts = [self._api.account(each) for each in self._api.account_ids()]
            lag = self._api.lag()
            finished = self._events.update(events, accounts)
            entries = self._events.entries
            self._last = replace(self._last, accounts=accounts, entries=entries, finished=finished, lag=lag)
        return self._last
