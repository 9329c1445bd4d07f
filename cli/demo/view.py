"""What there is to see at one moment, and the two ways to show it: a live view, or line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cli.demo.api_documents import Account
from cli.demo.event_log import Entry


class Tone(StrEnum):
    """How a line of the app or of the demo itself is meant."""

    GRANTED = "granted"
    REFUSED = "refused"
    RELEASED = "released"
    ASKED = "asked"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Action:
    """Something that the app did, or that happened to the demo's own processes."""

    at: datetime
    tone: Tone
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at the service. `finished` and `done` are new since the last one, oldest first."""

    accounts: Sequence[Account] = ()
    entries: Sequence[Entry] = ()
    deeds: Sequence[Action] = ()
    finished: Sequence[Entry] = ()
    done: Sequence[Action] = ()
    lag: float | None = None
    """Seconds that the oldest event has waited; None while the web process does not answer."""
    seconds: float = 0.0
    """Since the service was ready."""


class Display(Protocol):
    """Shows pictures between its start and its end, both of which may be called from one thread only."""

    def start(self) -> None: ...

    def draw(self, picture: View) -> None: ...

    def end(self) -> None: ...
