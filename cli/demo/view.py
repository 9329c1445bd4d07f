"""What the demo shows at one moment. There are two displays for it: a live view, and plain lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from cli.demo.api_documents import Account
from cli.demo.event_log import Entry


class Tone(StrEnum):
    """The kind of an action, which decides its sign and colour."""

    GRANTED = "granted"
    REFUSED = "refused"
    RELEASED = "released"
    ASKED = "asked"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Action:
    """Something the app did, or something that happened to the demo's processes."""

    at: datetime
    tone: Tone
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The state of the service at one moment. Entries and actions are newest first.

    `finished` and `done` are only those that are new since the previous view, oldest first.
    """

    accounts: Sequence[Account] = ()
    entries: Sequence[Entry] = ()
    actions: Sequence[Action] = ()
    finished: Sequence[Entry] = ()
    done: Sequence[Action] = ()
    lag: float | None = None
    """Age of the oldest unprocessed event in seconds; None while the web process does not respond."""
    seconds: float = 0.0
    """Seconds since the service was ready."""


class Display(Protocol):
    """Draws views between `start` and `end`. All three must be called from the same thread."""

    def start(self) -> None: ...

    def draw(self, view: View) -> None: ...

    def end(self) -> None: ...
