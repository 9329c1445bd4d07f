"""Without a terminal: one line for each thing that happens."""

from __future__ import annotations

from datetime import datetime
from heapq import merge
from typing import Final

from cli.demo.event_log import Entry
from cli.demo.view import Action, Tone, View

_TYPE_WIDTH: Final = 25
_ACCOUNT_WIDTH: Final = 12


class PlainView:
    """A `Show` that only ever adds lines, below some that introduce it."""

    def __init__(self, introduction: str) -> None:
        self._introduction = introduction

    def start(self) -> None:
        print(self._introduction, flush=True)

    def draw(self, picture: View) -> None:
        webhooks = (
            (entry.event.received_at, webhook_line(entry)) for entry in picture.finished if not entry.is_echo
        )
        deeds = ((deed.at, deed_line(deed)) for deed in picture.done)
        for _, line in merge(webhooks, deeds, key=lambda each: each[0]):
            print(line, flush=True)

    def end(self) -> None:
        """Nothing is to be restored."""


def webhook_line(entry: Entry) -> str:
    """`12:00:03 webhook subscription.plan_changed  acme  full 10 -> 15`."""
    event = entry.event
    account_id = entry.account_id or "-"
    also = f" (and {', '.join(entry.echoes)})" if entry.echoes else ""
    line = f"webhook {event.type:<{_TYPE_WIDTH}}  {account_id:<{_ACCOUNT_WIDTH}}  {entry.effect}{also}"
    return f"{clock(event.received_at)} {line}".rstrip()


def deed_line(deed: Action) -> str:
    """`12:00:04 app     Ada Moreau joins acme (full 11 of 15)`."""
    source = "demo" if deed.tone is Tone.TROUBLE else "app"
    return f"{clock(deed.at)} {source:<7} {deed.text}"


def clock(at: datetime) -> str:
    """The time of day where the reader is."""
    return f"{at.astimezone():%H:%M:%S}"
